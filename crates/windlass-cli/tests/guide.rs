//! The commands of the guide and the README, as they stand there. Those that look and change are run in a store of their
//! own; those that go on until they are ended are read by the program up to `--help`, so their flags are true.

use std::{fs, path::Path, process::Command};

/// Commands that do not end by themselves, or make more than a test should.
const NOT_RUN: &[&str] = &["work", "demo", "bench"];

/// All lines `$ windlass ..` of all pages, with the page that they stand in.
fn commands() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let pages = fs::read_dir(root.join("crates/windlass/docs")).expect("the guide is there");
    let pages = pages.map(|page| page.expect("a page").path()).chain([root.join("README.md")]);
    let mut commands = Vec::new();
    for page in pages.filter(|page| page.extension().is_some_and(|kind| kind == "md")) {
        let text = fs::read_to_string(&page).expect("a page of text");
        commands.extend(windlass_lines(&text).map(|line| (page.display().to_string(), line)));
    }
    commands
}

/// The windlass commands in the console blocks of a page.
fn windlass_lines(text: &str) -> impl Iterator<Item = String> {
    let blocks = text.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("$ windlass ")).map(str::to_owned)
}

/// Words as a shell takes them, as far as the guide goes: single quotes, and no variables.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            c => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// Runs it in a directory, against a store there; answers the exit code and what it complained of.
fn run(place: &Path, words: &[String]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_windlass"))
        .args(words)
        .current_dir(place)
        .env("WINDLASS_STORE", "sqlite:jobs.db")
        .output()
        .expect("the binary starts");
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What is wrong with a command of a page, if anything is.
fn fault(place: &Path, line: &str) -> Option<String> {
    let mut words = words(line);
    let command = words.first().cloned().unwrap_or_default();
    if NOT_RUN.contains(&command.as_str()) {
        words.push("--help".into());
        let (code, said) = run(place, &words);
        return (code != 0).then_some(said);
    }
    // Ids and queues of the pages are made up: that there is none is a good answer. A doctor may find something.
    let (code, said) = run(place, &words);
    (!(matches!(code, 0 | 4) || (code == 1 && command == "doctor"))).then(|| format!("exit code {code}: {said}"))
}

#[test]
fn every_command_of_the_guide_is_one() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let job = ["enqueue", "email:send", "--payload", "{}"].map(str::to_owned);
    assert_eq!(run(place.path(), &job).0, 0, "a store with a job in it");
    let commands = commands();
    assert!(commands.len() > 10, "the guide is full of commands: {commands:?}");
    let wrong: Vec<_> = commands
        .iter()
        .filter_map(|(page, line)| Some(format!("{page}: windlass {line}: {}", fault(place.path(), line)?)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_command_that_is_none_is_found() {
    let place = tempfile::tempdir().expect("a temporary directory");
    run(place.path(), &["enqueue", "email:send"].map(str::to_owned));
    for line in ["stats --sinse 1h", "stats --since tomorrow", "queue stop images", "work --confik a.toml"] {
        assert!(fault(place.path(), line).is_some(), "{line}");
    }
    let page = "```console\n$ windlass stats\nenqueued 1\n$ make test\n```\n```toml\n$ windlass no\n```";
    assert_eq!(windlass_lines(page).collect::<Vec<_>>(), ["stats"]);
    assert_eq!(words("enqueue a --payload '{\"b\": 1}'"), ["enqueue", "a", "--payload", "{\"b\": 1}"]);
}
