//! What a look at a store's health finds, one thing each. For people: the words may change, names and levels stay.

use std::borrow::Cow;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Level {
    /// As it should be.
    Ok,
    /// Somebody should look at it.
    Warn,
    /// Jobs are not taken, not run, or not safe.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// What was looked at, in one word.
    pub name: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do about it, unless it is as it should be.
    pub advice: Option<Cow<'static, str>>,
}

impl Check {
    /// Something that is as it should be.
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, found: found.into(), advice: None }
    }

    /// Something that somebody should look at.
    pub fn warn(name: &'static str, found: impl Into<String>, advice: impl Into<Cow<'static, str>>) -> Self {
        Self { name, level: Level::Warn, found: found.into(), advice: Some(advice.into()) }
    }

    /// Something that keeps jobs from being taken, run or safe.
    pub fn fail(name: &'static str, found: impl Into<String>, advice: impl Into<Cow<'static, str>>) -> Self {
        Self { name, level: Level::Fail, found: found.into(), advice: Some(advice.into()) }
    }
}
