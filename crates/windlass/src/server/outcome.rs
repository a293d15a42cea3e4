//! What handlers return, and how an error says what is to follow: retry, retry after, snooze or bury.
//! The wish survives `?` and contexts added on the way, because it is an error in the source chain.

use std::{error::Error as StdError, fmt, time::Duration};

use bytes::Bytes;
use serde::Serialize;

use crate::{decide::verdict::Then, job::ErrorClass, store::Committed};

/// Any error.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// What a handler returns: `Ok(())`, `Ok(Json(result))` or `Ok(committed)`, or any error.
pub type Result<T = (), E = JobError> = std::result::Result<T, E>;

/// A handler's error: any error at all, and what is to follow from it. Made by `?`.
///
/// It is no `std::error::Error` itself, so that every error converts into it.
///
/// ```
/// async fn parse(text: &str) -> windlass::Result<u32> {
///     if text.is_empty() {
///         return Err("there is nothing to parse".into());
///     }
///     Ok(text.parse()?) // any error
/// }
/// # fn main() {}
/// ```
pub struct JobError {
    pub(crate) then: Then,
    pub(crate) class: ErrorClass,
    pub(crate) source: BoxError,
}

impl<E: Into<BoxError>> From<E> for JobError {
    fn from(error: E) -> Self {
        let source = error.into();
        let then = chain(&*source).find_map(|error| error.downcast_ref::<Mark>().map(|mark| mark.then));
        Self { then: then.unwrap_or_default(), class: ErrorClass::Error, source }
    }
}

impl JobError {
    /// The payload is not what the handler takes: the job is dead (`undecodable`). Says what is wrong and where, without
    /// what stands in the payload, since payloads are in no error text.
    pub fn undecodable(error: &(dyn StdError + 'static)) -> Self {
        Self { then: Then::Bury, class: ErrorClass::Undecodable, source: without_values(&error.to_string()).into() }
    }

    /// What is wrong with a checkpoint and where, without what stands in it.
    pub(crate) fn unreadable_checkpoint(error: &serde_json::Error) -> Self {
        let text = format!(
            "the job's checkpoint is not what the handler reads: {}; it may be of another version of the handler",
            without_values(&error.to_string())
        );
        Self { then: Then::default(), class: ErrorClass::Error, source: text.into() }
    }

    /// The same error; the job is dead at once, since it will never work.
    #[must_use]
    pub fn bury(self) -> Self {
        Self { then: Then::Bury, ..self }
    }

    /// The same error; the job is tried again after this long. Burns an attempt.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { then: Then::RetryAfter(wait), ..self }
    }

    /// The same error; the job is put off by this long. Burns no attempt.
    #[must_use]
    pub fn snooze(self, wait: Duration) -> Self {
        Self { then: Then::Snooze(wait), ..self }
    }

    /// The error itself.
    pub fn error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.source
    }

    /// The whole source chain, joined by `: `.
    pub fn message(&self) -> String {
        let mut message = String::new();
        for error in chain(&*self.source).filter(|error| !error.is::<Mark>()) {
            let text = error.to_string();
            // Many errors repeat their source in their own text.
            if message.is_empty() {
                message = text;
            } else if !message.ends_with(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
        }
        message
    }
}

impl fmt::Debug for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.message(), self.then)
    }
}

/// serde's message without the value or name that it quotes from the data: of
/// `invalid type: string "secret", expected u32 at line 1 column 9` it leaves out `"secret"`.
fn without_values(message: &str) -> String {
    const QUOTING: [&str; 4] = ["invalid type: ", "invalid value: ", "unknown variant ", "unknown field "];
    // What is expected comes from the handler's types; what stands before the last mention of it is the data's.
    let Some((start, at)) = QUOTING.iter().filter(|start| message.starts_with(**start)).find_map(|start| {
        let at = message.rfind(", expected ").or_else(|| message.rfind(", there are no "))?;
        Some((*start, at))
    }) else {
        return message.to_owned();
    };
    let found = message[start.len()..at].split([' ', '`', '"']).next().unwrap_or_default();
    format!("{}{}", format!("{start}{found}").trim_end(), &message[at..])
}

/// An error and those behind it.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| <dyn StdError>::source(*error))
}

/// An error that says what is to follow; made by [`ResultExt`]. A real error, so that `anyhow` and `eyre` can carry it.
#[derive(Debug)]
pub struct MarkedError {
    text: String,
    mark: Mark,
}

/// Stands in the source chain behind the [`MarkedError`], so that it is found even where an error library wraps and
/// hides the outermost error.
#[derive(Debug)]
struct Mark {
    then: Then,
    source: BoxError,
}

impl fmt::Display for MarkedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for MarkedError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.mark)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.then {
            Then::Bury => f.write_str("the job is buried"),
            Then::RetryAfter(wait) => write!(f, "the job is tried again after {wait:?}"),
            Then::Snooze(wait) => write!(f, "the job is put off by {wait:?}"),
            Then::Retry => f.write_str("the job is tried again"),
        }
    }
}

impl StdError for Mark {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // The error itself, so that who looks for it by its type finds it; `message` does not repeat its text.
        Some(&*self.source)
    }
}

/// Says what is to follow from an error.
///
/// ```
/// use windlass::ResultExt;
/// fn parse(text: &str) -> anyhow::Result<u32> {
///     use anyhow::Context;
///     text.parse().or_bury().context("the order number")      // no retry will make it a number
/// }
/// # assert!(parse("x").is_err());
/// ```
pub trait ResultExt<T> {
    /// It will never work: the job is dead at once.
    ///
    /// # Errors
    /// The same error, marked.
    fn or_bury(self) -> std::result::Result<T, MarkedError>;

    /// Try again after this long; burns an attempt.
    ///
    /// # Errors
    /// The same error, marked.
    fn or_retry_after(self, wait: Duration) -> std::result::Result<T, MarkedError>;

    /// Put off by this long; burns no attempt.
    ///
    /// # Errors
    /// The same error, marked.
    fn or_snooze(self, wait: Duration) -> std::result::Result<T, MarkedError>;
}

impl<T, E: Into<BoxError>> ResultExt<T> for std::result::Result<T, E> {
    fn or_bury(self) -> std::result::Result<T, MarkedError> {
        self.map_err(|error| mark(error, Then::Bury))
    }

    fn or_retry_after(self, wait: Duration) -> std::result::Result<T, MarkedError> {
        self.map_err(|error| mark(error, Then::RetryAfter(wait)))
    }

    fn or_snooze(self, wait: Duration) -> std::result::Result<T, MarkedError> {
        self.map_err(|error| mark(error, Then::Snooze(wait)))
    }
}

fn mark(error: impl Into<BoxError>, then: Then) -> MarkedError {
    let source = error.into();
    MarkedError { text: source.to_string(), mark: Mark { then, source } }
}

/// How a handler ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// Well, perhaps with a result.
    Done(Option<Bytes>),
    /// Well, and the handler's own transaction has finished the job.
    Committed,
    /// With an error.
    Failed(JobError),
}

/// What a handler may return when it ends well.
pub trait Output {
    /// The outcome.
    fn into_outcome(self) -> Outcome;
}

impl Output for () {
    fn into_outcome(self) -> Outcome {
        Outcome::Done(None)
    }
}

impl Output for Committed {
    fn into_outcome(self) -> Outcome {
        Outcome::Committed
    }
}

/// A result that is stored as JSON with the completed job, for the job's retention.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: Serialize> Output for Json<T> {
    fn into_outcome(self) -> Outcome {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => Outcome::Done(Some(bytes.into())),
            Err(error) => Outcome::Failed(JobError::from(error)),
        }
    }
}

/// A result as bytes, stored with the completed job for its retention.
impl Output for Bytes {
    fn into_outcome(self) -> Outcome {
        Outcome::Done(Some(self))
    }
}

/// What a handler returns: a `Result` of an [`Output`] and any error.
pub trait IntoOutcome {
    /// The outcome.
    fn into_outcome(self) -> Outcome;
}

impl<T: Output, E: Into<JobError>> IntoOutcome for std::result::Result<T, E> {
    fn into_outcome(self) -> Outcome {
        match self {
            Ok(output) => output.into_outcome(),
            Err(error) => Outcome::Failed(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    const MINUTE: Duration = Duration::from_secs(60);

    fn io() -> std::result::Result<(), std::io::Error> {
        Err(std::io::Error::other("disk gone"))
    }

    #[test]
    fn a_mark_survives_anyhows_contexts_and_the_chain_is_whole() {
        let inner = || -> anyhow::Result<()> { Ok(io().or_retry_after(MINUTE)?) };
        let bare = JobError::from(inner().unwrap_err());
        assert_eq!(bare.then, Then::RetryAfter(MINUTE));
        assert_eq!(bare.message(), "disk gone");
        let wrapped = JobError::from(inner().context("reading").context("report 7").unwrap_err());
        assert_eq!(wrapped.then, Then::RetryAfter(MINUTE));
        assert_eq!(wrapped.message(), "report 7: reading: disk gone");
    }

    #[test]
    fn a_mark_survives_a_box_and_a_plain_question_mark() {
        let handler = || -> Result {
            io().or_bury()?;
            Ok(())
        };
        assert_eq!(handler().unwrap_err().then, Then::Bury);
        let boxed: BoxError = io().or_snooze(MINUTE).unwrap_err().into();
        assert_eq!(JobError::from(boxed).then, Then::Snooze(MINUTE));
    }

    #[test]
    fn unmarked_errors_strings_among_them_are_retried() {
        assert_eq!(JobError::from("no").then, Then::Retry);
        assert_eq!(JobError::from(String::from("no")).message(), "no");
        assert_eq!(JobError::from(io().unwrap_err()).then, Then::Retry);
    }

    #[test]
    fn the_message_about_a_payload_quotes_nothing_of_it() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(dead_code)]
        struct Form {
            number: u32,
            mode: Option<Mode>,
        }
        #[derive(Debug, serde::Deserialize)]
        enum Mode {
            Fast,
        }
        for (payload, expected) in [
            (r#"{"number":"geheim, expected x"}"#, "invalid type: string, expected u32 at line 1 column 30"),
            (r#"{"number":-77777}"#, "invalid value: integer, expected u32 at line 1 column 16"),
            (r#"{"geheim":1}"#, "unknown field, expected `number` or `mode` at line 1 column 9"),
            (r#"{"number":1,"mode":"geheim"}"#, "unknown variant, expected `Fast` at line 1 column 27"),
            ("{}", "missing field `number` at line 1 column 2"),
            ("geheim", "expected value at line 1 column 1"),
        ] {
            let error = serde_json::from_str::<Form>(payload).unwrap_err();
            assert_eq!(JobError::undecodable(&error).message(), expected, "{error}");
        }
    }

    #[test]
    fn the_inner_mark_of_two_does_not_hide_the_outer_one() {
        let error = io().or_snooze(MINUTE).or_bury().unwrap_err();
        assert_eq!(JobError::from(error).then, Then::Bury);
    }
}
