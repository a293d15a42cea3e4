//! Whether what is public has an example: in its own docs, or (a type, a trait) in those of one of its methods.

use std::collections::BTreeSet;

use syn::{Attribute, Expr, ImplItem, Item, Lit, Meta, TraitItem, Type};

use crate::{
    surface::public_path,
    tree::{Crate, attributes},
};

/// Modules whose items are documented as a whole: a reader comes to them through the module's docs or the guide.
const AS_A_WHOLE: &[(&str, &str)] = &[];

/// Items without an example, and why they need none.
const EXCUSED: &[(&str, &str)] = &[];

/// Those that lack an example, and the excuses that nobody needs.
pub fn judge(library: &Crate) -> (Vec<String>, Vec<String>) {
    let missing = missing(library);
    let whole = |path: &str| AS_A_WHOLE.iter().any(|(module, _)| path.starts_with(&format!("{module}::")));
    let excused = |path: &str| EXCUSED.iter().any(|(name, _)| *name == path);
    let without = missing.iter().filter(|path| !whole(path) && !excused(path)).cloned().collect();
    let idle = EXCUSED.iter().filter(|(name, _)| !missing.iter().any(|path| path == name));
    (without, idle.map(|(name, _)| (*name).to_owned()).collect())
}

/// The public paths of everything that has no example anywhere.
pub fn missing(library: &Crate) -> Vec<String> {
    let (found, _) = library.public();
    let mut shown = BTreeSet::new();
    for (module, content) in &library.modules {
        for item in &content.items {
            let Item::Impl(block) = item else { continue };
            let Type::Path(own) = &*block.self_ty else { continue };
            let has_one = |part: &ImplItem| matches!(part, ImplItem::Fn(method) if is_shown(&method.attrs));
            if block.items.iter().any(has_one)
                && let Some(name) = own.path.segments.last()
                && let Some(path) = public_path(library, &found, module, &name.ident.to_string())
            {
                shown.insert(path);
            }
        }
    }
    let needs_one = |item: &Item| {
        matches!(item, Item::Struct(_) | Item::Enum(_) | Item::Trait(_) | Item::Fn(_) | Item::Macro(_))
    };
    let in_a_method = |item: &Item| match item {
        Item::Trait(item) => item.items.iter().any(|part| matches!(part, TraitItem::Fn(part) if is_shown(&part.attrs))),
        _ => false,
    };
    let lacks = found.iter().filter(|(path, public)| {
        needs_one(public.item)
            && !(is_shown(attributes(public.item)) || in_a_method(public.item) || shown.contains(*path))
    });
    lacks.map(|(path, _)| path.clone()).collect()
}

/// Whether the docs hold a block of Rust that is compiled.
fn is_shown(attributes: &[Attribute]) -> bool {
    let mut inside = false;
    let mut shown = false;
    for line in attributes.iter().filter_map(doc).flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()) {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let compiled = language.split(',').all(|word| {
                matches!(word.trim(), "" | "rust" | "no_run" | "should_panic" | "compile_fail" | "edition2024")
            });
            shown |= !inside && compiled;
            inside = !inside;
        }
    }
    shown
}

fn doc(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(value) = &attribute.meta else { return None };
    match &value.value {
        Expr::Lit(text) if attribute.path().is_ident("doc") => match &text.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}
