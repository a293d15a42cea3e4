//! How many jobs of each queue this server has claimed since it last put due ones into line. The dispatcher notes it, the
//! promoter asks: half as many may come into a line that is full, and one that was worked off is filled at once.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::job::QueueName;

#[derive(Default)]
pub(crate) struct Taken {
    claimed: Mutex<Counts>,
    /// A good part of a look-ahead has been claimed, or a claim found nothing.
    pub(crate) emptied: Notify,
}

#[derive(Default)]
struct Counts {
    queues: BTreeMap<QueueName, u32>,
    since: u32,
}

impl Taken {
    /// Notes of which queues a claim took its jobs, by a server that looks so far ahead.
    pub(crate) fn note<'a>(&self, jobs: impl Iterator<Item = &'a QueueName>, look_ahead: u32) {
        let mut counts = self.claimed.lock();
        let mut jobs = jobs.peekable();
        let nothing = jobs.peek().is_none();
        while let Some(queue) = jobs.next() {
            let mut many = 1;
            // Mostly many of one queue follow each other: it is looked up once.
            while jobs.next_if(|next| *next == queue).is_some() {
                many += 1;
            }
            counts.since = counts.since.saturating_add(many);
            match counts.queues.get_mut(queue) {
                Some(count) => *count = count.saturating_add(many),
                None => drop(counts.queues.insert(queue.clone(), many)),
            }
        }
        if nothing || counts.since >= look_ahead / 4 {
            self.emptied.notify_one();
        }
    }

    /// Half of what was claimed of each queue; an odd one counts the next time.
    pub(crate) fn halves(&self) -> BTreeMap<QueueName, u32> {
        let mut counts = self.claimed.lock();
        counts.since = 0;
        let halves = counts.queues.iter().map(|(queue, many)| (queue.clone(), many / 2));
        let halves = halves.filter(|(_, half)| *half > 0).collect();
        counts.queues.retain(|_, many| {
            *many %= 2;
            *many > 0
        });
        halves
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn note(taken: &Taken, queues: &[(&str, usize)]) {
        let names: Vec<_> = queues.iter().map(|(name, many)| (QueueName::new(*name).unwrap(), *many)).collect();
        taken.note(names.iter().flat_map(|(name, many)| std::iter::repeat_n(name, *many)), 40);
    }

    fn halves(taken: &Taken) -> Vec<(String, u32)> {
        taken.halves().into_iter().map(|(queue, half)| (queue.to_string(), half)).collect()
    }

    #[test]
    fn half_of_each_queue_counts_and_what_is_odd_counts_later() {
        let taken = Taken::default();
        note(&taken, &[("a", 3), ("b", 8), ("a", 2), ("c", 1)]);
        assert_eq!(halves(&taken), [("a".into(), 2), ("b".into(), 4)]);
        note(&taken, &[("a", 1), ("b", 1), ("c", 1)]);
        assert_eq!(halves(&taken), [("a".into(), 1), ("c".into(), 1)]);
        assert!(halves(&taken).is_empty());
    }

    #[test]
    fn a_quarter_of_the_look_ahead_or_an_empty_claim_is_told() {
        let taken = Taken::default();
        let told = || taken.emptied.notified().now_or_never().is_some();
        note(&taken, &[("a", 9)]);
        assert!(!told());
        note(&taken, &[("b", 1)]);
        assert!(told());
        taken.halves();
        note(&taken, &[("a", 9)]);
        assert!(!told(), "it counts from the last promotion on");
        note(&taken, &[]);
        assert!(told());
    }
}
