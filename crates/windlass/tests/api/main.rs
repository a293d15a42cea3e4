//! The public surface of the library, from its source: what it is (`api.txt`, so that no change of it goes unseen), and
//! that each part of it has an example.
//!
//! `make api` writes `api.txt` anew; read the difference before you commit it. All features are on: what needs one says
//! so. Items that a macro makes stand there as the macro's call.

#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod examples;
mod surface;
mod tree;

use std::{fs, path::Path};

use self::tree::Crate;

fn library() -> Crate {
    Crate::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs"))
}

#[test]
fn the_public_surface_is_the_one_that_was_written_down() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/api.txt");
    let now = surface::of(&library());
    if std::env::var_os("WINDLASS_UPDATE_API").is_some() {
        fs::write(&file, now.join("\n") + "\n").expect("the surface can be written");
        return;
    }
    let text = fs::read_to_string(&file).unwrap_or_default();
    let changes = difference(&text.lines().collect::<Vec<_>>(), &now);
    assert!(
        changes.is_empty(),
        "the public surface has changed; if that is meant, run `make api` and say it in CHANGELOG.md:\n{}",
        changes.join("\n")
    );
}

#[test]
fn everything_public_has_an_example() {
    let library = library();
    let (without, idle) = examples::judge(&library);
    assert!(without.is_empty(), "no example in the docs, nor in those of a method: {without:#?}");
    assert!(idle.is_empty(), "in tests/api/examples.rs without need, or without an example there: {idle:#?}");
}

/// Lines that are gone, with `-`, and new ones, with `+`.
fn difference(before: &[&str], now: &[String]) -> Vec<String> {
    let gone = before.iter().filter(|line| !now.iter().any(|other| other == *line)).map(|line| format!("-{line}"));
    let new = now.iter().filter(|line| !before.contains(&line.as_str())).map(|line| format!("+{line}"));
    gone.chain(new).collect()
}

mod controls {
    use super::*;

    fn surface(text: &str) -> Vec<String> {
        surface::of(&Crate::of_text(text))
    }

    fn is_seen(before: &str, after: &str) -> bool {
        let (before, after) = (surface(before), surface(after));
        let before: Vec<&str> = before.iter().map(String::as_str).collect();
        !difference(&before, &after).is_empty()
    }

    #[test]
    fn a_change_of_the_surface_is_seen() {
        let base = "mod a { pub struct S { pub x: u8, y: u8 } impl S { pub fn f(&self, n: u32) -> u8 { 0 } fn g() {} } \
                    impl Clone for S { } #[derive(Debug)] pub enum E { A, B(u8) } pub trait T { fn t(&self); } \
                    pub const C: u8 = 1; } pub use self::a::{C, E, S, T};";
        let seen = |from: &str, to: &str| {
            assert!(base.contains(from), "{from}");
            is_seen(base, &base.replace(from, to))
        };
        assert!(seen("n: u32", "n: u64"), "an argument");
        assert!(seen("-> u8 { 0 }", "-> u16 { 0 }"), "an answer");
        assert!(seen("pub fn f", "fn f"), "a method that is gone");
        assert!(seen("fn g()", "pub fn g()"), "a method that is new");
        assert!(seen("pub x: u8", "x: u8"), "a field");
        assert!(seen("impl Clone for S { }", ""), "a trait that a type has");
        assert!(seen("#[derive(Debug)]", ""), "a derived trait");
        assert!(seen("#[derive(Debug)]", "#[derive(Debug)] #[non_exhaustive]"), "non_exhaustive");
        assert!(seen("B(u8)", "B(u16)"), "a variant");
        assert!(seen("fn t(&self);", "fn t(&self); fn u(&self);"), "what a trait asks for");
        assert!(seen("pub const C: u8", "pub const C: u16"), "a constant");
        assert!(seen("{C, E, S, T}", "{C, E, S}"), "what is passed on");
        assert!(seen("{C, E, S, T}", "{C, E as F, S, T}"), "a name");
        assert!(!seen("y: u8", "z: u16") && !seen("{ 0 }", "{ 1 }"), "what nobody sees from outside");
    }

    #[test]
    fn what_a_macro_makes_is_seen() {
        let base = "mod a { macro_rules! make { ($n:ident) => { pub struct $n; } } make! { S } } pub use self::a::S;";
        assert!(is_seen(base, &base.replace("{ S }", "{ S, 1 }")));
        assert!(is_seen(base, &base.replace("pub struct $n;", "pub struct $n(u8);")));
    }

    #[test]
    fn an_item_without_an_example_is_found_and_one_with_it_is_not() {
        let missing = |text: &str| examples::missing(&Crate::of_text(text));
        assert_eq!(missing("/// Docs.\npub fn f() {}"), ["f"]);
        assert!(missing("/// Docs.\n/// ```\n/// f();\n/// ```\npub fn f() {}").is_empty());
        assert_eq!(missing("/// ```text\n/// no code\n/// ```\npub struct S;"), ["S"]);
        assert!(missing("pub struct S; impl S { /// ```\n/// S::f();\n/// ```\npub fn f() {} }").is_empty());
        assert!(missing("mod hidden { pub struct S; }").is_empty());
        assert_eq!(missing("mod a { pub struct S; } pub use self::a::S as T;"), ["T"]);
    }
}
