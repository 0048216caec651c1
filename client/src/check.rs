//! What the code of the macros asks the compiler, one question for each part of a type or a
//! function, so that the answer stands at that part. For generated code only.

use std::fmt::Display;

use serde::de::DeserializeOwned;

use crate::{Extract, Failure, Outputs, TypedEvent};

/// What may be a key or a saga.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no text for #[event(key)] or #[event(saga)]",
    label = "does not implement Display",
    note = "the text of such a field is what Display makes of it"
)]
pub trait Text {
    /// As it is routed.
    fn text(&self) -> String;
}

#[diagnostic::do_not_recommend]
impl<T: Display> Text for T {
    fn text(&self) -> String {
        self.to_string()
    }
}

/// What a handler may take first.
#[diagnostic::on_unimplemented(
    message = "the first argument of a handler is its event, and `{Self}` cannot be read as one",
    label = "the event is expected here",
    note = "it derives quadrille::Event, with #[event(type = \"..\", topic = \"..\")], and \
            serde::Deserialize"
)]
pub trait Readable {}

#[diagnostic::do_not_recommend]
impl<E: TypedEvent + DeserializeOwned> Readable for E {}

/// What a handler may return.
#[diagnostic::on_unimplemented(
    message = "a handler returns `Result<impl Outputs, Failure>`, and not `{Self}`",
    label = "not what a handler returns",
    note = "`?` turns any error into a quadrille::Failure"
)]
pub trait Returned {}

impl<O: Outputs> Returned for Result<O, Failure> {}

/// The text of a field.
pub fn text<T: Text>(field: &T) -> String {
    field.text()
}

/// A handler's first argument.
pub fn event<E: Readable>() {}

/// Any other argument.
pub fn argument<S, T: Extract<S>>() {}

/// What it returns.
pub fn returned<F: Future<Output: Returned>>(_: &F) {}

/// What it holds while it waits.
pub fn send<F: Send>(_: &F) {}
