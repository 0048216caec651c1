//! `#[derive(Outputs)]`: a choice of outputs, each handed on to the output that it holds.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Data, DeriveInput, Error, Fields, Type, WherePredicate, parse_quote};

use crate::{Faults, here};

/// As with events, a faulty one is still an output, so that nothing else is reported.
pub(crate) fn derive(input: &DeriveInput) -> TokenStream {
    let mut faults = Faults::default();
    let choices = choices(input, &mut faults);
    let faults = faults.into_tokens();
    let into = Ident::new("into", Span::mixed_site());
    let held: Vec<_> = choices.iter().filter_map(|(_, ty)| *ty).collect();
    let contracts = held.iter().map(
        |ty| quote_spanned!(here(ty.span())=> <#ty as ::quadrille::Outputs>::contracts(#into);),
    );
    let arms = choices.iter().map(|(pattern, ty)| match ty {
        Some(ty) => quote_spanned! {here(ty.span())=>
            #pattern => <#ty as ::quadrille::Outputs>::emit(it, #into),
        },
        None => quote!(#pattern => ::std::result::Result::Ok(()),),
    });

    let name = &input.ident;
    let mut generics = input.generics.clone();
    if !generics.params.is_empty() {
        let bounds = &mut generics.make_where_clause().predicates;
        bounds.push(parse_quote!(Self: ::std::marker::Send));
        let bound = |ty| -> WherePredicate { parse_quote!(#ty: ::quadrille::Outputs) };
        bounds.extend(held.iter().map(bound));
    }
    let (impl_generics, type_generics, bounds) = generics.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #impl_generics ::quadrille::Outputs for #name #type_generics #bounds {
            fn contracts(#into: &mut ::std::vec::Vec<::quadrille::Emits>) {
                let _ = &#into;
                #(#contracts)*
            }

            fn emit(
                self,
                #into: &mut ::quadrille::Emitter,
            ) -> ::std::result::Result<(), ::quadrille::Failure> {
                let _ = &#into;
                match self { #(#arms)* }
            }
        }
        #faults
    }
}

/// Each variant as a pattern that binds `it`, with the type of that; of a struct its one form.
fn choices<'a>(
    input: &'a DeriveInput,
    faults: &mut Faults,
) -> Vec<(TokenStream, Option<&'a Type>)> {
    let mut choice = |path: TokenStream, name: &Ident, fields: &'a Fields| match fields {
        Fields::Unnamed(it) if it.unnamed.len() == 1 => {
            let binding = Ident::new("it", Span::mixed_site());
            (quote!(#path(#binding)), it.unnamed.first().map(|it| &it.ty))
        }
        Fields::Unit => (path, None),
        _ => {
            let fault = format!(
                "what may be emitted is a unit, for nothing, or holds one output, as in \
                 `{name}(OneEvent)`; several are a tuple in it, `{name}((OneEvent, Another))`"
            );
            faults.add(Error::new(name.span(), fault));
            (quote!(#path { .. }), None)
        }
    };
    match &input.data {
        Data::Enum(it) => {
            let path = |name| quote!(Self::#name);
            it.variants.iter().map(|it| choice(path(&it.ident), &it.ident, &it.fields)).collect()
        }
        Data::Struct(it) => vec![choice(quote!(Self), &input.ident, &it.fields)],
        Data::Union(it) => {
            let fault = "outputs are an enum, or a struct that holds one output";
            faults.add(Error::new(it.union_token.span(), fault));
            vec![(quote!(_), None)]
        }
    }
}
