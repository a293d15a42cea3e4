//! `windlass enqueue --batch`: a job for each line, streamed, so that millions of them need little memory. A thread
//! reads ahead; what it has read goes into the store together. Answers come in the order of the lines.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    thread,
};

use serde::Serialize;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use windlass::{Client, DEFAULTS, Enqueued, Error, RawJob};

use super::request::{self, Answer, Expected};
use crate::{
    exit::{Exit, Failure},
    output::{ErrorDocument, unwritten},
    store::App,
};

/// How many lines go into the store together at most.
const CHUNK: usize = 1000;
const CHUNK_BYTES: usize = 4 * 1024 * 1024;
/// The longest line: the largest payload and generous options.
const MAX_LINE: usize = 2 * DEFAULTS.max_payload_bytes;
const READ_BUFFER: usize = 256 * 1024;

/// A line, unless it was too long to be kept.
struct Line {
    number: u64,
    text: Option<Vec<u8>>,
}

type Chunk = io::Result<Vec<Line>>;

/// Enqueues what stands in a file, or on stdin.
pub(crate) async fn run(app: &App, source: &str) -> anyhow::Result<Exit> {
    let reader: Box<dyn Read + Send> = if source == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(source).map_err(|error| Failure::usage(format!("{source} cannot be read: {error}")))?)
    };
    let client = app.shared().await?;
    let mut chunks = read_ahead(reader)?;
    let (mut refused, mut heard) = (0u64, Ok(()));
    while let Some(chunk) = chunks.recv().await {
        let chunk = chunk.map_err(|error| Failure::usage(format!("{source} cannot be read further: {error}")))?;
        let answers = answer(&client, chunk).await?;
        refused += answers.iter().filter(|answer| answer.result.is_err()).count() as u64;
        // The jobs matter more than their answers: nobody has to listen.
        if heard.is_ok() {
            heard = print(&answers);
        }
    }
    let lost = heard.err().filter(|error| error.kind() != io::ErrorKind::BrokenPipe);
    if let Some(error) = &lost {
        let help = format!("all lines were read; {refused} were refused, all others are enqueued");
        return Err(unwritten(error).help(help).into());
    }
    if refused > 0 {
        let problem = format!("{refused} lines were refused; all others are enqueued");
        return Err(Failure::usage(problem).help("each stands in its place on stdout, with its `error`").into());
    }
    Ok(Exit::Ok)
}

/// Reads on a thread of its own, two chunks ahead.
fn read_ahead(reader: Box<dyn Read + Send>) -> io::Result<Receiver<Chunk>> {
    let (sender, receiver) = channel(2);
    thread::Builder::new().name("windlass-batch".into()).spawn(move || {
        if let Err(error) = read(BufReader::with_capacity(READ_BUFFER, reader), &sender) {
            let _ = sender.blocking_send(Err(error));
        }
    })?;
    Ok(receiver)
}

fn read(mut reader: BufReader<impl Read>, sender: &Sender<Chunk>) -> io::Result<()> {
    let (mut lines, mut bytes, mut number) = (Vec::new(), 0, 0);
    loop {
        // Whoever writes line by line gets each answer at once: nothing waits for what is not there yet.
        let at_rest = !reader.buffer().contains(&b'\n');
        if !lines.is_empty() && (at_rest || lines.len() >= CHUNK || bytes >= CHUNK_BYTES) {
            bytes = 0;
            if sender.blocking_send(Ok(std::mem::take(&mut lines))).is_err() {
                return Ok(());
            }
        }
        let Some(text) = read_line(&mut reader)? else { break };
        number += 1;
        if text.as_ref().is_none_or(|text| !text.trim_ascii().is_empty()) {
            bytes += text.as_ref().map_or(0, Vec::len);
            lines.push(Line { number, text });
        }
    }
    if !lines.is_empty() {
        let _ = sender.blocking_send(Ok(lines));
    }
    Ok(())
}

/// The next line, without keeping one that is too long; none at the end.
fn read_line(reader: &mut impl BufRead) -> io::Result<Option<Option<Vec<u8>>>> {
    let mut line = Vec::new();
    let length = reader.take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
    if length == 0 {
        return Ok(None);
    }
    if length <= MAX_LINE || line.ends_with(b"\n") {
        return Ok(Some(Some(line)));
    }
    loop {
        let buffer = reader.fill_buf()?;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(buffer.len(), |place| place + 1);
        reader.consume(used);
        if end.is_some() || used == 0 {
            return Ok(Some(None));
        }
    }
}

/// The answer to one line.
struct LineAnswer {
    number: u64,
    result: Result<Answer, Failure>,
}

/// Enqueues the good lines and answers all of them, in order.
async fn answer(client: &Client, lines: Vec<Line>) -> anyhow::Result<Vec<LineAnswer>> {
    let mut jobs = Vec::with_capacity(lines.len());
    let mut answers: Vec<(u64, Result<Expected, Failure>)> = Vec::with_capacity(lines.len());
    for line in lines {
        let checked = line.text.ok_or_else(too_long).and_then(|text| check(client, &text));
        answers.push((
            line.number,
            checked.map(|(job, expected)| {
                jobs.push(job);
                expected
            }),
        ));
    }
    let mut enqueued = enqueue(client, jobs).await?.into_iter();
    let mut settle = |(number, expected): (u64, Result<Expected, Failure>)| {
        let result = expected.and_then(|expected| match enqueued.next() {
            Some(Ok(enqueued)) => Ok(Answer::new(&enqueued, &expected)),
            Some(Err(failure)) => Err(failure),
            None => Err(Failure::new(Exit::Corrupt, "corrupt", "the store gave no answer to this line")),
        });
        LineAnswer { number, result }
    };
    Ok(answers.into_iter().map(&mut settle).collect())
}

fn too_long() -> Failure {
    Failure::usage(format!("the line has more than {MAX_LINE} bytes"))
}

fn check(client: &Client, text: &[u8]) -> Result<(RawJob, Expected), Failure> {
    let (job, expected) = request::parse_line(text)?.into_job(client.env())?;
    client.prepare(job.clone()).map_err(|error| Failure::from(&Error::from(error)))?;
    Ok((job, expected))
}

/// Enqueues all together; where the store refuses a value, each alone, so that only the bad one is refused.
async fn enqueue(client: &Client, jobs: Vec<RawJob>) -> anyhow::Result<Vec<Result<Enqueued, Failure>>> {
    let error = match client.enqueue_all(jobs.clone()).await {
        Ok(answers) => return Ok(answers.into_iter().map(Ok).collect()),
        Err(error) => error,
    };
    if Failure::from(&error).exit != Exit::Usage {
        return Err(error.into());
    }
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        match client.enqueue(job).await {
            Ok(enqueued) => answers.push(Ok(enqueued)),
            Err(error) => {
                let failure = Failure::from(&error);
                if failure.exit != Exit::Usage {
                    return Err(error.into());
                }
                answers.push(Err(failure));
            }
        }
    }
    Ok(answers)
}

#[derive(Serialize)]
struct Refused<'a> {
    line: u64,
    #[serde(flatten)]
    document: ErrorDocument<'a>,
}

/// Prints the answers.
fn print(answers: &[LineAnswer]) -> io::Result<()> {
    let mut text = Vec::with_capacity(answers.len() * 128);
    for answer in answers {
        match &answer.result {
            Ok(answer) => serde_json::to_writer(&mut text, answer)?,
            Err(failure) => {
                serde_json::to_writer(&mut text, &Refused { line: answer.number, document: failure.into() })?;
            }
        }
        text.push(b'\n');
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(&text).and_then(|()| stdout.flush())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Option<usize>> {
        let mut reader = text.as_bytes();
        std::iter::from_fn(|| read_line(&mut reader).unwrap()).map(|line| line.map(|line| line.len())).collect()
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_and_the_next_one_read() {
        let long = "x".repeat(MAX_LINE + 1);
        assert_eq!(lines(&format!("a\n{long}\nbc")), [Some(2), None, Some(2)]);
        assert_eq!(lines(&long), [None]);
        assert_eq!(lines(""), []);
    }
}
