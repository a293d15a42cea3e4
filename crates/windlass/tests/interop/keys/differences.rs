//! The list of differences that are meant: `interop/differences.toml`.

use std::{cell::RefCell, collections::BTreeMap, collections::BTreeSet, path::Path};

use serde::Deserialize;

/// One difference that is meant. A `*` in a text stands for anything.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// After which steps: `scenario/step`.
    at: Vec<String>,
    /// Which line of the dump.
    path: String,
    /// What Go has there; empty: nothing.
    go: String,
    /// What we have there; empty: nothing.
    rust: String,
    reason: String,
    /// Which of its places have explained something.
    #[serde(skip)]
    used: RefCell<BTreeSet<String>>,
}

/// All that are meant.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Differences {
    difference: Vec<Entry>,
}

impl Differences {
    pub(crate) fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/differences.toml");
        let text = std::fs::read_to_string(path).expect("the list of differences");
        let list: Self = toml::from_str(&text).expect("a list of differences");
        for entry in &list.difference {
            assert!(!entry.at.is_empty() && entry.reason.len() > 20, "say where and why: {}", entry.path);
        }
        list
    }

    /// The lines in which two dumps differ and that nothing explains.
    pub(crate) fn unexplained(
        &self,
        at: &str,
        go: &BTreeMap<String, String>,
        rust: &BTreeMap<String, String>,
    ) -> Vec<String> {
        let paths: BTreeSet<&String> = go.keys().chain(rust.keys()).collect();
        let mut found = Vec::new();
        for path in paths {
            let of = |dump: &BTreeMap<String, String>| dump.get(path).cloned().unwrap_or_default();
            let (of_go, of_rust) = (of(go), of(rust));
            let same = go.contains_key(path) == rust.contains_key(path) && of_go == of_rust;
            if !same && !self.explain(at, path, &of_go, &of_rust) {
                found.push(format!("{at}: {path}: go `{of_go}`, rust `{of_rust}`"));
            }
        }
        found
    }

    /// The first entry that fits explains it, so one that says the same again is found to be unused.
    fn explain(&self, at: &str, path: &str, go: &str, rust: &str) -> bool {
        let fits = |entry: &&Entry| {
            matches(&entry.path, path)
                && matches(&entry.go, go)
                && matches(&entry.rust, rust)
                && entry.at.iter().any(|place| matches(place, at))
        };
        let Some(entry) = self.difference.iter().find(fits) else { return false };
        let place = entry.at.iter().find(|place| matches(place, at)).expect("it fits");
        entry.used.borrow_mut().insert(place.clone());
        true
    }

    /// The entries, and places of entries, that have explained nothing.
    pub(crate) fn unused(&self) -> Vec<String> {
        let mut unused = Vec::new();
        for entry in &self.difference {
            let used = entry.used.borrow();
            let idle = entry.at.iter().filter(|place| !used.contains(*place));
            unused.extend(idle.map(|place| format!("{place}: {}: `{}`, `{}`", entry.path, entry.go, entry.rust)));
        }
        unused
    }
}

/// Whether a text is what a pattern says, in which a `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|left| {
            rest.is_empty()
                || left.char_indices().map(|(at, _)| at).chain([left.len()]).any(|at| matches(rest, &left[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(lines: &[(&str, &str)]) -> BTreeMap<String, String> {
        lines.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect()
    }

    fn list() -> Differences {
        let text = r#"
            [[difference]]
            at = ["a/*", "b/run"]
            path = "key *"
            go = "1"
            rust = ""
            reason = "because it is so, and always was"
        "#;
        toml::from_str(text).expect("a list")
    }

    #[test]
    fn a_difference_that_is_not_listed_is_found() {
        let list = list();
        assert!(list.unexplained("a/run", &dump(&[("key x", "1")]), &dump(&[])).is_empty());
        for (at, go, rust) in [
            ("c/run", dump(&[("key x", "1")]), dump(&[])),
            ("a/run", dump(&[("key x", "2")]), dump(&[])),
            ("a/run", dump(&[("other", "1")]), dump(&[])),
            ("a/run", dump(&[]), dump(&[("key x", "1")])),
            ("a/run", dump(&[("key x", "1")]), dump(&[("key x", "2")])),
            ("a/run", dump(&[("empty", "")]), dump(&[])),
        ] {
            assert_eq!(list.unexplained(at, &go, &rust).len(), 1, "{at} {go:?} {rust:?}");
        }
    }

    #[test]
    fn an_entry_that_explains_nothing_is_found() {
        let list = list();
        list.unexplained("a/run", &dump(&[("key x", "1")]), &dump(&[]));
        assert_eq!(list.unused(), ["b/run: key *: `1`, ``"]);
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text) in [("*", ""), ("a*c", "abc"), ("a*", "a"), ("*c*", "abcd")] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("a*c", "abcd"), ("a", "ab")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
