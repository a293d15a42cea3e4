//! `#[derive(Job)]` and `#[check_handler]`. Use them through `windlass`, which re-exports them.

mod check;
mod derive;

use proc_macro::TokenStream;

/// Implements `windlass::Job`.
///
/// `#[job(..)]` takes `kind = "email:send"` (required), and any of `codec = "msgpack"` (or a type of yours), `queue = ".."`, `tenant = ".."`, `priority = 5`,
/// `max_retry = 5`, `timeout = "30s"`, `retention = "1h"`, `tag = ".."` (more than once) and `unique`: one live job
/// for each value of the whole payload. Options that depend on the payload: implement `Job` by hand.
///
/// `returns = Type` implements `windlass::Returns` as well: what the handler returns, for `Client::call`.
#[proc_macro_derive(Job, attributes(job))]
pub fn derive_job(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    derive::job(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Checks that a function is a handler and names the part that does not fit. It changes nothing.
///
/// `#[check_handler(state = App)]` names the router's state, where handlers ask for a part of it.
#[proc_macro_attribute]
pub fn check_handler(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = syn::parse_macro_input!(item as syn::ItemFn);
    let checks = check::handler(arguments.into(), &function).unwrap_or_else(syn::Error::into_compile_error);
    quote::quote! { #function #checks }.into()
}
