//! What a run says of itself while it goes on: how far it is, from where it could be taken up again, and lines of its
//! log. Bounded here, so that no store has to cut anything.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::{DEFAULTS, Timestamp, outcome::cut};

/// How far a run is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// From 0 to 1.
    pub fraction: f64,
    /// What it does now, for people; empty for none.
    pub message: Arc<str>,
}

impl Progress {
    /// A fraction outside of 0 to 1 is taken as the nearer end (what is no number as 0); a message is cut to 1 KiB and
    /// rid of NUL characters.
    pub fn new(fraction: f64, message: impl Into<String>) -> Self {
        let fraction = if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) };
        Self { fraction, message: cut(message.into(), DEFAULTS.line_bytes).into() }
    }
}

/// A line of a job's log on its way into a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// When it was said, by the wall clock of the server that ran the job.
    pub at: Timestamp,
    /// What was said.
    pub text: Arc<str>,
}

impl Line {
    /// A line, cut to 1 KiB and rid of NUL characters.
    pub fn new(at: Timestamp, text: impl Into<String>) -> Self {
        Self { at, text: cut(text.into(), DEFAULTS.line_bytes).into() }
    }
}

/// A line of a job's log, as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// Its number among all lines of the job; rises by one, from 1.
    pub number: u64,
    /// When it was said, by the wall clock of the server that ran the job.
    pub at: Timestamp,
    /// In which attempt.
    pub attempt: u32,
    /// What was said, at most 1 KiB.
    pub line: Arc<str>,
}

impl LogLine {
    /// Adds a line to a log that keeps the newest hundred.
    pub fn push(log: &mut Vec<LogLine>, attempt: u32, line: &Line) {
        let number = log.last().map_or(0, |last| last.number) + 1;
        if log.len() >= DEFAULTS.lines_kept {
            log.drain(..=log.len() - DEFAULTS.lines_kept);
        }
        log.push(LogLine { number, at: line.at, attempt, line: line.text.clone() });
    }
}

/// What a run says at one time. What it leaves out stays as it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct News {
    /// Rises with each news of one run, from 1. A store takes each number once, and none below the last one: so a
    /// repeat doubles no line, and what was delayed on its way takes no later checkpoint back.
    pub number: u64,
    /// How far the run is.
    pub progress: Option<Progress>,
    /// From where the next run could go on; handed to it by its claim.
    pub checkpoint: Option<Bytes>,
    /// New lines of the log, oldest first.
    pub lines: Vec<Line>,
}

impl News {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.progress.is_none() && self.checkpoint.is_none() && self.lines.is_empty()
    }

    /// Adds a line, and lets the oldest go when there are more than a log keeps.
    pub fn say(&mut self, line: Line) {
        if self.lines.len() >= DEFAULTS.lines_kept {
            self.lines.drain(..=self.lines.len() - DEFAULTS.lines_kept);
        }
        self.lines.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_is_between_0_and_1() {
        let fraction = |given| Progress::new(given, "").fraction;
        assert_eq!([-1.0, f64::NAN, 0.25, 7.0, f64::INFINITY].map(fraction), [0.0, 0.0, 0.25, 1.0, 1.0]);
    }

    #[test]
    fn long_texts_are_cut_and_a_nul_is_replaced() {
        let long = "é\0".repeat(9000);
        for text in [Line::new(Timestamp::default(), &*long).text, Progress::new(0.5, &*long).message] {
            assert!(text.len() <= DEFAULTS.line_bytes && text.ends_with('…') && !text.contains('\0'));
        }
    }

    #[test]
    fn a_log_and_what_is_on_its_way_keep_the_newest_hundred_lines() {
        let (mut log, mut news) = (Vec::new(), News::default());
        for number in 1..=250 {
            let line = Line::new(Timestamp::default(), number.to_string());
            LogLine::push(&mut log, 1, &line);
            news.say(line);
        }
        let numbers: Vec<_> = log.iter().map(|line| line.number).collect();
        assert_eq!(numbers, (151..=250).collect::<Vec<_>>());
        assert_eq!((news.lines.len(), &*news.lines[0].text), (100, "151"));
    }
}
