//! Names of things: job ids, queues, kinds, servers, and the checks that a caller's name must pass.
//! Ids that we make are UUIDv7, so that they sort by age; a caller may bring any short text.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::InvalidJob;

/// The longest id, kind, queue, tenant, tag or header name, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// The id of a job: a UUIDv7 by default, or the caller's own text of up to 255 bytes.
///
/// A text in the usual form of a UUID (lower case, hyphens) and that UUID are the same id.
///
/// ```
/// use windlass::JobId;
/// let id: JobId = "invoice-42".parse().unwrap();
/// assert_eq!(id.to_string(), "invoice-42");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(Repr);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    Uuid([u8; 16]),
    Text(Arc<str>),
}

impl JobId {
    /// The id that is this UUID.
    pub fn from_uuid(uuid: Uuid) -> Self {
        Self(Repr::Uuid(uuid.into_bytes()))
    }

    /// The UUID, when the id is one.
    pub fn as_uuid(&self) -> Option<Uuid> {
        match &self.0 {
            Repr::Uuid(bytes) => Some(Uuid::from_bytes(*bytes)),
            Repr::Text(_) => None,
        }
    }

    /// The bytes of the UUID, when the id is one.
    #[cfg(feature = "sqlite")]
    pub(crate) fn uuid_bytes(&self) -> Option<&[u8]> {
        match &self.0 {
            Repr::Uuid(bytes) => Some(bytes),
            Repr::Text(_) => None,
        }
    }

    /// The text, when the caller brought one that is no UUID.
    pub fn as_text(&self) -> Option<&str> {
        match &self.0 {
            Repr::Uuid(_) => None,
            Repr::Text(text) => Some(text),
        }
    }

    /// A number that is the same for the same id in every process: the seed of this job's jitter.
    pub fn seed(&self) -> u64 {
        use std::hash::{Hash, Hasher};
        let mut hasher = rustc_hash::FxHasher::default();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

impl FromStr for JobId {
    type Err = InvalidJob;

    /// # Errors
    /// When the text is empty, longer than 255 bytes or holds a control character.
    fn from_str(text: &str) -> Result<Self, InvalidJob> {
        if text.len() == 36
            && let Ok(uuid) = Uuid::try_parse(text)
            && uuid.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text
        {
            return Ok(Self::from_uuid(uuid));
        }
        check_name("id", text)?;
        Ok(Self(Repr::Text(text.into())))
    }
}

impl From<Uuid> for JobId {
    fn from(uuid: Uuid) -> Self {
        Self::from_uuid(uuid)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Uuid(bytes) => fmt::Display::fmt(Uuid::from_bytes(*bytes).as_hyphenated(), f),
            Repr::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobId({self})")
    }
}

impl Serialize for JobId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Checks a caller's name: not blank, at most [`MAX_NAME_BYTES`] bytes, no control characters.
pub(crate) fn check_name(field: &'static str, name: &str) -> Result<(), InvalidJob> {
    let problem = if name.trim().is_empty() {
        "is empty"
    } else if name.len() > MAX_NAME_BYTES {
        "is longer than 255 bytes"
    } else if name.chars().any(char::is_control) {
        "holds a control character"
    } else {
        return Ok(());
    };
    Err(InvalidJob::Name { field, problem })
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $field:literal, $extra:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name, checked.
            ///
            /// # Errors
            /// When the name is blank, longer than 255 bytes, or holds a character it may not hold.
            pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidJob> {
                let name = name.as_ref();
                check_name($field, name)?;
                let check: fn(&str) -> Option<&'static str> = $extra;
                match check(name) {
                    Some(problem) => Err(InvalidJob::Name { field: $field, problem }),
                    None => Ok(Self(name.into())),
                }
            }

            /// A name that comes out of a store, which checked it when it came in.
            pub fn trusted(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The name as text that others may keep, without a copy.
            pub fn shared(&self) -> Arc<str> {
                self.0.clone()
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// The name of a queue, without braces (Redis Cluster gives them a meaning).
    QueueName, "queue",
    |name| name.contains(['{', '}']).then_some("holds a brace, which Redis keys give a meaning")
);
name!(
    /// The name that chooses a job's handler, e.g. `email:send`. A `*` at the end is kept for patterns.
    Kind, "kind",
    |name| name.ends_with('*').then_some("ends in `*`, which is kept for patterns")
);

name!(
    /// The name of a lock, a semaphore or a leadership, without braces (Redis Cluster gives them a meaning).
    LockName, "name of the lock",
    |name| name.contains(['{', '}']).then_some("holds a brace, which Redis keys give a meaning")
);

/// One start of a server. A restarted process is another server, even under the same name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(pub Uuid);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0.as_hyphenated(), f)
    }
}

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerId({self})")
    }
}

impl<'de> Deserialize<'de> for ServerId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Uuid::try_parse(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Serialize for ServerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_in_its_usual_form_is_kept_as_one() {
        let text = "0192f0c1-2f3a-7abc-8def-0123456789ab";
        let id: JobId = text.parse().unwrap();
        assert!(id.as_uuid().is_some());
        assert_eq!(id.to_string(), text);
    }

    #[test]
    fn an_upper_case_uuid_stays_the_callers_text() {
        let text = "0192F0C1-2F3A-7ABC-8DEF-0123456789AB";
        let id: JobId = text.parse().unwrap();
        assert_eq!(id.as_text(), Some(text));
    }

    #[test]
    fn bad_names_are_refused_with_their_field() {
        for bad in ["", "  ", "a\nb", &"x".repeat(256)] {
            assert!(bad.parse::<JobId>().is_err(), "{bad:?}");
            assert!(QueueName::new(bad).is_err());
        }
        assert!(QueueName::new("a{b}").is_err());
        assert!(Kind::new("email:*").is_err());
        assert_eq!(Kind::new("").unwrap_err().to_string(), "the kind is empty");
    }
}
