//! Locks: who gets a free slot, and when a holder renews, gives up, or asks again.

use std::time::Duration;

/// The shortest time for which a lock is taken or renewed.
pub const SHORTEST_TTL: Duration = Duration::from_millis(100);
/// The longest time for which a lock is taken or renewed.
pub const LONGEST_TTL: Duration = Duration::from_secs(12 * 3600);

/// How long a place in line is kept for one who no longer asks.
pub(crate) const KEEP_PLACE: Duration = Duration::from_secs(3);
/// How often one who may be next asks without a hint, and one who is further behind.
const POLL_NEXT: Duration = Duration::from_millis(250);
const POLL_BEHIND: Duration = Duration::from_millis(500);
/// Hints that follow each other are heeded no faster by one who may be next; by others so much slower for each place that
/// they are behind.
const HINTS_APART: Duration = Duration::from_millis(20);
/// The longest that a holder stops before its time.
const WIDEST_MARGIN: Duration = Duration::from_secs(1);

/// What a store finds under a lock's name when somebody without a hold asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Holds that have not lapsed.
    pub held: u32,
    /// Live waiters before the one who asks.
    pub ahead: u32,
    /// The number of slots that those who hold it or wait for it asked for; none: there is nobody.
    pub slots: Option<u32>,
}

/// What one who asks for a lock gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// A slot.
    Take,
    /// Nothing yet.
    Wait,
    /// Nothing: the others asked for another number of slots.
    OtherSlots(u32),
}

/// Free slots go to the first live waiters, as many as there are; what those leave, to anybody.
///
/// ```
/// use windlass::decide::lock::{Grant, Standing, grant};
/// let line = |held, ahead| grant(Standing { held, ahead, slots: Some(2) }, 2);
/// assert_eq!(line(1, 0), Grant::Take);
/// assert_eq!(line(1, 1), Grant::Wait); // the one ahead gets it
/// assert_eq!(line(0, 1), Grant::Take); // one for each
/// ```
pub fn grant(there: Standing, slots: u32) -> Grant {
    match there.slots {
        Some(other) if other != slots => Grant::OtherSlots(other),
        _ if there.ahead < slots.saturating_sub(there.held) => Grant::Take,
        _ => Grant::Wait,
    }
}

/// How long after it was taken or renewed a lock is renewed: two more tries fit in before it lapses.
pub(crate) fn renew_after(ttl: Duration) -> Duration {
    ttl / 3
}

/// How long after a renewal that failed the next one is tried.
pub(crate) fn retry_after(ttl: Duration) -> Duration {
    (ttl / 12).min(Duration::from_secs(1))
}

/// How long a holder may count on a lock, from before the call that got it was sent: it stops a little before the
/// store's time is up.
pub(crate) fn good_for(ttl: Duration) -> Duration {
    ttl - (ttl / 10).min(WIDEST_MARGIN)
}

/// When to ask again for a lock of so many slots, by what the store said.
pub(crate) fn ask_after(slots: u32, ahead: u32, retry_in: Duration) -> Duration {
    let poll = if ahead < slots { POLL_NEXT } else { POLL_BEHIND };
    poll.min(retry_in)
}

/// For how long after an answer the store's hints are not heeded. One who is far behind has time until its turn comes,
/// so all who wait ask little more often together than the first of them alone; and by its turn it knows where it stands,
/// so the lock goes from hand to hand.
pub(crate) fn deaf_for(slots: u32, ahead: u32) -> Duration {
    HINTS_APART.saturating_mul(ahead.saturating_sub(slots).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_let_in_than_there_are_slots() {
        for slots in 1..5 {
            for held in 0..5 {
                let taken = (0..10).filter(|ahead| {
                    let there = Standing { held, ahead: *ahead, slots: Some(slots) };
                    grant(there, slots) == Grant::Take
                });
                assert_eq!(taken.count(), slots.saturating_sub(held) as usize);
            }
        }
    }

    #[test]
    fn another_number_of_slots_is_refused_while_somebody_is_there() {
        let there = Standing { held: 1, ahead: 0, slots: Some(3) };
        assert_eq!(grant(there, 5), Grant::OtherSlots(3));
        assert_eq!(grant(Standing::default(), 5), Grant::Take);
    }

    #[test]
    fn a_holder_renews_twice_before_it_gives_up_and_gives_up_before_it_lapses() {
        for ttl in [SHORTEST_TTL, Duration::from_secs(10), LONGEST_TTL] {
            assert!(2 * renew_after(ttl) < good_for(ttl) && good_for(ttl) < ttl);
        }
    }
}
