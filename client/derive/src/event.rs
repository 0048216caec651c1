//! `#[derive(Event)]`: what `#[event(..)]` says, checked as the bus will check it, as an
//! implementation of `TypedEvent`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::meta::ParseNestedMeta;
use syn::parse::ParseStream;
use syn::spanned::Spanned as _;
use syn::{
    Data, DeriveInput, Error, LitInt, LitStr, Member, Path, Result, Token, Type, bracketed,
    parse_quote, token,
};

use crate::{Faults, here};

const KNOWN: &str = "a struct takes type, topic, schema and undoes; a field takes key and saga";

/// A faulty event is still one, so that the fault is all that the compiler speaks of.
pub(crate) fn derive(input: &DeriveInput) -> TokenStream {
    let mut faults = Faults::default();
    let said = Said::read(input, &mut faults);
    let routes = Routes::read(input, &mut faults);
    let (faults, consts, methods) = (faults.into_tokens(), said.consts(), routes.methods());

    let name = &input.ident;
    let mut generics = input.generics.clone();
    if !generics.params.is_empty() {
        let bounds = &mut generics.make_where_clause().predicates;
        bounds.push(parse_quote!(Self: ::std::marker::Send + ::std::marker::Sync + 'static));
        for (_, ty) in routes.key.iter().chain(&routes.saga) {
            bounds.push(parse_quote!(#ty: ::std::fmt::Display));
        }
    }
    let (impl_generics, type_generics, bounds) = generics.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #impl_generics ::quadrille::TypedEvent for #name #type_generics #bounds {
            #consts
            #methods
        }
        #faults
    }
}

/// What is said of the struct.
#[derive(Default)]
struct Said {
    ty: Option<LitStr>,
    topic: Option<LitStr>,
    schema: Option<u32>,
    undoes: Option<Vec<TokenStream>>,
}

impl Said {
    fn read(input: &DeriveInput, faults: &mut Faults) -> Self {
        let mut said = Self::default();
        for attribute in input.attrs.iter().filter(|it| it.path().is_ident("event")) {
            attribute
                .parse_nested_meta(|meta| said.take(&meta))
                .unwrap_or_else(|fault| faults.add(fault));
        }
        match &input.data {
            Data::Struct(_) if faults.0.is_none() => said.find_missing(input, faults),
            Data::Struct(_) => {}
            Data::Enum(it) => faults.add(not_a_struct(it.enum_token.span())),
            Data::Union(it) => faults.add(not_a_struct(it.union_token.span())),
        }
        said
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        if meta.path.is_ident("type") {
            once(meta, &mut self.ty, |it| name_of("type", it))
        } else if meta.path.is_ident("topic") {
            once(meta, &mut self.topic, |it| name_of("topic", it))
        } else if meta.path.is_ident("schema") {
            once(meta, &mut self.schema, schema)
        } else if meta.path.is_ident("undoes") {
            once(meta, &mut self.undoes, undoes)
        } else {
            Err(unknown(meta))
        }
    }

    fn find_missing(&self, input: &DeriveInput, faults: &mut Faults) {
        let needed = [("type", "order.created", &self.ty), ("topic", "orders", &self.topic)];
        for (name, example, _) in needed.iter().filter(|(.., value)| value.is_none()) {
            let fault = format!("an event needs its {name}: #[event({name} = \"{example}\")]");
            faults.add(Error::new(input.ident.span(), fault));
        }
    }

    fn consts(&self) -> TokenStream {
        let text = |it: &Option<LitStr>| it.as_ref().map_or_else(|| quote!(""), |it| quote!(#it));
        let (ty, topic) = (text(&self.ty), text(&self.topic));
        let schema = self.schema.iter();
        let undoes = self.undoes.iter().map(|list| quote!(&[#(#list),*]));
        quote! {
            const TYPE: &'static str = #ty;
            const TOPIC: &'static str = #topic;
            #(const SCHEMA: u32 = #schema;)*
            #(const UNDOES: &'static [&'static str] = #undoes;)*
        }
    }
}

fn undoes(input: ParseStream<'_>) -> Result<Vec<TokenStream>> {
    if !input.peek(token::Bracket) {
        return Ok(vec![undone(input)?]);
    }
    let list;
    bracketed!(list in input);
    Ok(list.parse_terminated(undone, Token![,])?.into_iter().collect())
}

/// The type of an event, as text or by a Rust type that is an event.
fn undone(input: ParseStream<'_>) -> Result<TokenStream> {
    if input.peek(LitStr) {
        return name_of("undoes", input).map(LitStr::into_token_stream);
    }
    let allowed = "`undoes` is a type of event, as \"payment.processed\" or as PaymentProcessed, \
                   or a list of these in brackets";
    let path: Path = input.parse().map_err(|it: Error| Error::new(it.span(), allowed))?;
    Ok(quote_spanned!(here(path.span())=> <#path as ::quadrille::TypedEvent>::TYPE))
}

fn schema(input: ParseStream<'_>) -> Result<u32> {
    let fault = |span| Error::new(span, "`schema` is the version of the type, a number from 1");
    let number: LitInt = input.parse().map_err(|it: Error| fault(it.span()))?;
    number.base10_parse().ok().filter(|it| *it > 0).ok_or_else(|| fault(number.span()))
}

/// The bus's own rule for names, said before anything runs.
fn name_of(attribute: &str, input: ParseStream<'_>) -> Result<LitStr> {
    let example = if attribute == "topic" { "orders" } else { "order.created" };
    let fault = |span, why: &str| Error::new(span, format!("`{attribute}` {why}"));
    let literal: LitStr = input
        .parse()
        .map_err(|it| fault(it.span(), &format!("is a text: {attribute} = \"{example}\"")))?;
    let name = literal.value();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.starts_with("quadrille.") {
        return Err(fault(literal.span(), "must not begin with \"quadrille.\": that is the bus's"));
    }
    if !(1..=255).contains(&name.len()) || name.starts_with('.') || !name.chars().all(allowed) {
        let rule = "has 1 to 255 characters, of A-Z a-z 0-9 . _ -, and does not begin with a dot";
        return Err(fault(literal.span(), rule));
    }
    Ok(literal)
}

/// The fields that route, each as its name and type.
#[derive(Default)]
struct Routes<'a> {
    key: Option<(Member, &'a Type)>,
    saga: Option<(Member, &'a Type)>,
}

impl<'a> Routes<'a> {
    fn read(input: &'a DeriveInput, faults: &mut Faults) -> Self {
        let mut routes = Self::default();
        let Data::Struct(data) = &input.data else {
            return routes;
        };
        for (member, field) in data.fields.members().zip(&data.fields) {
            for attribute in field.attrs.iter().filter(|it| it.path().is_ident("event")) {
                attribute
                    .parse_nested_meta(|meta| routes.take(&meta, (member.clone(), &field.ty)))
                    .unwrap_or_else(|fault| faults.add(fault));
            }
        }
        routes
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>, field: (Member, &'a Type)) -> Result<()> {
        let (name, place) = if meta.path.is_ident("key") {
            ("key", &mut self.key)
        } else if meta.path.is_ident("saga") {
            ("saga", &mut self.saga)
        } else {
            return Err(unknown(meta));
        };
        if meta.input.peek(Token![=]) {
            return Err(meta.error(format!("`{name}` takes no value: it marks the field")));
        }
        match place.replace(field) {
            Some(_) => Err(meta.error(format!("`{name}` marks one field, and there is another"))),
            None => Ok(()),
        }
    }

    fn methods(&self) -> TokenStream {
        let fields = [("key", &self.key), ("saga", &self.saga)];
        let methods = fields.iter().filter_map(|(name, field)| {
            let (member, ty) = field.as_ref()?;
            let name = Ident::new(name, here(ty.span()));
            Some(quote_spanned! {here(ty.span())=>
                fn #name(&self) -> ::std::string::String {
                    ::quadrille::check::text::<#ty>(&self.#member)
                }
            })
        });
        methods.collect()
    }
}

fn once<T>(
    meta: &ParseNestedMeta<'_>,
    place: &mut Option<T>,
    parse: impl FnOnce(ParseStream<'_>) -> Result<T>,
) -> Result<()> {
    let path = &meta.path;
    let fault = |what: &str| meta.error(format!("`{}` {what}", quote!(#path)));
    let value = meta.value().map_err(|_| fault("needs a value, behind an equals sign"))?;
    match place.replace(parse(value)?) {
        Some(_) => Err(fault("is said twice")),
        None => Ok(()),
    }
}

fn unknown(meta: &ParseNestedMeta<'_>) -> Error {
    let path = &meta.path;
    meta.error(format!("`{}` is not known here: {KNOWN}", quote!(#path)))
}

fn not_a_struct(span: Span) -> Error {
    Error::new(span, "an event is a struct; for an enum of events there is derive(Outputs)")
}

#[cfg(test)]
mod tests {
    use quadrille_proto::name;
    use syn::parse::Parser as _;

    use super::*;

    fn messages(input: &DeriveInput) -> String {
        let mut faults = Faults::default();
        Said::read(input, &mut faults);
        Routes::read(input, &mut faults);
        let all = faults.0.into_iter().flatten();
        all.map(|it| it.to_string()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn names_are_judged_as_the_bus_judges_them() {
        let longest = "x".repeat(255);
        let too_long = "x".repeat(256);
        for name in ["", "a", "..", ".a", "a..b", "a/b", "a b", "ä", "A-Z_0.9", &longest, &too_long]
        {
            let here = (|it: ParseStream<'_>| name_of("type", it)).parse2(quote!(#name)).is_ok();
            assert_eq!(here, name::check(name).is_ok(), "{name}");
        }
        for name in ["quadrille.dead_letters", "quadrille.", "quadrille", "quadrilles.a"] {
            let here = (|it: ParseStream<'_>| name_of("topic", it)).parse2(quote!(#name)).is_ok();
            assert_eq!(here, !name::is_reserved(name), "{name}");
        }
    }

    #[test]
    fn attributes_add_up() {
        let right: DeriveInput = parse_quote! {
            #[event(type = "order.created")]
            #[event(topic = "orders",)]
            #[event(schema = 2, undoes = [])]
            struct Order(#[event(key)] #[event(saga)] String);
        };
        assert_eq!(messages(&right), "");
    }

    #[test]
    fn all_faults_are_named_at_once() {
        let wrong: DeriveInput = parse_quote! {
            #[event(type = "order/created")]
            #[event(topc = "orders")]
            struct Order {
                #[event(subject)]
                order: String,
                #[event]
                customer: String,
            }
        };
        let messages = messages(&wrong);
        let begins = ["`type` has 1 to 255", "`topc` is not known", "`subject` is not known"];
        for (message, begin) in messages.lines().zip(begins) {
            assert!(message.starts_with(begin), "{message}");
        }
        assert_eq!(messages.lines().count(), 4, "{messages}");
    }

    #[test]
    fn a_faulty_event_is_an_event_all_the_same() {
        let derived = derive(&parse_quote!(
            enum Order {}
        ))
        .to_string();
        assert!(derived.contains("TypedEvent for Order"), "{derived}");
        assert!(derived.contains("compile_error"), "{derived}");
    }
}
