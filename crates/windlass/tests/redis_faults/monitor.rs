//! What Redis tells (`MONITOR`) of the scripts that it runs: what each touched, and how much it asked for.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
};

use super::servers::Server;

/// Sets that are read whole: names of kinds and groups, and the ids of one claim.
const NAMES: [&str; 4] = ["x:lines", "x:suspects", "groups", "x:claim:"];

/// What one run of a script did.
#[derive(Debug, Default)]
pub struct Run {
    pub hash: String,
    /// The hashes of jobs that it touched.
    pub jobs: BTreeSet<String>,
    /// The most entries that it asked for at once, and how.
    pub widest: (usize, String),
    pub commands: usize,
    /// The first key that it was given, with the slot's name in it.
    pub first: String,
    /// What it touched in other slots.
    pub elsewhere: BTreeSet<String>,
}

/// The words of a line of `MONITOR`.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut inside, mut escaped) = (Vec::new(), String::new(), false, false);
    for letter in line.chars() {
        match (inside, escaped, letter) {
            (true, true, _) => {
                word.push(letter);
                escaped = false;
            }
            (true, false, '\\') => escaped = true,
            (true, false, '"') => {
                words.push(std::mem::take(&mut word));
                inside = false;
            }
            (true, false, _) => word.push(letter),
            (false, _, '"') => inside = true,
            _ => {}
        }
    }
    words
}

impl Run {
    fn note(&mut self, words: &[String]) {
        self.commands += 1;
        let key = words.get(1).cloned().unwrap_or_default();
        if key.contains(":t:") {
            self.jobs.insert(key.clone());
        }
        let foreign = |word: &&String| word.starts_with("asynq:") && slot_of(word) != slot_of(&self.first);
        let foreign: Vec<_> = words.iter().skip(1).filter(foreign).cloned().collect();
        self.elsewhere.extend(foreign);
        let entries = asked_for(words);
        if entries > self.widest.0 {
            self.widest = (entries, words.join(" ").chars().take(120).collect());
        }
    }
}

/// What a cluster places a key by.
pub fn slot_of(key: &str) -> Option<&str> {
    key.split_once('{')?.1.split_once('}').map(|(slot, _)| slot).filter(|slot| !slot.is_empty())
}

/// How many entries a command asks for. Sets of names (kinds, lines) are as many as there are names.
fn asked_for(words: &[String]) -> usize {
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<i64>().ok());
    let command = words[0].to_lowercase();
    let limit = words.iter().position(|word| word.eq_ignore_ascii_case("limit"));
    let span = |from: Option<i64>, to: Option<i64>| match (from, to) {
        (Some(from), Some(to)) if (from < 0) == (to < 0) => usize::try_from(to - from + 1).unwrap_or(0),
        _ => usize::MAX,
    };
    match command.as_str() {
        "lrange" | "zrange" | "zrevrange" => span(number(2), number(3)),
        "zrangebyscore" | "zrevrangebyscore" | "zrangebylex" => {
            limit.and_then(|at| number(at + 2)).and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX)
        }
        "hscan" | "sscan" | "zscan" => number(4).and_then(|count| usize::try_from(count).ok()).unwrap_or(10),
        "srandmember" | "rpop" => number(2).and_then(|count| usize::try_from(count).ok()).unwrap_or(1),
        "smembers" if NAMES.iter().any(|name| words[1].contains(name)) => 0,
        "smembers" | "keys" => usize::MAX,
        _ => 0,
    }
}

/// Tells what scripts do from here on.
pub struct Monitor(BufReader<TcpStream>);

impl Monitor {
    pub fn of(server: &Server) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("the server");
        stream.write_all(b"MONITOR\r\n").expect("a request");
        let mut monitor = Self(BufReader::new(stream));
        assert_eq!(monitor.line(), "+OK\r\n");
        monitor
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).expect("a line");
        String::from_utf8_lossy(&line).into_owned()
    }

    /// All runs of scripts up to the command `ECHO end`.
    pub fn runs(mut self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        loop {
            let line = self.line();
            let words = words(&line);
            match words.first().map(|word| word.to_lowercase()).as_deref() {
                Some("evalsha") => {
                    let (hash, first) = (words[1].clone(), words[3].clone());
                    runs.push(Run { hash, first, ..Run::default() });
                }
                // A script that Redis did not know is sent again, whole.
                Some("eval") => runs.push(Run { first: words[3].clone(), ..Run::default() }),
                Some("echo") if words[1] == "end" => return runs,
                Some(_) if line.split('"').next().is_some_and(|head| head.contains(" lua]")) => {
                    runs.last_mut().expect("a script").note(&words);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_range_without_an_end_is_noticed() {
    let asked = |line: &str| asked_for(&words(line));
    assert_eq!(asked(r#"1.0 [0 lua] "zrange" "a" "0" "499""#), 500);
    assert_eq!(asked(r#"1.0 [0 lua] "LRANGE" "a" "-500" "-1""#), 500);
    assert_eq!(asked(r#"1.0 [0 lua] "zrange" "a" "0" "-1""#), usize::MAX);
    assert_eq!(asked(r#"1.0 [0 lua] "zrangebyscore" "a" "-inf" "7" "LIMIT" "0" "160""#), 160);
    assert_eq!(asked(r#"1.0 [0 lua] "zrangebyscore" "a" "-inf" "7""#), usize::MAX);
    assert_eq!(asked(r#"1.0 [0 lua] "ZRANGEBYLEX" "a" "-" "+""#), usize::MAX);
    assert_eq!(asked(r#"1.0 [0 lua] "smembers" "asynq:{q}:x:order""#), usize::MAX);
}

#[test]
fn a_key_in_another_slot_is_noticed() {
    let mut run = Run { first: "asynq:{q}:".into(), ..Run::default() };
    run.note(&words(r#"1.0 [0 lua] "DEL" "asynq:{q}:t:1" "asynq:{r}:t:1""#));
    assert_eq!(run.elsewhere, ["asynq:{r}:t:1".to_owned()].into());
}
