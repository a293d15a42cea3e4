//! Patterns over kinds: exact unless they end in `*`; of those that match, an exact one and then the longest prefix
//! wins. One rule for the router, the claim, the config file and per-kind limits.

use std::{fmt, sync::Arc};

use super::{InvalidJob, id::check_name};

/// A kind, or all kinds that begin with a prefix.
///
/// ```
/// use windlass::Pattern;
/// let images = Pattern::new("image:*").unwrap();
/// assert!(images.matches("image:resize") && !images.matches("email:send"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pattern {
    /// This kind only.
    Exact(Arc<str>),
    /// Every kind that starts with this; the empty prefix is every kind.
    Prefix(Arc<str>),
}

impl Pattern {
    /// Reads `email:send` or `email:*` or `*`.
    ///
    /// # Errors
    /// When the pattern is blank, too long or holds a control character.
    pub fn new(text: &str) -> Result<Self, InvalidJob> {
        check_name("pattern", text)?;
        Ok(match text.strip_suffix('*') {
            Some(prefix) => Pattern::Prefix(prefix.into()),
            None => Pattern::Exact(text.into()),
        })
    }

    /// Whether the kind falls under the pattern.
    pub fn matches(&self, kind: &str) -> bool {
        match self {
            Pattern::Exact(exact) => **exact == *kind,
            Pattern::Prefix(prefix) => kind.starts_with(&**prefix),
        }
    }

    /// How closely it fits: an exact pattern before any prefix, a longer prefix before a shorter one.
    pub(crate) fn rank(&self) -> usize {
        match self {
            Pattern::Exact(_) => usize::MAX,
            Pattern::Prefix(prefix) => prefix.len(),
        }
    }

    /// The place of the pattern that wins for `kind`.
    pub fn best<'a>(patterns: impl IntoIterator<Item = &'a Pattern>, kind: &str) -> Option<usize> {
        let matching = patterns.into_iter().enumerate().filter(|(_, pattern)| pattern.matches(kind));
        matching.max_by_key(|(_, pattern)| pattern.rank()).map(|(place, _)| place)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Exact(kind) => f.write_str(kind),
            Pattern::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({self})")
    }
}

/// Which kinds a claim may take, and how many of each. What matches no rule stays in line untouched.
#[derive(Clone, Debug, Default)]
pub struct KindFilter {
    /// The rules; the best match counts.
    pub rules: Vec<KindRule>,
}

/// One rule of a [`KindFilter`].
#[derive(Clone, Debug)]
pub struct KindRule {
    /// The kinds it is about.
    pub pattern: Pattern,
    /// The most jobs of all of them together that this claim may take; none: no limit.
    pub room: Option<u32>,
}

impl KindFilter {
    /// Every kind, without a limit.
    pub fn all() -> Self {
        Self { rules: vec![KindRule { pattern: Pattern::Prefix("".into()), room: None }] }
    }

    /// These patterns, without limits.
    ///
    /// # Errors
    /// When one of them is no pattern.
    pub fn of<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidJob> {
        let rules = patterns.into_iter().map(|text| Ok(KindRule { pattern: Pattern::new(text)?, room: None }));
        Ok(Self { rules: rules.collect::<Result<_, InvalidJob>>()? })
    }

    /// The place of the rule that holds for `kind`.
    pub fn rule_for(&self, kind: &str) -> Option<usize> {
        Pattern::best(self.rules.iter().map(|rule| &rule.pattern), kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_kind_wins_over_the_longest_prefix_which_wins_over_shorter_ones() {
        let filter = KindFilter::of(["*", "image:*", "image:big:*", "image:resize"]).unwrap();
        assert_eq!(filter.rule_for("image:resize"), Some(3));
        assert_eq!(filter.rule_for("image:big:crop"), Some(2));
        assert_eq!(filter.rule_for("image:crop"), Some(1));
        assert_eq!(filter.rule_for("mail"), Some(0));
    }

    #[test]
    fn what_no_rule_names_is_not_handled() {
        assert_eq!(KindFilter::of(["image:*"]).unwrap().rule_for("imag"), None);
        assert!(KindFilter::of([""]).is_err());
    }
}
