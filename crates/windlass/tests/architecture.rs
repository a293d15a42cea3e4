//! Holds the rules of ARCHITECTURE.md that a compiler does not: who may import whom, who may read the clock, what is
//! logged. Every rule has a control that shows it a bad file.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What each top-level module of the library may import. What is not in the table (lib.rs, the `testing` and
/// `conformance` features) may import everything.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("job", &[]),
    ("decide", &["job"]),
    ("env", &["job", "decide"]),
    ("store", &["job", "decide", "env", "error"]),
    ("error", &["job", "store"]),
    ("codec", &[]),
    ("client", &["job", "decide", "env", "error", "store", "codec"]),
    ("server", &["job", "decide", "env", "error", "store", "codec", "client", "maintain"]),
    ("maintain", &["job", "decide", "env", "error", "store", "client", "server"]),
    ("lock", &["job", "decide", "env", "error", "store", "client"]),
    ("checkup", &["job", "decide", "env", "error", "store", "client"]),
    ("pool", &["job", "decide", "env"]),
    ("periodic", &["job", "decide", "env"]),
    // A ticker of another kind: its handle and its counts are those of `periodic`.
    ("cron", &["job", "decide", "env", "periodic"]),
    // The words of a handler's error, and nothing else of a server.
    ("retry", &["job", "decide", "env", "server"]),
    ("job_queue", &["job", "decide", "env", "error", "store", "client", "server"]),
];

/// The doors to the outside world. Only `env.rs` goes through them, and the simulation, which is another outside.
const OUTSIDE: &[&str] = &[
    "SystemTime::now",
    "Instant::now",
    "Utc::now",
    "Local::now",
    "thread::sleep",
    "time::sleep",
    "time::sleep_until",
    "time::interval",
    "thread_rng",
    "rand::",
    "fastrand::",
    "getrandom",
    "Uuid::new_v4",
    "Uuid::now_v7",
    "RandomState",
];
const MAY_GO_OUTSIDE: &[&str] = &["env.rs", "testing/world.rs", "testing/manual.rs"];

const LOGGING: &[&str] = &["error!(", "warn!(", "info!(", "debug!(", "trace!(", "span!("];

/// The traits that a store implements, by the sources: those that `Backend` is made of, and itself.
fn traits_of_a_store(source: &str) -> BTreeSet<String> {
    let line = source.lines().find_map(|line| line.strip_prefix("pub trait Backend: ")).expect("the trait Backend");
    let names = line.trim_end_matches([' ', '{']).split(" + ").filter(|name| *name != "Any");
    names.chain(["Backend"]).map(str::to_owned).collect()
}

/// The traits that a page's table names in its first column.
fn traits_of_a_table(page: &str) -> BTreeSet<String> {
    let rows = page.lines().skip_while(|line| !line.starts_with("| trait of `windlass::store`")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.filter_map(|line| Some(line.split('`').nth(1)?.to_owned())).collect()
}

#[test]
fn the_guide_names_every_trait_of_a_store() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let traits = traits_of_a_store(&read("src/store/mod.rs"));
    assert_eq!(traits_of_a_table(&read("docs/writing-a-store.md")), traits);
    let example = read("../../examples/outside-store/src/lib.rs");
    let missing: Vec<_> = traits.iter().filter(|name| !example.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "examples/outside-store does not name {missing:?}");
}

#[test]
fn a_table_without_a_trait_is_found() {
    let traits = traits_of_a_store("mod a;\npub trait Backend: Store + Groups + Any {\n");
    let table =
        |rows: &str| traits_of_a_table(&format!("`x`\n| trait of `windlass::store` | b |\n| --- | --- |\n{rows}\n`y`"));
    assert_eq!(table("| `Store` | a `z` |\n| `Groups` | b |\n| `Backend` | c |"), traits);
    assert_ne!(table("| `Store` | `Groups` |\n| `Backend` | c |"), traits);
}

#[test]
fn imports_go_one_way() {
    hold(imports_out_of_order);
}

#[test]
fn a_store_never_imports_another_store() {
    hold(imports_of_another_store);
}

#[test]
fn only_env_reads_the_clock_sleeps_or_draws_chance() {
    hold(goes_outside);
}

#[test]
fn nothing_is_left_to_do_or_to_debug() {
    hold(leftovers);
}

#[test]
fn payloads_are_not_logged() {
    hold(logs_payloads);
}

#[test]
fn every_statement_in_a_file_says_what_it_is_for() {
    let bad: Vec<_> = files(&source(), "sql").into_iter().filter(|(name, text)| !has_header(name, text)).collect();
    assert!(bad.is_empty(), "no header `-- name.sql: what it does`: {:?}", bad.iter().map(|(name, _)| name));
    let bad: Vec<_> = files(&source(), "lua").into_iter().filter(|(name, text)| !has_header(name, text)).collect();
    assert!(bad.is_empty(), "no header `-- name.lua: what it does`: {:?}", bad.iter().map(|(name, _)| name));
}

#[test]
fn a_bad_import_is_found() {
    let found = |file: &str, text: &str| !imports_out_of_order(file, &code(text)).is_empty();
    assert!(found("job/options.rs", "use crate::decide::retry;"));
    assert!(found("decide/retry.rs", "use crate::{job::Kind, store::{self, Backend}};"));
    assert!(found("store/mod.rs", "fn f() { crate::client::Client::open(\"memory:\"); }"));
    assert!(found("client.rs", "use crate::{\n    env::Env,\n    server::Server,\n};"));
    assert!(!found("server/core.rs", "use crate::{client::Client, store::{Backend, Claimed}};"));
    assert!(!found("job/options.rs", "// use crate::decide;\nconst A: &str = \"crate::store\";"));
}

#[test]
fn a_store_that_imports_another_is_found() {
    let found = |file: &str, text: &str| !imports_of_another_store(file, &code(text)).is_empty();
    assert!(found("store/memory/hot.rs", "use crate::store::sqlite::rows;"));
    assert!(found("store/sqlite/mod.rs", "use super::super::memory::line;"));
    assert!(!found("store/memory/mod.rs", "//! Not like store::sqlite.\nuse super::wakeups::Waker;"));
}

#[test]
fn a_glance_at_the_clock_is_found() {
    let found = |file: &str, text: &str| !goes_outside(file, &code(text)).is_empty();
    assert!(found("server/core.rs", "let now = std::time::Instant::now();"));
    assert!(found("store/memory/hot.rs", "let id = Uuid::new_v4();"));
    assert!(found("maintain/pruner.rs", "tokio::time::sleep(EVERY).await;"));
    assert!(!found("env.rs", "tokio::time::sleep(duration)"));
    assert!(!found("server/core.rs", "/// let began = Instant::now();\nself.env.sleep(wait).await;"));
}

#[test]
fn a_leftover_is_found() {
    let found = |text: &str| !leftovers("client.rs", &code(text)).is_empty();
    assert!(found("fn f() { todo!() }") && found("unimplemented!(\"later\")") && found("dbg!(x)"));
    assert!(!found("// todo!\nlet text = \"todo!()\";"));
}

#[test]
fn a_logged_payload_is_found() {
    let found = |text: &str| !logs_payloads("server/core.rs", &code(text)).is_empty();
    assert!(found("warn!(job.id = %id, payload = ?job.spec.payload, \"odd\");"));
    assert!(found("tracing::debug!(\n    id = %f(a, b),\n    ctx.payload(),\n)"));
    assert!(!found("warn!(job.id = %id, \"the payload is odd\"); let payload = 1;"));
}

#[test]
fn a_statement_without_a_header_is_found() {
    assert!(has_header("sql/claim.sql", "-- claim.sql: takes jobs.\nSELECT 1"));
    assert!(!has_header("sql/claim.sql", "SELECT 1"));
    assert!(!has_header("sql/claim.sql", "-- finish.sql: reports.\nSELECT 1"));
}

#[test]
fn the_rules_see_the_files() {
    let names: BTreeSet<String> = files(&source(), "rs").into_iter().map(|(name, _)| name).collect();
    for (module, _) in MAY_IMPORT {
        let file = format!("{module}.rs");
        assert!(names.contains(&file) || names.contains(&format!("{module}/mod.rs")), "no module {module}");
    }
}

/// Asserts that a rule finds nothing in any file of the library.
fn hold(rule: fn(&str, &str) -> Vec<String>) {
    let mut found = Vec::new();
    for (name, text) in files(&source(), "rs") {
        found.extend(rule(&name, &code(&text)).into_iter().map(|what| format!("{name}: {what}")));
    }
    assert!(found.is_empty(), "{found:#?}");
}

fn imports_out_of_order(file: &str, code: &str) -> Vec<String> {
    let module = file.split(['/', '.']).next().unwrap_or_default();
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == module) else { return Vec::new() };
    let known = |name: &String| MAY_IMPORT.iter().any(|(module, _)| module == name);
    let imports = crate_paths(code).into_iter().filter(known);
    imports.filter(|name| name != module && !allowed.contains(&&**name)).map(|name| format!("imports {name}")).collect()
}

fn imports_of_another_store(file: &str, code: &str) -> Vec<String> {
    let Some((own, _)) = file.strip_prefix("store/").and_then(|rest| rest.split_once('/')) else { return Vec::new() };
    let others = ["memory", "sqlite", "redis", "postgres"].into_iter().filter(|store| *store != own);
    let names = |store: &&str| [format!("{store}::"), format!("::{store};")].iter().any(|text| code.contains(text));
    others.filter(names).map(|store| format!("imports the {store} store")).collect()
}

fn goes_outside(file: &str, code: &str) -> Vec<String> {
    // The conformance suite waits for stores from the outside, like any test.
    if MAY_GO_OUTSIDE.contains(&file) || file.starts_with("conformance/") {
        return Vec::new();
    }
    OUTSIDE.iter().filter(|door| code.contains(**door)).map(|door| format!("{door}: only env.rs may")).collect()
}

fn leftovers(_: &str, code: &str) -> Vec<String> {
    ["todo!", "unimplemented!", "dbg!"].into_iter().filter(|word| code.contains(word)).map(Into::into).collect()
}

fn logs_payloads(_: &str, code: &str) -> Vec<String> {
    let starts = LOGGING.iter().flat_map(|name| code.match_indices(name).map(|(at, name)| at + name.len()));
    let arguments = starts.map(|start| {
        let mut depth = 1;
        let end = code[start..].find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        });
        &code[start..end.map_or(code.len(), |end| start + end)]
    });
    arguments.filter(|text| text.contains("payload")).map(|text| format!("logs a payload: {text}")).collect()
}

fn has_header(name: &str, text: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    text.starts_with(&format!("-- {file}: "))
}

/// The first names of all paths that start with `crate::`, those of grouped imports among them.
fn crate_paths(code: &str) -> Vec<String> {
    let name_at = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.push(name_at(rest));
            continue;
        };
        let (mut depth, mut first) = (1, true);
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => first = true,
                c if depth == 1 && first && !c.is_whitespace() => {
                    names.push(name_at(&group[at..]));
                    first = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    names
}

/// The text without comments, without what stands in string literals, and without the tests at its end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if c == '"' {
            string_length(rest)
        } else if rest.starts_with("r\"") || rest.starts_with("r#") {
            raw_string_length(rest).unwrap_or(0)
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\") {
            rest[2..].find('\'').map_or(1, |end| end + 3)
        } else {
            0
        };
        if skip == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            rest = &rest[skip..];
        }
    }
    out
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

fn raw_string_length(text: &str) -> Option<usize> {
    let hashes = text[1..].chars().take_while(|c| *c == '#').count();
    text[1 + hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let from = 2 + hashes;
    Some(text[from..].find(&close).map_or(text.len(), |end| from + end + close.len()))
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All files with this extension, by their path below `root`. Test files in folders of their own are left out.
fn files(root: &Path, extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the source is there") {
            let path = entry.expect("the source can be read").path();
            let name = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
            if path.is_dir() {
                if !name.ends_with("/tests") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) && !name.ends_with("/tests.rs") {
                found.push((name, fs::read_to_string(&path).expect("a text file")));
            }
        }
    }
    found
}
