//! Reads the part of a store's URL after `sqlite:`: a path and parameters.

use std::{path::PathBuf, time::Duration};

use crate::{
    job::DEFAULTS,
    store::{Result, StoreError},
};

/// Where a store is and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) path: PathBuf,
    pub(super) synchronous: Synchronous,
    pub(super) busy_timeout: Duration,
    /// How long dead and cancelled jobs are kept.
    pub(super) keep_failed: Duration,
    /// The VFS that SQLite reaches the file through, if not its own. Only tests can name one (feature `testing`).
    pub(super) vfs: Option<String>,
}

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Synchronous {
    Full,
    Normal,
    Off,
}

impl Synchronous {
    pub(super) fn promise(self) -> &'static str {
        match self {
            Synchronous::Full => "survives power loss (WAL, synchronous=FULL)",
            Synchronous::Normal => {
                "survives a crash of the process; power loss may take the newest (synchronous=NORMAL)"
            }
            Synchronous::Off => "survives a crash of the process; power loss may damage the file (synchronous=OFF)",
        }
    }
}

impl Address {
    /// Reads `path?synchronous=full&busy_timeout=30s&keep_failed=90d`; the path may follow `//`.
    pub(super) fn parse(rest: &str) -> Result<Self> {
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if path.is_empty() || path == ":memory:" {
            return Err(StoreError::Invalid(
                "a sqlite store needs a file, as in sqlite:jobs.db; for a store in memory use memory:".into(),
            ));
        }
        let mut address = Self {
            path: path.into(),
            synchronous: Synchronous::Full,
            busy_timeout: Duration::from_secs(30),
            keep_failed: DEFAULTS.keep_failed,
            vfs: None,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            address.set(name, value)?;
        }
        Ok(address)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "synchronous" => {
                self.synchronous = match value {
                    "full" => Synchronous::Full,
                    "normal" => Synchronous::Normal,
                    "off" => Synchronous::Off,
                    _ => return Err(StoreError::Invalid(format!("synchronous={value}: use full, normal or off"))),
                }
            }
            "busy_timeout" => self.busy_timeout = duration(name, value)?,
            "keep_failed" => self.keep_failed = duration(name, value)?,
            #[cfg(feature = "testing")]
            "vfs" => self.vfs = Some(value.to_owned()),
            _ => {
                return Err(StoreError::Invalid(format!(
                    "a sqlite store has no parameter `{name}`; there are synchronous, busy_timeout and keep_failed"
                )));
            }
        }
        Ok(())
    }
}

fn duration(name: &str, value: &str) -> Result<Duration> {
    humantime::parse_duration(value)
        .map_err(|_| StoreError::Invalid(format!("{name}={value}: use a duration such as 500ms, 30s or 90d")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_alone_takes_the_defaults() {
        for url in ["jobs.db", "//jobs.db", "jobs.db?"] {
            let address = Address::parse(url).unwrap();
            assert_eq!(address.path, PathBuf::from("jobs.db"));
            assert_eq!(address.synchronous, Synchronous::Full);
            assert_eq!(address.keep_failed, Duration::from_secs(90 * 24 * 3600));
        }
        assert_eq!(Address::parse("///var/jobs.db").unwrap().path, PathBuf::from("/var/jobs.db"));
    }

    #[test]
    fn parameters_are_read_and_an_unknown_one_is_named() {
        let address = Address::parse("a.db?synchronous=normal&busy_timeout=250ms&keep_failed=2d").unwrap();
        assert_eq!(address.synchronous, Synchronous::Normal);
        assert_eq!(address.busy_timeout, Duration::from_millis(250));
        assert_eq!(address.keep_failed, Duration::from_secs(2 * 24 * 3600));
        for bad in ["a.db?cache=1", "a.db?synchronous=maybe", "a.db?busy_timeout=soon"] {
            let error = Address::parse(bad).unwrap_err();
            let name = bad.split(['?', '=']).nth(1).unwrap();
            assert!(matches!(&error, StoreError::Invalid(text) if text.contains(name)), "{error}");
        }
    }

    #[test]
    fn a_store_in_memory_is_refused_with_advice() {
        for bad in ["", "//", ":memory:", "?synchronous=off"] {
            assert!(Address::parse(bad).unwrap_err().to_string().contains("memory:"));
        }
    }
}
