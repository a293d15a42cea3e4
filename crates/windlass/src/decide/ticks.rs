//! Which tick of an interval comes next. Ticks are at fixed distances from the beginning, so that neither a late wake-up
//! nor a long run moves those that follow.

use std::time::Duration;

/// The tick to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextTick {
    /// Its number; tick 0 is the beginning.
    pub number: u64,
    /// How many ticks went by since the last one and are left out.
    pub missed: u64,
}

/// The tick after `last`, `elapsed` after the beginning. One that is due this very moment is not missed.
pub fn next_tick(interval: Duration, last: u64, elapsed: Duration) -> NextTick {
    let due = elapsed.as_nanos().div_ceil(interval.as_nanos().max(1));
    let number = u64::try_from(due).unwrap_or(u64::MAX).max(last.saturating_add(1));
    NextTick { number, missed: number.saturating_sub(last).saturating_sub(1) }
}

/// When a tick is due, from the beginning on.
pub fn due_after(interval: Duration, number: u64) -> Duration {
    let nanos = interval.as_nanos().saturating_mul(u128::from(number));
    let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    Duration::new(u64::try_from(seconds).unwrap_or(u64::MAX), rest as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_short_run_is_followed_by_the_next_tick() {
        assert_eq!(next_tick(SECOND, 0, Duration::ZERO), NextTick { number: 1, missed: 0 });
        assert_eq!(next_tick(SECOND, 7, SECOND * 15 / 2), NextTick { number: 8, missed: 0 });
    }

    #[test]
    fn ticks_that_passed_during_a_run_are_missed_and_the_one_due_now_is_not() {
        assert_eq!(next_tick(SECOND, 0, SECOND * 5 / 2), NextTick { number: 3, missed: 2 });
        assert_eq!(next_tick(SECOND, 0, SECOND * 3), NextTick { number: 3, missed: 2 });
    }

    #[test]
    fn no_interval_and_no_time_overflows() {
        assert_eq!(next_tick(Duration::ZERO, u64::MAX, Duration::MAX).number, u64::MAX);
        assert!(due_after(Duration::MAX, u64::MAX) > Duration::from_secs(u64::MAX - 1));
    }

    proptest! {
        #[test]
        fn a_tick_is_never_in_the_past_and_less_than_an_interval_ahead_of_an_overdue_one(
            interval in 1u64..10_000_000_000, last in 0u64..1000, behind in 0u64..100_000_000_000,
        ) {
            let interval = Duration::from_nanos(interval);
            let elapsed = due_after(interval, last) + Duration::from_nanos(behind);
            let next = next_tick(interval, last, elapsed);
            let due = due_after(interval, next.number);
            prop_assert!(due >= elapsed && next.number > last);
            prop_assert!(due - elapsed <= interval);
            prop_assert_eq!(next.missed, next.number - last - 1);
        }
    }
}
