//! The public surface as lines of text, sorted: one for each item, field, variant, method and implemented trait.

use std::collections::{BTreeMap, BTreeSet};

use quote::ToTokens;
use syn::{Attribute, Fields, ImplItem, Item, ItemImpl, TraitItem, Type};

use crate::tree::{Crate, Public, attributes, gates_of, is_hidden, is_public, name_of};

/// All lines.
pub fn of(library: &Crate) -> Vec<String> {
    let (found, made) = library.public();
    // The facts of the suite are named in one list, and nobody calls them by name.
    let is_fact = |path: &str| path.starts_with("conformance::") && path.matches("::").count() > 1;
    let found: BTreeMap<_, _> = found.into_iter().filter(|(path, _)| !is_fact(path)).collect();
    let mut lines = BTreeSet::new();
    for (path, public) in &found {
        lines.extend(item(path, public).into_iter().map(|line| line + &gated(&public.gates)));
    }
    for (path, module) in &made {
        lines.insert(made_by_a_macro(library, path, module));
        lines.extend(macros(library, module));
    }
    lines.extend(implementations(library, &found));
    lines.into_iter().collect()
}

fn item(path: &str, public: &Public<'_>) -> Vec<String> {
    match public.item {
        Item::Const(item) => vec![format!("const {path}: {}", tidy(&item.ty))],
        Item::Static(item) => vec![format!("static {path}: {}", tidy(&item.ty))],
        Item::Fn(item) => vec![format!("fn {path}: {}", tidy(&item.sig))],
        Item::Macro(item) => vec![format!("macro {path}!: {}", tidy(&item.mac.tokens))],
        Item::Type(item) => vec![format!("type {path}{} = {}", tidy(&item.generics), tidy(&item.ty))],
        Item::Struct(item) => {
            let head = format!("struct {path}{}{}", tidy(&item.generics), marks(&item.attrs));
            [vec![head], fields(path, &item.fields)].concat()
        }
        Item::Enum(item) => {
            let mut lines = vec![format!("enum {path}{}{}", tidy(&item.generics), marks(&item.attrs))];
            for variant in &item.variants {
                lines.push(format!("variant {path}::{} {}", variant.ident, tidy(&without_docs(&variant.fields))));
            }
            lines
        }
        Item::Trait(item) => {
            let bounds = tidy(&item.supertraits);
            let mut lines = vec![format!("trait {path}{}: {bounds}", tidy(&item.generics))];
            lines.extend(item.items.iter().filter_map(|part| asked(path, part)));
            lines
        }
        _ => Vec::new(),
    }
}

/// What a trait asks for or offers.
fn asked(path: &str, part: &TraitItem) -> Option<String> {
    let (attributes, text) = match part {
        TraitItem::Fn(part) => {
            let offered = if part.default.is_some() { " {..}" } else { "" };
            (&part.attrs, format!("{}{offered}", tidy(&part.sig)))
        }
        TraitItem::Const(part) => (&part.attrs, format!("const {}: {}", part.ident, tidy(&part.ty))),
        TraitItem::Type(part) => {
            (&part.attrs, format!("type {}{}: {}", part.ident, tidy(&part.generics), tidy(&part.bounds)))
        }
        _ => return None,
    };
    (!is_hidden(attributes)).then(|| format!("in {path}: {text}"))
}

fn fields(path: &str, fields: &Fields) -> Vec<String> {
    let public = fields.iter().enumerate().filter(|(_, field)| is_public(&field.vis));
    let line = |(place, field): (usize, &syn::Field)| {
        let name = field.ident.as_ref().map_or_else(|| place.to_string(), ToString::to_string);
        format!("field {path}.{name}: {}", tidy(&field.ty))
    };
    public.map(line).collect()
}

fn without_docs(fields: &Fields) -> Fields {
    let mut fields = fields.clone();
    fields.iter_mut().for_each(|field| field.attrs.clear());
    fields
}

/// Derived traits and whether it may grow.
fn marks(attributes: &[Attribute]) -> String {
    let told = attributes.iter().filter(|it| it.path().is_ident("derive") || it.path().is_ident("non_exhaustive"));
    told.map(|attribute| format!(" {}", tidy(&attribute.meta))).collect()
}

/// The methods and traits of public types, wherever their `impl` stands.
fn implementations(library: &Crate, found: &BTreeMap<String, Public<'_>>) -> Vec<String> {
    let mut lines = Vec::new();
    for (module, content) in &library.modules {
        for item in &content.items {
            let Item::Impl(block) = item else { continue };
            let Some(path) = type_name(&block.self_ty).and_then(|name| public_path(library, found, module, &name))
            else {
                continue;
            };
            let gates: Vec<_> = content.gates.iter().cloned().chain(gates_of(&block.attrs)).collect();
            lines.extend(of_block(&path, block).into_iter().map(|line| line + &gated(&gates)));
        }
    }
    lines
}

fn of_block(path: &str, block: &ItemImpl) -> Vec<String> {
    let head = format!("impl{} {path}", tidy(&block.generics));
    let own = tidy(&block.self_ty);
    if let Some((of_trait, _)) = &block.trait_ {
        return vec![format!("{head}: {} for {own} {}", tidy(of_trait), tidy(&block.generics.where_clause))];
    }
    let part = |part: &ImplItem| match part {
        ImplItem::Fn(method) if is_public(&method.vis) && !is_hidden(&method.attrs) => {
            Some(format!("{head} as {own}: {}{}", tidy(&method.sig), gated(&gates_of(&method.attrs))))
        }
        ImplItem::Const(value) if is_public(&value.vis) => {
            Some(format!("{head} as {own}: const {}: {}", value.ident, tidy(&value.ty)))
        }
        _ => None,
    };
    block.items.iter().filter_map(part).collect()
}

fn type_name(of: &Type) -> Option<String> {
    match of {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        Type::Reference(reference) => type_name(&reference.elem),
        _ => None,
    }
}

/// The public path of a type that a module knows under this name.
pub fn public_path(
    library: &Crate,
    found: &BTreeMap<String, Public<'_>>,
    module: &[String],
    name: &str,
) -> Option<String> {
    let (home, item) = library.find(module, name)?;
    let own = name_of(item)?;
    let is_it = |public: &&Public<'_>| public.module == home && name_of(public.item).is_some_and(|name| name == own);
    found.iter().find(|(_, public)| is_it(public)).map(|(path, _)| path.clone())
}

fn made_by_a_macro(library: &Crate, path: &str, module: &[String]) -> String {
    if library.modules.contains_key(module) {
        format!("made by a macro {path}: in {}", module.join("::"))
    } else {
        format!("passed on {path}: of {}", module.last().cloned().unwrap_or_default())
    }
}

/// The macros of a module and their calls: what they make cannot be seen here, but what they make it from can.
fn macros(library: &Crate, module: &[String]) -> Vec<String> {
    let items = library.modules.get(module).map(|module| module.items.as_slice()).unwrap_or_default();
    let line = |item: &Item| match item {
        Item::Macro(item) if attributes(&Item::Macro(item.clone())).iter().all(|it| !it.path().is_ident("cfg")) => {
            let of = item.ident.as_ref().map_or_else(|| tidy(&item.mac.path), ToString::to_string);
            Some(format!("in {}: {of}! {{ {} }}", module.join("::"), tidy(&item.mac.tokens)))
        }
        _ => None,
    };
    items.iter().filter_map(line).collect()
}

fn gated(gates: &[String]) -> String {
    let gates: BTreeSet<String> = gates.iter().map(|gate| spaced(gate)).collect();
    gates.iter().map(|gate| format!(" [{gate}]")).collect()
}

fn tidy(tokens: &impl ToTokens) -> String {
    spaced(&tokens.to_token_stream().to_string())
}

/// Tokens as people write them, more or less; always the same for the same tokens.
fn spaced(tokens: &str) -> String {
    let mut text = tokens.split_whitespace().collect::<Vec<_>>().join(" ");
    let tight = [
        (" :: ", "::"),
        (":: ", "::"),
        (" < ", "<"),
        ("< ", "<"),
        (" >", ">"),
        (" ,", ","),
        (" ;", ";"),
        (" : ", ": "),
        (" (", "("),
        ("( ", "("),
        (" )", ")"),
        ("& ", "&"),
        ("[ ", "["),
        (" ]", "]"),
        (" !", "!"),
        ("-> ", " -> "),
        (" . ", "."),
        ("' ", "'"),
        (",)", ")"),
        (",>", ">"),
        ("  ", " "),
    ];
    for (loose, tight) in tight {
        text = text.replace(loose, tight);
    }
    text.replace("- >", "->").replace("- ->", "->")
}
