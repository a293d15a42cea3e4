//! A crate as its source says it: modules, their items, and where a name leads. No macro is expanded.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use syn::{Attribute, Item, UseTree, Visibility};

/// All modules, by their path; the root is the empty path.
pub struct Crate {
    pub modules: BTreeMap<Vec<String>, Module>,
}

pub struct Module {
    pub items: Vec<Item>,
    /// Cargo features that the module needs.
    pub gates: Vec<String>,
}

/// Something public: where it is defined, and under which name.
#[derive(Clone)]
pub struct Public<'a> {
    pub module: Vec<String>,
    pub item: &'a Item,
    pub gates: Vec<String>,
}

impl Crate {
    pub fn read(lib: &Path) -> Self {
        let mut modules = BTreeMap::new();
        let text = fs::read_to_string(lib).expect("the source is there");
        add(&mut modules, Vec::new(), parse(&text), lib.parent(), Vec::new());
        Self { modules }
    }

    pub fn of_text(text: &str) -> Self {
        let mut modules = BTreeMap::new();
        add(&mut modules, Vec::new(), parse(text), None, Vec::new());
        Self { modules }
    }

    /// Everything that can be reached from outside, by its public path. A name that no item has (a macro makes it)
    /// leads to nothing and is answered by the second list, with the module that it is taken from.
    pub fn public(&self) -> (BTreeMap<String, Public<'_>>, BTreeMap<String, Vec<String>>) {
        let (mut found, mut made) = (BTreeMap::new(), BTreeMap::new());
        self.walk(&[], "", &[], &mut found, &mut made);
        (found, made)
    }

    fn walk<'a>(
        &'a self,
        path: &[String],
        public: &str,
        gates: &[String],
        found: &mut BTreeMap<String, Public<'a>>,
        made: &mut BTreeMap<String, Vec<String>>,
    ) {
        for item in &self.modules[path].items {
            let attributes = attributes(item);
            if is_hidden(attributes) {
                continue;
            }
            let gates: Vec<String> = gates.iter().cloned().chain(gates_of(attributes)).collect();
            let exported = matches!(item, Item::Macro(_)) && has(attributes, "macro_export");
            if let Item::Use(passed_on) = item {
                let passed_on_names = if is_public(&passed_on.vis) { names(&passed_on.tree) } else { Vec::new() };
                for (name, target) in passed_on_names {
                    let (at, last) = self.follow(path, &target);
                    match self.find(&at, &last) {
                        Some((module, item)) => {
                            found.insert(join(public, &name), Public { module, item, gates: gates.clone() });
                        }
                        None => drop(made.insert(join(public, &name), at)),
                    }
                }
            } else if let (Item::Mod(module), true) = (item, visible(item)) {
                let (name, below) = (module.ident.to_string(), with(path, &module.ident.to_string()));
                self.walk(&below, &join(public, &name), &gates, found, made);
            } else if let (Some(name), true) = (name_of(item), exported || visible(item)) {
                let path_of = if exported { name.clone() } else { join(public, &name) };
                found.insert(path_of, Public { module: path.to_vec(), item, gates });
            }
        }
    }

    /// Where a path within a module leads: the module and the last name.
    fn follow(&self, module: &[String], path: &[String]) -> (Vec<String>, String) {
        let mut at = module.to_vec();
        let (last, steps) = path.split_last().expect("a path has a name");
        for (number, step) in steps.iter().enumerate() {
            match step.as_str() {
                "crate" => at = Vec::new(),
                "self" => {}
                "super" => drop(at.pop()),
                name if self.modules.contains_key(&with(&at, name)) => at.push(name.to_owned()),
                // Of another crate.
                name if number == 0 => return (vec!["::".into(), name.to_owned()], last.clone()),
                name => at.push(name.to_owned()),
            }
        }
        (at, last.clone())
    }

    /// The item of this name in a module, directly or by way of its `use`s.
    pub fn find(&self, module: &[String], name: &str) -> Option<(Vec<String>, &Item)> {
        let items = &self.modules.get(module)?.items;
        if let Some(item) = items.iter().find(|item| name_of(item).is_some_and(|own| own == name)) {
            return Some((module.to_vec(), item));
        }
        let uses = items.iter().filter_map(|item| if let Item::Use(item) = item { Some(item) } else { None });
        let (_, target) = uses.flat_map(|item| names(&item.tree)).find(|(own, _)| own == name)?;
        let (at, last) = self.follow(module, &target);
        if at == module && last == name { None } else { self.find(&at, &last) }
    }
}

fn parse(text: &str) -> Vec<Item> {
    syn::parse_file(text).expect("the source is Rust").items
}

fn add(
    modules: &mut BTreeMap<Vec<String>, Module>,
    path: Vec<String>,
    items: Vec<Item>,
    folder: Option<&Path>,
    gates: Vec<String>,
) {
    for item in &items {
        let Item::Mod(module) = item else { continue };
        if is_for_tests(&module.attrs) {
            continue;
        }
        let name = module.ident.to_string();
        let below = folder.map(|folder| folder.join(&name));
        let inner = match (&module.content, &below) {
            (Some((_, items)), _) => items.clone(),
            (None, Some(below)) => parse(&fs::read_to_string(file_of(below)).expect("the module is there")),
            (None, None) => panic!("module {name} is in no file"),
        };
        let gates = gates.iter().cloned().chain(gates_of(&module.attrs)).collect();
        add(modules, with(&path, &name), inner, below.as_deref(), gates);
    }
    modules.insert(path, Module { items, gates });
}

fn file_of(module: &Path) -> PathBuf {
    let file = module.with_extension("rs");
    if file.exists() { file } else { module.join("mod.rs") }
}

/// The names that a `use` brings in, and their paths.
fn names(tree: &UseTree) -> Vec<(String, Vec<String>)> {
    let before = |name: &syn::Ident, tree: &UseTree| {
        let rest = names(tree).into_iter();
        rest.map(|(own, path)| (own, [vec![name.to_string()], path].concat())).collect::<Vec<_>>()
    };
    match tree {
        UseTree::Path(path) => {
            let mut inner = before(&path.ident, &path.tree);
            // `use a::b::{self}` is `b`.
            for (own, path) in inner.iter_mut().filter(|(own, _)| own == "self") {
                path.pop();
                *own = path.last().cloned().unwrap_or_default();
            }
            inner
        }
        UseTree::Name(name) => vec![(name.ident.to_string(), vec![name.ident.to_string()])],
        UseTree::Rename(renamed) => vec![(renamed.rename.to_string(), vec![renamed.ident.to_string()])],
        UseTree::Glob(_) => Vec::new(),
        UseTree::Group(group) => group.items.iter().flat_map(names).collect(),
    }
}

pub fn name_of(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

pub fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn visible(item: &Item) -> bool {
    match item {
        Item::Const(item) => is_public(&item.vis),
        Item::Enum(item) => is_public(&item.vis),
        Item::Fn(item) => is_public(&item.vis),
        Item::Mod(item) => is_public(&item.vis) && !is_for_tests(&item.attrs),
        Item::Static(item) => is_public(&item.vis),
        Item::Struct(item) => is_public(&item.vis),
        Item::Trait(item) => is_public(&item.vis),
        Item::Type(item) => is_public(&item.vis),
        _ => false,
    }
}

pub fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn has(attributes: &[Attribute], name: &str) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident(name))
}

pub fn is_hidden(attributes: &[Attribute]) -> bool {
    let hides = |attribute: &&Attribute| attribute.path().is_ident("doc") && text(attribute).contains("(hidden)");
    attributes.iter().any(|attribute| hides(&attribute))
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    let cfg = |attribute: &Attribute| if attribute.path().is_ident("cfg") { text(attribute) } else { String::new() };
    attributes.iter().any(|attribute| cfg(attribute).contains("(test)") || cfg(attribute).contains("(doctest)"))
}

/// The conditions of `cfg` attributes, as `feature = "sqlite"`.
pub fn gates_of(attributes: &[Attribute]) -> Vec<String> {
    let conditions = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    conditions.filter_map(|attribute| Some(attribute.meta.require_list().ok()?.tokens.to_string())).collect()
}

pub fn text(tokens: &impl quote::ToTokens) -> String {
    tokens.to_token_stream().to_string().replace(' ', "")
}

fn with(path: &[String], name: &str) -> Vec<String> {
    [path, &[name.to_owned()]].concat()
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}::{name}") }
}
