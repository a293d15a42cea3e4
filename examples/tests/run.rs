//! Runs every example in an empty directory and compares what it prints with `expected/NAME.txt`.
//! `WINDLASS_BLESS=1 cargo test -p windlass-examples` writes those files anew; read the difference before you commit.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

macro_rules! examples {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                run(stringify!($name), env!(concat!("CARGO_BIN_EXE_", stringify!($name))));
            }
        )*

        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

examples! {
    blocking_handlers
    breaker_and_budget
    cancel_and_timeout
    codecs
    complete_in_transaction
    custom_retry
    enqueue_stream
    events_and_hooks
    graceful_shutdown
    groups
    hello
    job_queue
    many_workers_one_file
    middleware_and_state
    options_and_unique
    periodic_work
    progress_and_resume
    raw_and_patterns
    readme
    results_and_wait
    retries
    retry_an_operation
    testing_with_kit
    tower_layers
    transactional_enqueue
    worker_pool
}

fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(name: &str, program: &str) {
    let place = tempfile::tempdir().expect("a temporary directory");
    let output = Command::new(program).current_dir(&place).output().expect("the example starts");
    let (printed, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} failed: {}\n{printed}\n{errors}", output.status);
    let file = home().join("expected").join(format!("{name}.txt"));
    if std::env::var_os("WINDLASS_BLESS").is_some() {
        fs::write(&file, &*printed).expect("the expected output can be written");
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(printed, expected, "{name} prints something else than {}", file.display());
}

#[test]
fn every_example_is_run() {
    let files = fs::read_dir(home().join("src/bin")).expect("the examples are there");
    let stem = |entry: fs::DirEntry| entry.path().file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let written: BTreeSet<String> = files.filter_map(|entry| stem(entry.ok()?)).collect();
    assert_eq!(written, NAMES.iter().map(|name| (*name).to_owned()).collect());
}

#[test]
fn the_readme_shows_the_example_that_is_run() {
    let example = fs::read_to_string(home().join("src/bin/readme.rs")).expect("the example is there");
    for readme in ["../README.md", "../crates/windlass/README.md"] {
        let text = fs::read_to_string(home().join(readme)).expect("the README is there");
        let block = text.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next());
        assert_eq!(block, Some(&*example), "the first Rust block of {readme}");
    }
}
