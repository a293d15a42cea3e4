//! Exit codes, and how every error of the program comes to one. Scripts of others stand on the numbers and on the
//! words in `code`.

use std::{fmt, process::ExitCode};

use windlass::{Error, InvalidJob, StoreError};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok,
    /// A job or a check failed.
    Failed,
    /// Usage, configuration or a refused value.
    Usage,
    Unavailable,
    NotFound,
    Conflict,
    /// The store is newer, foreign or damaged.
    Corrupt,
    /// A wait ran out of time.
    Timeout,
    /// A lock was not acquired, so its command was not run.
    NotAcquired,
    /// A lock was lost while its command ran.
    LockLost,
    /// What a command that we ran ended with.
    Command(u8),
}

impl Exit {
    fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Unavailable => 3,
            Exit::NotFound => 4,
            Exit::Conflict => 5,
            Exit::Corrupt => 6,
            Exit::Timeout => 7,
            Exit::NotAcquired => 75,
            Exit::LockLost => 76,
            Exit::Command(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// An error as its reader sees it: what is wrong, and what to do about it.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Self {
        Self { exit, code, message: message.into(), help: None }
    }

    /// A value on the command line or in a payload that is refused.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    /// A mistake in the configuration.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "config", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Exit::NotFound, "not_found", message)
    }

    pub(crate) fn timeout(message: impl Into<String>) -> Self {
        Self::new(Exit::Timeout, "timeout", message)
    }

    /// What to do about it.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The failure at the bottom of an error, with all that was said about it on the way.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let known = error.chain().find_map(|cause| {
            let failure = cause.downcast_ref::<Failure>().cloned();
            failure
                .or_else(|| cause.downcast_ref::<Error>().map(Failure::from))
                .or_else(|| cause.downcast_ref::<StoreError>().map(Failure::from))
                .or_else(|| cause.downcast_ref::<InvalidJob>().map(|invalid| Failure::usage(invalid.to_string())))
        });
        let failure = known.unwrap_or_else(|| Failure::new(Exit::Failed, "failed", ""));
        Self { message: format!("{error:#}"), ..failure }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Store(error) => error.into(),
            Error::Invalid(_) => Failure::new(Exit::Usage, "invalid", message),
            Error::Config(_) => Failure::config(message),
            Error::NotFound(_) => Failure::not_found(message)
                .help("`windlass job list` shows the jobs that are there; with --retention completed ones stay"),
            Error::Gone(_) => Failure::new(Exit::NotFound, "gone", message)
                .help("enqueue with --retention, e.g. `--retention 1d`, and completed jobs stay readable that long"),
            Error::Conflict { id, .. } => Failure::new(Exit::Conflict, "conflict", message)
                .help(format!("`windlass job inspect {id}` shows what became of it")),
            Error::LockLost { .. } => Failure::new(Exit::LockLost, "lock_lost", message),
            Error::LockSlots { .. } => Failure::new(Exit::Conflict, "lock_slots", message),
            Error::Stale(_) => Failure::new(Exit::Conflict, "stale", message),
            _ => Failure::new(Exit::Failed, "failed", message),
        }
    }
}

impl From<&StoreError> for Failure {
    fn from(error: &StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Unavailable(reason) if reason.contains("disk is full") => {
                Failure::new(Exit::Unavailable, "unavailable", message)
                    .help("make space on its file system; what was acknowledged is still there")
            }
            StoreError::Unavailable(reason) if reason.contains("memory of this Redis is full") => {
                Failure::new(Exit::Unavailable, "unavailable", message)
                    .help("make room or raise maxmemory; what was acknowledged is still there, and workers go on")
            }
            StoreError::Unavailable(reason) if reason.contains("windlass migrate up --store") => {
                // It has said what to do.
                Failure::new(Exit::Unavailable, "unavailable", message)
            }
            StoreError::Unavailable(_) => Failure::new(Exit::Unavailable, "unavailable", message)
                .help("check the address or the path, and that this user may read and write there"),
            StoreError::Corrupt(_) => Failure::new(Exit::Corrupt, "corrupt", message).help(
                "use the version of windlass that wrote it, another path, or a backup; opening it has changed nothing",
            ),
            StoreError::Unsupported(_) => Failure::new(Exit::Usage, "unsupported", message),
            _ => Failure::new(Exit::Usage, "invalid", message),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
