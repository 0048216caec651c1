//! The macros of `quadrille`, which exports them: use that crate. Here is only what tokens say;
//! what types must be is asked in generated code, so that the compiler answers where the type is.

mod event;
mod handler;
mod outputs;

use proc_macro::TokenStream;
use proc_macro2::Span;
use syn::{Error, parse_macro_input};

/// | attribute of the struct | says |
/// |---|---|
/// | `#[event(type = "order.created")]` | the event's type, required |
/// | `#[event(topic = "orders")]` | the topic that it is published to, required |
/// | `#[event(schema = 2)]` | the version of the type; 1 if this is not said |
/// | `#[event(undoes = "payment.processed")]` | whose effects it undoes: a type, a Rust type that is an event, or a list of these in brackets |
///
/// | attribute of a field | says |
/// |---|---|
/// | `#[event(key)]` | its text is the event's key |
/// | `#[event(saga)]` | its text is the event's saga |
///
/// Any field that implements `Display` will do. The data is what serde makes of the struct, so derive
/// `Serialize` too to publish it, and `Deserialize` to read it.
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    event::derive(&parse_macro_input!(input)).into()
}

/// A variant is a unit, which emits nothing, or holds one output: an event, or anything else that
/// implements `Outputs`. A struct with one field without a name will do as well.
#[proc_macro_derive(Outputs)]
pub fn derive_outputs(input: TokenStream) -> TokenStream {
    outputs::derive(&parse_macro_input!(input)).into()
}

/// The function, which stands outside any `impl`, stays as it is. Without this the compiler can only
/// say that it is no handler.
///
/// The participant's state is taken from the argument `State<S>`; where there is none, and an
/// extractor wants a certain state, say `#[handler(state = S)]`. Of a generic function only the form
/// is checked.
#[proc_macro_attribute]
pub fn handler(arguments: TokenStream, function: TokenStream) -> TokenStream {
    handler::check(arguments.into(), function.into()).into()
}

/// Shown at that place, but known as generated: lints leave it alone.
fn here(place: Span) -> Span {
    Span::mixed_site().located_at(place)
}

/// All faults that were found, so that they are mended in one go.
#[derive(Default)]
struct Faults(Option<Error>);

impl Faults {
    fn add(&mut self, fault: Error) {
        match &mut self.0 {
            Some(faults) => faults.combine(fault),
            none => *none = Some(fault),
        }
    }

    /// What the compiler shows.
    fn into_tokens(self) -> Option<proc_macro2::TokenStream> {
        self.0.map(Error::into_compile_error)
    }
}
