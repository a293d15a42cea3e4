//! What goes out: one JSON document or readable text on stdout; errors and logs on stderr.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use clap::error::ErrorKind;
use serde::Serialize;
use tracing::level_filters::LevelFilter;

use crate::{
    args::{LogFormat, LogLevel},
    exit::{Exit, Failure},
};

/// Where results go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    pub(crate) json: bool,
}

impl Out {
    /// Writes the document: as JSON, or in words for people.
    pub(crate) fn document(self, document: &impl Serialize, words: impl FnOnce() -> String) -> anyhow::Result<()> {
        let text = if self.json { serde_json::to_string(document)? } else { words() };
        write(text.trim_end_matches('\n'))
    }
}

/// Writes a line to stdout. Who reads it may leave at any time.
pub(crate) fn write(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other.map_err(|error| unwritten(&error))?),
    }
}

/// An answer that nobody will read, although it was meant to be read.
pub(crate) fn unwritten(error: &io::Error) -> Failure {
    let message = format!("the answer cannot be written to stdout: {error}");
    Failure::new(Exit::Failed, "failed", message).help("what was asked for is done; only the answer is lost")
}

/// A list, as every command gives it.
#[derive(Serialize)]
pub(crate) struct List<'a, T> {
    pub(crate) items: &'a [T],
    pub(crate) next: Option<windlass::Cursor>,
}

impl<'a, T> List<'a, T> {
    /// A list that has no further page.
    pub(crate) fn whole(items: &'a [T]) -> Self {
        Self { items, next: None }
    }
}

#[derive(Serialize)]
pub(crate) struct ErrorDocument<'a> {
    pub(crate) error: ErrorBody<'a>,
}

#[derive(Serialize)]
pub(crate) struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
    help: Option<&'a str>,
}

impl<'a> From<&'a Failure> for ErrorDocument<'a> {
    fn from(failure: &'a Failure) -> Self {
        let Failure { code, message, help, .. } = failure;
        Self { error: ErrorBody { code, message, help: help.as_deref() } }
    }
}

/// Says what went wrong, and gives its exit code.
pub(crate) fn report(failure: &Failure, json: bool) -> ExitCode {
    let text = if json {
        serde_json::to_string(&ErrorDocument::from(failure)).unwrap_or_else(|error| error.to_string())
    } else {
        let help = failure.help.as_ref().map(|help| format!("\nhelp: {help}"));
        format!("error: {}{}", failure.message, help.unwrap_or_default())
    };
    // Nobody is left to tell when stderr is closed.
    let _ = writeln!(io::stderr(), "{text}");
    failure.exit.into()
}

/// Answers arguments that are no command: help and version on stdout, anything else as an error.
pub(crate) fn refuse_arguments(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return Exit::Ok.into();
    }
    let json = std::env::args_os().take_while(|arg| arg != "--").any(|arg| arg == "--json");
    if !json {
        let _ = error.print();
        return Exit::Usage.into();
    }
    let text = error.to_string();
    let message = text.strip_prefix("error: ").unwrap_or(&text);
    let message = message.split("\n\nUsage:").next().unwrap_or(message).trim();
    report(&Failure::usage(message).help("`windlass --help` shows what there is"), true)
}

/// Starts the log on stderr.
pub(crate) fn start_logging(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // A log that cannot be written (a full disk, a pipe whose reader is gone) costs its lines, and not the worker.
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr).log_internal_errors(false);
    match format {
        LogFormat::Text => log.with_target(false).with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

/// Lines up rows under their headings.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut text = String::new();
    let headings: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    for row in [&headings].into_iter().chain(&rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Lines up names and values.
pub(crate) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!("{name:<width$}  {}\n", plain(value))).collect()
}

/// Text of others without what a terminal would obey.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// What stands where there is nothing.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}
