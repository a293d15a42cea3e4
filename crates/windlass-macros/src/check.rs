//! `#[check_handler]`: one small assertion for each part of a handler, placed at that part, so that the compiler's
//! message points there.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Error, FnArg, ItemFn, Result, ReturnType, Type, parse::Parser, spanned::Spanned};

pub(crate) fn handler(arguments: TokenStream, function: &ItemFn) -> Result<TokenStream> {
    let state = state(arguments)?;
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        return Err(Error::new(signature.fn_token.span(), "a handler is an `async fn`"));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new(signature.generics.span(), "a generic function cannot be checked; check an instance"));
    }
    let types = signature.inputs.iter().map(argument_type).collect::<Result<Vec<_>>>()?;
    let Some((job, extractors)) = types.split_first() else {
        return Err(Error::new(signature.paren_token.span.join(), "a handler's first argument is its job"));
    };
    if extractors.len() > 8 {
        return Err(Error::new(extractors[8].span(), "a handler has at most eight arguments after its job"));
    }
    let is_job = quote_spanned! { job.span() => ::windlass::__check::is_job::<#job>(); };
    let state = state.or_else(|| stated(extractors)).map_or_else(|| quote! { () }, |state| quote! { #state });
    let extracted = extractors.iter().map(|extractor| {
        quote_spanned! { extractor.span() => ::windlass::__check::is_extractor::<#state, #extractor>(); }
    });
    let output = match &signature.output {
        ReturnType::Default => quote_spanned! { signature.span() => ::windlass::__check::is_outcome::<()>(); },
        ReturnType::Type(_, output) => {
            quote_spanned! { output.span() => ::windlass::__check::is_outcome::<#output>(); }
        }
    };
    let (name, values) = (&signature.ident, types.iter().map(|_| quote! { ::core::unreachable!() }));
    let is_send = quote_spanned! { name.span() => ::windlass::__check::is_send(#name(#(#values),*)); };
    Ok(quote! {
        const _: () = {
            #[allow(dead_code, unreachable_code, clippy::diverging_sub_expression)]
            fn parts() { #is_job #(#extracted)* #output }
            #[allow(dead_code, unreachable_code, clippy::diverging_sub_expression)]
            fn future() { #is_send }
        };
    })
}

fn argument_type(argument: &FnArg) -> Result<Type> {
    match argument {
        FnArg::Typed(typed) => Ok((*typed.ty).clone()),
        FnArg::Receiver(this) => Err(Error::new(this.span(), "a handler is a free function without `self`")),
    }
}

/// `state = Type`.
fn state(arguments: TokenStream) -> Result<Option<Type>> {
    let mut state = None;
    let parser = syn::meta::parser(|meta| {
        if meta.path.is_ident("state") {
            state = Some(meta.value()?.parse()?);
            return Ok(());
        }
        Err(meta.error("check_handler takes nothing, or `state = Type`"))
    });
    parser.parse2(arguments)?;
    Ok(state)
}

/// The `T` of the only `State<T>` among the arguments.
fn stated(extractors: &[Type]) -> Option<Type> {
    extractors.iter().find_map(|extractor| {
        let Type::Path(path) = extractor else { return None };
        let last = path.path.segments.last().filter(|last| last.ident == "State")?;
        let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
        arguments.args.iter().find_map(|argument| match argument {
            syn::GenericArgument::Type(state) => Some(state.clone()),
            _ => None,
        })
    })
}
