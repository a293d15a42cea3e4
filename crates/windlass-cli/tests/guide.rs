//! The commands of the guide and the README, as they stand there. Those that look and change are run in a store of their
//! own; those that go on until they are ended are read by the program up to `--help`, so their flags are true. And its
//! configurations, each of which a worker takes.

use std::{fs, path::Path, process::Command};

/// Commands that do not end by themselves, or make more than a test should.
const NOT_RUN: &[&str] = &["work", "demo", "bench"];

/// The pages of the guide and the README: their names and texts.
fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guide = fs::read_dir(root.join("crates/windlass/docs")).expect("the guide is there");
    let readmes = ["README.md", "crates/windlass-cli/README.md"].map(|name| root.join(name));
    let pages = guide.map(|page| page.expect("a page").path()).chain(readmes);
    let pages = pages.filter(|page| page.extension().is_some_and(|kind| kind == "md"));
    pages.map(|page| (page.display().to_string(), fs::read_to_string(&page).expect("a page of text"))).collect()
}

/// The blocks of a page that are marked as of a language.
fn blocks<'a>(text: &'a str, language: &str) -> impl Iterator<Item = &'a str> {
    text.split(&format!("```{language}\n"))
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect::<Vec<_>>()
        .into_iter()
}

/// All lines `$ windlass ..` of all pages, with the page that they stand in.
fn commands() -> Vec<(String, String)> {
    let of_page =
        |(page, text): (String, String)| windlass_lines(&text).map(|line| (page.clone(), line)).collect::<Vec<_>>();
    pages().into_iter().flat_map(of_page).collect()
}

/// The windlass commands in the console blocks of a page.
fn windlass_lines(text: &str) -> impl Iterator<Item = String> {
    let lines = blocks(text, "console").flat_map(str::lines);
    lines.filter_map(|line| line.strip_prefix("$ windlass ")).map(str::to_owned)
}

/// The configurations in a page: what is TOML and not of cargo.
fn configurations(text: &str) -> impl Iterator<Item = &str> {
    blocks(text, "toml").filter(|block| !block.contains("dependencies]"))
}

/// What a worker says against a configuration of a page, if anything. One that names no kind is given one.
fn refused(text: &str) -> Option<String> {
    let place = tempfile::tempdir().expect("a temporary directory");
    let kind = if text.contains("[kinds.") { "" } else { "\n[kinds.\"*\"]\nbuiltin = \"noop\"\n" };
    fs::write(place.path().join("windlass.toml"), format!("{text}{kind}")).expect("a file is written");
    let (code, said) = run(place.path(), &["work", "--config", "windlass.toml", "--drain"].map(str::to_owned));
    (code != 0).then_some(said)
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
    // Ids and queues of the pages are made up: that there is none is a good answer. A doctor or a lint may find something.
    let (code, said) = run(place, &words);
    (!(matches!(code, 0 | 4) || (code == 1 && matches!(&*command, "doctor" | "schedule"))))
        .then(|| format!("exit code {code}: {said}"))
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
fn every_configuration_of_the_guide_is_taken() {
    let mut taken = 0;
    for (page, text) in pages() {
        for block in configurations(&text) {
            assert_eq!(refused(block), None, "{page}:\n{block}");
            taken += 1;
        }
    }
    assert!(taken >= 4, "the guide has more than {taken} configurations");
}

#[test]
fn a_configuration_that_is_none_is_found() {
    let page = "```toml\n[dependencies]\na = 1\n```\n```toml\n[groups.a]\nkind = \"b\"\nsize = 3\n```\n```rust\n1\n```";
    let found: Vec<_> = configurations(page).collect();
    assert_eq!(found, ["[groups.a]\nkind = \"b\"\nsize = 3\n"]);
    assert!(refused(found[0]).is_some_and(|said| said.contains("`size`")));
    assert!(refused("[kinds.a]\ncommand = [\"a\"]\nconcurrency = 0").is_some());
}

/// What each line of a doctor's answer is about, its level, and the schema.
fn checks(answer: &str) -> Vec<String> {
    let lines = answer.lines().filter(|line| !line.starts_with([' ', '$']));
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.map(|words| words[..if words[1] == "version" { 4 } else { 2 }].join(" ")).collect()
}

#[test]
fn the_doctors_answer_in_the_guide_is_one_that_it_gives() {
    let place = tempfile::tempdir().expect("a temporary directory");
    run(place.path(), &["enqueue", "email:send"].map(str::to_owned));
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_windlass"));
    let answer = doctor.args(["--store", "sqlite:jobs.db", "doctor"]).current_dir(place.path()).output();
    let answer = String::from_utf8(answer.expect("the binary starts").stdout).expect("text");
    let (_, page) =
        pages().into_iter().find(|(page, _)| page.ends_with("shutdown-and-deploying.md")).expect("the page");
    let shown = blocks(&page, "console").find(|block| block.starts_with("$ windlass doctor")).expect("the block");
    assert_eq!(checks(shown), checks(&answer), "{answer}");
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
