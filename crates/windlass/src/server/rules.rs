//! The rules that a server claims by, and what the jobs of each rule run under: a limit, a breaker, a retry budget, the
//! threads for what blocks. Made once, when the server starts; mistakes are found here.

use crate::{
    decide::{breaker::Breaker, budget::RetryBudget},
    error::Error,
    job::{InvalidJob, KindFilter, KindRule, Pattern},
};

/// What the jobs of one rule run under, beside its limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) breaker: Option<Breaker>,
    pub(crate) budget: Option<RetryBudget>,
    /// Its handler runs on a thread that may block.
    pub(crate) blocking: bool,
}

/// The rules of a claim: one for each pattern that has a handler, and one for each limit within such a pattern.
pub(crate) fn kinds(patterns: &[String], limits: &[(String, u32)]) -> Result<KindFilter, Error> {
    let mut filter = KindFilter::of(patterns.iter().map(String::as_str)).map_err(invalid)?;
    let handlers = filter.rules.clone();
    for (text, limit) in limits {
        let pattern = Pattern::new(text).map_err(invalid)?;
        if *limit == 0 {
            return Err(Error::Config(format!("the concurrency of `{text}` is 0; leave its handler out instead")));
        }
        let has_own = |rule: &KindRule| limits.iter().any(|(text, _)| *text == rule.pattern.to_string());
        let escapes = |rule: &&KindRule| rule.pattern != pattern && covers(&pattern, &rule.pattern) && !has_own(rule);
        if let Some(other) = handlers.iter().find(escapes) {
            return Err(Error::Config(format!(
                "the concurrency of `{text}` would not hold for `{}`, which has a handler of its own; set one for that, too",
                other.pattern
            )));
        }
        if let Some(rule) = filter.rules.iter_mut().find(|rule| rule.pattern == pattern) {
            rule.room = Some(*limit);
            continue;
        }
        if filter.rule_for(text.trim_end_matches('*')).is_none() {
            return Err(Error::Config(format!(
                "`{text}` has a concurrency but no handler; register one, or remove it"
            )));
        }
        filter.rules.push(KindRule { pattern, room: Some(*limit) });
    }
    Ok(filter)
}

/// The terms of each rule. Every rule has a breaker and a budget of its own, made as the most exact pattern says that
/// covers the rule; a pattern that is narrower than its handler's becomes a rule of its own.
pub(crate) fn terms(
    kinds: &mut KindFilter,
    breakers: &[(String, Breaker)],
    budgets: &[(String, RetryBudget)],
) -> Result<Vec<Terms>, Error> {
    let problems = breakers.iter().map(|(text, breaker)| ("breaker", text, breaker.problem()));
    let of_budgets = budgets.iter().map(|(text, budget)| ("retry budget", text, budget.problem()));
    for (what, text, problem) in problems.chain(of_budgets) {
        if let Some(problem) = problem {
            return Err(Error::Config(format!("the {what} of `{text}` makes no sense: {problem}")));
        }
        split_off(kinds, what, text)?;
    }
    let (breakers, budgets) = (patterns(breakers)?, patterns(budgets)?);
    let of_rule = |rule: &KindRule| Terms {
        breaker: best(&breakers, &rule.pattern),
        budget: best(&budgets, &rule.pattern),
        blocking: false,
    };
    Ok(kinds.rules.iter().map(of_rule).collect())
}

/// Makes a pattern that no rule falls under a rule of its own, within that of its handler.
fn split_off(kinds: &mut KindFilter, what: &str, text: &str) -> Result<(), Error> {
    let pattern = Pattern::new(text).map_err(invalid)?;
    if kinds.rules.iter().any(|rule| covers(&pattern, &rule.pattern)) {
        return Ok(());
    }
    let wider = kinds.rules.iter().filter(|rule| covers(&rule.pattern, &pattern));
    match wider.max_by_key(|rule| rule.pattern.rank()) {
        None => Err(Error::Config(format!("`{text}` has a {what} but no handler; register one, or remove it"))),
        Some(rule) if rule.room.is_some() => Err(Error::Config(format!(
            "the concurrency of `{}` would not hold for `{text}`, which has a {what} of its own; set a concurrency for \
             that, too",
            rule.pattern
        ))),
        Some(_) => {
            kinds.rules.push(KindRule { pattern, room: None });
            Ok(())
        }
    }
}

fn patterns<T: Copy>(given: &[(String, T)]) -> Result<Vec<(Pattern, T)>, Error> {
    given.iter().map(|(text, value)| Ok((Pattern::new(text).map_err(invalid)?, *value))).collect()
}

/// What the most exact of the patterns that cover a rule says.
fn best<T: Copy>(given: &[(Pattern, T)], rule: &Pattern) -> Option<T> {
    let covering = given.iter().filter(|(pattern, _)| covers(pattern, rule));
    covering.max_by_key(|(pattern, _)| pattern.rank()).map(|(_, value)| *value)
}

fn invalid(error: InvalidJob) -> Error {
    Error::Config(error.to_string())
}

/// Whether every kind of `inner` is one of `outer`.
fn covers(outer: &Pattern, inner: &Pattern) -> bool {
    match (outer, inner) {
        (Pattern::Prefix(_), Pattern::Exact(kind)) => outer.matches(kind),
        (Pattern::Prefix(outer), Pattern::Prefix(inner)) => inner.starts_with(&**outer),
        (Pattern::Exact(_), _) => outer == inner,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(patterns: &[&str], limits: &[(&str, u32)], kind: &str) -> Option<u32> {
        let patterns: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
        let limits: Vec<_> = limits.iter().map(|(text, limit)| ((*text).to_owned(), *limit)).collect();
        let filter = kinds(&patterns, &limits).unwrap();
        filter.rules[filter.rule_for(kind).unwrap()].room
    }

    #[test]
    fn a_limit_holds_for_its_pattern_or_a_part_of_one() {
        assert_eq!(room(&["image:*"], &[("image:*", 2)], "image:a"), Some(2));
        assert_eq!(room(&["*"], &[("image:*", 2)], "image:a"), Some(2));
        assert_eq!(room(&["*"], &[("image:*", 2)], "mail"), None);
    }

    #[test]
    fn a_handler_with_a_limit_of_its_own_does_not_count_under_a_wider_one() {
        let limits = [("image:*", 2), ("image:big", 1)];
        assert_eq!(room(&["image:*", "image:big"], &limits, "image:big"), Some(1));
        assert_eq!(room(&["image:*", "image:big"], &limits, "image:a"), Some(2));
    }

    #[test]
    fn a_limit_that_could_not_hold_is_refused() {
        let refused = |limit: &str, n| kinds(&["image:big".into(), "mail".into()], &[(limit.into(), n)]).is_err();
        assert!(refused("image:*", 2) && refused("sms", 2) && refused("mail", 0));
        assert!(!refused("mail", 1));
        let nested = ["image:*".to_owned(), "image:big:*".to_owned(), "image:tiny".to_owned()];
        let refused = |nested: &[String]| kinds(nested, &[("image:*".into(), 2)]).is_err();
        assert!(refused(&nested[..2]) && refused(&[nested[0].clone(), nested[2].clone()]));
        assert!(!refused(&nested[..1]));
    }

    #[test]
    fn the_best_match_of_two_limits_holds_in_any_order() {
        for limits in [[("image:*", 5), ("image:big", 1)], [("image:big", 1), ("image:*", 5)]] {
            assert_eq!(room(&["image:*"], &limits, "image:big"), Some(1));
            assert_eq!(room(&["image:*"], &limits, "image:small"), Some(5));
        }
    }

    fn guarded(patterns: &[&str], limits: &[(&str, u32)], breaker: &str) -> Result<Vec<(String, bool)>, Error> {
        let patterns: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
        let limits: Vec<_> = limits.iter().map(|(text, limit)| ((*text).to_owned(), *limit)).collect();
        let mut filter = kinds(&patterns, &limits)?;
        let terms = terms(&mut filter, &[(breaker.to_owned(), Breaker::new())], &[])?;
        let rules = filter.rules.iter().map(|rule| rule.pattern.to_string());
        Ok(rules.zip(terms.iter().map(|terms| terms.breaker.is_some())).collect())
    }

    #[test]
    fn every_handler_under_a_pattern_has_a_breaker_of_its_own() {
        let rules = guarded(&["image:big", "image:tiny", "mail"], &[], "image:*").unwrap();
        assert_eq!(rules, [("image:big".into(), true), ("image:tiny".into(), true), ("mail".into(), false)]);
        let all = guarded(&["a", "b:*"], &[], "*").unwrap();
        assert!(all.iter().all(|(_, guarded)| *guarded) && all.len() == 2);
    }

    #[test]
    fn a_narrower_pattern_than_its_handlers_becomes_a_rule_of_its_own() {
        assert_eq!(guarded(&["*"], &[], "sms").unwrap(), [("*".into(), false), ("sms".into(), true)]);
    }

    #[test]
    fn a_breaker_that_guards_nothing_or_breaks_a_limit_is_refused() {
        let refused = |patterns: &[&str], limits: &[(&str, u32)], breaker: &str| {
            guarded(patterns, limits, breaker).unwrap_err().to_string()
        };
        assert!(refused(&["mail"], &[], "sms").contains("no handler"));
        assert!(refused(&["*"], &[("*", 2)], "sms").contains("set a concurrency for that, too"));
        assert!(guarded(&["*"], &[("*", 2), ("sms", 1)], "sms").is_ok());
        let mut filter = KindFilter::all();
        let nonsense = [("*".to_owned(), Breaker::new().probes(0))];
        assert!(terms(&mut filter, &nonsense, &[]).unwrap_err().to_string().contains("makes no sense"));
    }
}
