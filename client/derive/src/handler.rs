//! `#[handler]`: the function as it is, and beside it questions to the compiler, each at the
//! argument that it is about.

use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream, Parser as _};
use syn::spanned::Spanned as _;
use syn::{
    Attribute, Error, FnArg, GenericArgument, PathArguments, Result, ReturnType, Signature, Token,
    Type, Visibility, parse_quote,
};

use crate::{Faults, here};

/// What stands beside the event in the longest handler that there is an implementation for.
const MOST_BESIDE: usize = 8;

pub(crate) fn check(arguments: TokenStream, function: TokenStream) -> TokenStream {
    let checks = state_said
        .parse2(arguments)
        .and_then(|state| syn::parse2::<Function>(function.clone())?.checks(state))
        .unwrap_or_else(Error::into_compile_error);
    quote!(#function #checks)
}

/// `state = S`, or nothing.
fn state_said(input: ParseStream<'_>) -> Result<Option<Type>> {
    if input.is_empty() {
        return Ok(None);
    }
    let fault = input.error("#[handler] takes nothing but the state: #[handler(state = S)]");
    let name: Ident = input.parse().map_err(|_| fault.clone())?;
    input.parse::<Token![=]>().map_err(|_| fault.clone())?;
    if name == "state" { input.parse().map(Some) } else { Err(fault) }
}

/// The head of a function; its body is nobody's business here.
struct Function {
    attributes: Vec<Attribute>,
    signature: Signature,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let fault = Error::new(input.span(), "a handler is an async function");
        input.parse::<Visibility>()?;
        let signature = input.parse().map_err(|_| fault)?;
        input.parse::<TokenStream>()?;
        Ok(Self { attributes, signature })
    }
}

impl Function {
    fn checks(&self, state: Option<Type>) -> Result<TokenStream> {
        let types = self.form()?;
        let Some((event, beside)) = types.split_first() else {
            return Ok(TokenStream::new());
        };
        // A type that its caller chooses is its caller's to check.
        let generic = |ty: &&Type| matches!(ty, Type::ImplTrait(_));
        if !self.signature.generics.params.is_empty() || types.iter().any(generic) {
            return Ok(TokenStream::new());
        }

        let state = state
            .or_else(|| beside.iter().find_map(|ty| state_in(ty)))
            .unwrap_or_else(|| parse_quote!(()));
        let event = quote_spanned!(here(event.span())=> ::quadrille::check::event::<#event>(););
        let beside = beside.iter().map(
            |ty| quote_spanned!(here(ty.span())=> ::quadrille::check::argument::<#state, #ty>();),
        );
        let conditions = self.attributes.iter().filter(|it| it.path().is_ident("cfg"));
        let future = self.future(&types);
        Ok(quote! {
            #(#conditions)*
            const _: fn() = || {
                #event
                #(#beside)*
                #future
            };
        })
    }

    /// What the function's future is asked, in a closure that nobody calls.
    fn future(&self, types: &[&Type]) -> TokenStream {
        let Signature { ident, output, .. } = &self.signature;
        let name = |at| Ident::new(&format!("it{at}"), here(ident.span()));
        let names: Vec<_> = (0..types.len()).map(name).collect();
        let arguments = names.iter().zip(types).map(|(name, ty)| quote!(#name: #ty));
        let place = match output {
            ReturnType::Type(_, ty) => ty.span(),
            ReturnType::Default => ident.span(),
        };
        // Each name has the same hygiene wherever it is shown.
        let returned = quote_spanned!(here(place)=> ::quadrille::check::returned(&future););
        quote_spanned! {here(ident.span())=>
            let _ = |#(#arguments),*| {
                let future = #ident(#(#names),*);
                #returned
                ::quadrille::check::send(&future);
            };
        }
    }

    /// The types of the arguments, if there is nothing to say against the form.
    fn form(&self) -> Result<Vec<&Type>> {
        let Signature { ident, asyncness, inputs, output, fn_token, .. } = &self.signature;
        let mut faults = Faults::default();
        let mut types = Vec::new();
        if asyncness.is_none() {
            let fault = format!("a handler is async: `async fn {ident}`");
            faults.add(Error::new(fn_token.span, fault));
        }
        if inputs.is_empty() {
            let fault = "the first argument of a handler is its event, and here is none";
            faults.add(Error::new(ident.span(), fault));
        }
        for argument in inputs {
            match argument {
                FnArg::Typed(it) => types.push(&*it.ty),
                FnArg::Receiver(it) => faults.add(Error::new(
                    it.self_token.span,
                    "a handler has no self: what it needs comes in an argument State<S>",
                )),
            }
        }
        if let Some(ty) = types.get(1 + MOST_BESIDE) {
            let fault = format!("a handler has at most {MOST_BESIDE} arguments beside its event");
            faults.add(Error::new(ty.span(), fault));
        }
        if matches!(output, ReturnType::Default) {
            let fault = "a handler returns `Result<impl Outputs, Failure>`: \
                         `-> Result<(), Failure>` if it emits nothing";
            faults.add(Error::new(ident.span(), fault));
        }
        match faults.0 {
            Some(faults) => Err(faults),
            None => Ok(types),
        }
    }
}

/// The `S` of `State<S>`.
fn state_in(ty: &Type) -> Option<Type> {
    let Type::Path(path) = ty else {
        return None;
    };
    let last = path.path.segments.last().filter(|it| it.ident == "State")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match arguments.args.first()? {
        GenericArgument::Type(state) => Some(state.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_stays_as_it_is() {
        for function in [
            quote!(
                #[inline]
                pub(crate) async fn f(_: Order) -> Result<(), Failure> {
                    Ok(())
                }
            ),
            quote!(
                fn not_async() {}
            ),
            quote!(async fn unfinished(_: Order) -> Result<(), Failure> { order. }),
            quote!(
                struct NoFunction;
            ),
        ] {
            let checked = check(TokenStream::new(), function.clone()).to_string();
            assert!(checked.starts_with(&function.to_string()), "{checked}");
        }
    }

    #[test]
    fn the_state_is_the_one_that_is_said_or_asked_for() {
        let asks = quote!(
            async fn f(_: Order, _: quadrille::State<Stock>, _: Ctx) -> R {}
        );
        let checked = check(TokenStream::new(), asks.clone()).to_string();
        assert!(checked.contains("argument :: < Stock , Ctx >"), "{checked}");
        let checked = check(quote!(state = Shelf), asks).to_string();
        assert!(checked.contains("argument :: < Shelf , Ctx >"), "{checked}");
        let none = quote!(
            async fn f(_: Order, _: State, _: Ctx) -> R {}
        );
        let checked = check(TokenStream::new(), none).to_string();
        assert!(checked.contains("argument :: < () , Ctx >"), "{checked}");
    }

    #[test]
    fn all_faults_of_a_form_are_named_at_once() {
        let faults = check(
            TokenStream::new(),
            quote!(
                fn f(self) {}
            ),
        )
        .to_string();
        assert_eq!(faults.matches("compile_error").count(), 3, "{faults}");
    }
}
