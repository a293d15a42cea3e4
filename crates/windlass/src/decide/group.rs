//! When a group is flushed, how much of it at once, and when to try again after its aggregator failed.

use std::time::Duration;

use crate::job::{GroupInfo, MAX_MEMBERS, Timestamp};

/// When a group becomes a job: as soon as one of these holds. The defaults are Asynq's.
///
/// ```
/// use std::time::Duration;
/// use windlass::GroupRules;
/// let rules = GroupRules::new().grace(Duration::from_secs(120)).max_delay(Duration::from_secs(600)).max_size(100);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupRules {
    /// This long nobody has joined it. Default: one minute.
    pub grace: Duration,
    /// Its oldest member has waited this long. Default: it may wait for ever, as long as others keep joining.
    pub max_delay: Option<Duration>,
    /// It has this many members; also the most that go into one job. Default, and the highest value: 1,000.
    pub max_size: u32,
}

impl Default for GroupRules {
    fn default() -> Self {
        Self { grace: Duration::from_secs(60), max_delay: None, max_size: MAX_MEMBERS }
    }
}

impl GroupRules {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Flush when nobody has joined for this long. Default: one minute.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Flush when the oldest member has waited this long, even while others keep joining. Default: never.
    #[must_use]
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = Some(delay);
        self
    }

    /// Flush when there are this many members, and put no more than that into one job. Default: 1,000, and no more
    /// than that is allowed.
    #[must_use]
    pub fn max_size(mut self, members: u32) -> Self {
        self.max_size = members;
        self
    }
}

/// How long until the group is due; zero: it is due now.
pub fn due_in(group: &GroupInfo, rules: &GroupRules, now: Timestamp) -> Duration {
    if group.flush_asked || group.size >= rules.max_size.clamp(1, MAX_MEMBERS) {
        return Duration::ZERO;
    }
    let quiet = rules.grace.saturating_sub(now.since(group.newest_at));
    let patience = rules.max_delay.map(|delay| delay.saturating_sub(now.since(group.oldest_at)));
    patience.map_or(quiet, |patience| quiet.min(patience))
}

/// The wait between two looks at the groups: until the next one is due, 10 ms to a second. With very many of them a look
/// takes long; then it waits nine times as long, up to half a minute, so that looking takes no more than a tenth of a core.
pub fn look_again_in(next: Option<Duration>, took: Duration) -> Duration {
    const POLL: Duration = Duration::from_secs(1);
    let wait = next.unwrap_or(POLL).clamp(Duration::from_millis(10), POLL);
    wait.max((took * 9).min(Duration::from_secs(30)))
}

/// Whether a job that is to go into line waits in its group instead: one that has a group and has never run. Who has
/// run alone, since an operator wanted it, goes on alone.
pub fn joins(has_group: bool, attempt: u32) -> bool {
    has_group && attempt == 0
}

/// How long a group is left alone after its aggregator failed this many times in a row: 1, 2, 4, .. seconds, at most
/// five minutes.
pub fn pause_after(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(9)).min(Duration::from_secs(300))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{GroupKey, QueueName};

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    /// Members that came in at second 0, and lastly at second 40.
    fn group(size: u32) -> GroupInfo {
        GroupInfo::new(GroupKey::new(QueueName::trusted("default"), "g"), size, at(0), at(40))
    }

    #[test]
    fn a_group_is_due_once_nobody_has_joined_for_the_grace_period() {
        let rules = GroupRules::new();
        assert_eq!(due_in(&group(2), &rules, at(99)), SECOND);
        assert_eq!(due_in(&group(2), &rules, at(100)), Duration::ZERO);
    }

    #[test]
    fn a_group_that_others_keep_joining_is_due_by_its_oldest_member() {
        let rules = GroupRules::new().max_delay(50 * SECOND);
        assert_eq!(due_in(&group(2), &rules, at(40)), 10 * SECOND);
        assert_eq!(due_in(&group(2), &rules, at(50)), Duration::ZERO);
        // Whichever comes first.
        assert_eq!(due_in(&group(2), &rules.max_delay(500 * SECOND), at(90)), 10 * SECOND);
    }

    #[test]
    fn a_group_of_the_largest_size_is_due_at_once() {
        let rules = GroupRules::new().max_size(3);
        assert!(!due_in(&group(2), &rules, at(41)).is_zero());
        assert!(due_in(&group(3), &rules, at(41)).is_zero());
        assert!(due_in(&group(MAX_MEMBERS), &GroupRules::new().max_size(u32::MAX), at(41)).is_zero());
    }

    #[test]
    fn a_wish_makes_a_group_due() {
        let asked = GroupInfo { flush_asked: true, ..group(1) };
        assert!(due_in(&asked, &GroupRules::new(), at(41)).is_zero());
    }

    #[test]
    fn a_wall_clock_that_was_set_back_makes_nothing_due() {
        assert_eq!(due_in(&group(1), &GroupRules::new().max_delay(90 * SECOND), at(-1000)), 60 * SECOND);
    }

    #[test]
    fn a_failing_aggregator_is_left_alone_for_longer_each_time_up_to_five_minutes() {
        let pauses: Vec<u64> = [1, 2, 3, 9, 10, 1000].map(|failures| pause_after(failures).as_secs()).to_vec();
        assert_eq!(pauses, [1, 2, 4, 256, 300, 300]);
    }

    #[test]
    fn the_next_look_is_when_a_group_is_due_and_looking_takes_a_tenth_of_the_time_at_most() {
        const MS: Duration = Duration::from_millis(1);
        let waits = [
            (None, MS, 1000 * MS),
            (Some(300 * MS), MS, 300 * MS),
            (Some(Duration::ZERO), MS, 10 * MS),
            (Some(60 * SECOND), MS, 1000 * MS),
            (Some(Duration::ZERO), 600 * MS, 5400 * MS),
            (None, 60 * SECOND, 30 * SECOND),
        ];
        for (next, took, wait) in waits {
            assert_eq!(look_again_in(next, took), wait, "{next:?} {took:?}");
        }
    }

    #[test]
    fn only_a_job_that_has_never_run_joins_its_group() {
        assert!(joins(true, 0) && !joins(true, 1) && !joins(false, 0));
    }
}
