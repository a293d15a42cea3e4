//! `#[derive(Job)]`: reads `#[job(..)]` and writes the trait's constant and its options.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{DeriveInput, Error, LitInt, LitStr, Result, Type, spanned::Spanned};

#[derive(Default)]
struct Attributes {
    kind: Option<LitStr>,
    returns: Option<Type>,
    codec: Option<TokenStream>,
    options: Vec<TokenStream>,
}

pub(crate) fn job(input: &DeriveInput) -> Result<TokenStream> {
    let attributes = read(input)?;
    let kind = attributes
        .kind
        .ok_or_else(|| Error::new(Span::call_site(), "the job has no kind; add #[job(kind = \"email:send\")]"))?;
    if kind.value().trim().is_empty() || kind.value().ends_with('*') {
        return Err(Error::new(kind.span(), "a kind is a name that does not end in `*`, such as \"email:send\""));
    }
    let name = &input.ident;
    let (generics, arguments, wheres) = input.generics.split_for_impl();
    let options = attributes.options;
    let body = if options.is_empty() {
        quote! {}
    } else {
        quote! { #(#options)* }
    };
    let returns = attributes.returns.map(|output| {
        quote! {
            impl #generics ::windlass::Returns for #name #arguments #wheres {
                type Output = #output;
            }
        }
    });
    let coding = attributes.codec.map(|codec| {
        quote! {
            fn coding() -> ::windlass::codec::Coding<Self> {
                ::windlass::codec::Coding::of::<#codec>()
            }
        }
    });
    Ok(quote! {
        #returns

        impl #generics ::windlass::Job for #name #arguments #wheres {
            const KIND: &'static str = #kind;

            fn options(&self) -> ::windlass::JobOptions {
                ::windlass::JobOptions::new() #body
            }

            #coding
        }
    })
}

fn read(input: &DeriveInput) -> Result<Attributes> {
    let mut found = Attributes::default();
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("job")) {
        attribute.parse_nested_meta(|meta| {
            let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
            match name.as_str() {
                "kind" => found.kind = Some(meta.value()?.parse()?),
                "returns" => found.returns = Some(meta.value()?.parse()?),
                "codec" => found.codec = Some(codec(meta.value()?)?),
                "queue" | "tenant" | "tag" => {
                    let (method, text) = (meta.path.get_ident().cloned(), meta.value()?.parse::<LitStr>()?);
                    found.options.push(quote! { .#method(#text) });
                }
                "priority" | "max_retry" => {
                    let (method, number) = (meta.path.get_ident().cloned(), meta.value()?.parse::<syn::Expr>()?);
                    found.options.push(quote! { .#method(#number) });
                }
                "timeout" | "retention" => {
                    let (method, millis) = (meta.path.get_ident().cloned(), duration(&meta.value()?.parse()?)?);
                    found.options.push(quote! { .#method(::core::time::Duration::from_millis(#millis)) });
                }
                "unique" => found.options.push(quote_spanned! { meta.path.span() =>
                    .unique(::windlass::UniqueBy::until_done(self))
                }),
                _ => {
                    return Err(meta.error(
                        "unknown job option; there are kind, codec, queue, tenant, priority, max_retry, timeout, \
                         retention, tag, unique, returns",
                    ));
                }
            }
            Ok(())
        })?;
    }
    Ok(found)
}

/// A codec of the library by its name, or any type.
fn codec(value: syn::parse::ParseStream) -> Result<TokenStream> {
    if !value.peek(LitStr) {
        let path = value.parse::<syn::Path>()?;
        return Ok(quote! { #path });
    }
    let name = value.parse::<LitStr>()?;
    match name.value().as_str() {
        "json" => Ok(quote_spanned! { name.span() => ::windlass::codec::Json }),
        "msgpack" => Ok(quote_spanned! { name.span() => ::windlass::codec::MsgPack }),
        _ => Err(Error::new(
            name.span(),
            "the codecs are \"json\" and \"msgpack\" (feature `msgpack`), or a type of your own",
        )),
    }
}

fn duration(text: &LitStr) -> Result<LitInt> {
    let parsed = humantime::parse_duration(&text.value());
    let millis =
        parsed.map_err(|_| Error::new(text.span(), "no duration; write it as 500ms, 10s, 5m, 1h or 2d"))?.as_millis();
    Ok(LitInt::new(&format!("{millis}u64"), text.span()))
}
