//! Which queue gets how many of the next jobs: by weight, work-conserving; or strictly by rank.

use crate::job::QueueName;

/// One queue of a claim and its share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueShare {
    /// The queue.
    pub queue: QueueName,
    /// How many jobs it may give before the others have given theirs.
    pub quota: u32,
}

/// The queues of a server with their weights, and whose turn it is.
///
/// Weighted: smooth weighted round-robin (as in nginx's upstream module): each turn every queue gains its weight, the
/// richest gives a job and pays the sum of all weights. Over time shares are exact, even when jobs are asked for one
/// by one. What a queue cannot give the others may: the store fills up in the order of the shares.
#[derive(Clone, Debug)]
pub struct QueuePlan {
    lanes: Vec<Lane>,
    strict: bool,
}

#[derive(Clone, Debug)]
struct Lane {
    queue: QueueName,
    weight: i64,
    credit: i64,
}

impl QueuePlan {
    /// A plan over queues and their weights; a weight of zero counts as one.
    pub fn new(queues: impl IntoIterator<Item = (QueueName, u32)>, strict: bool) -> Self {
        let lane = |(queue, weight): (QueueName, u32)| Lane { queue, weight: i64::from(weight.max(1)), credit: 0 };
        let mut lanes: Vec<_> = queues.into_iter().map(lane).collect();
        lanes.sort_by_key(|lane| std::cmp::Reverse(lane.weight));
        Self { lanes, strict }
    }

    /// The queues, heaviest first.
    pub fn queues(&self) -> impl Iterator<Item = (&QueueName, u32)> {
        self.lanes.iter().map(|lane| (&lane.queue, u32::try_from(lane.weight).unwrap_or(u32::MAX)))
    }

    /// The shares of the next `limit` jobs, in the order in which leftovers are filled up. Strict: each queue may
    /// give all, the heaviest first.
    pub fn shares(&mut self, limit: u32) -> Vec<QueueShare> {
        if self.strict || self.lanes.len() == 1 {
            return self.lanes.iter().map(|lane| QueueShare { queue: lane.queue.clone(), quota: limit }).collect();
        }
        let total: i64 = self.lanes.iter().map(|lane| lane.weight).sum();
        // Whole rounds leave every credit as it was; only the rest has to be played out turn by turn.
        let rounds = i64::from(limit) / total;
        let mut quotas: Vec<i64> = self.lanes.iter().map(|lane| rounds * lane.weight).collect();
        for _ in 0..i64::from(limit) % total {
            for lane in &mut self.lanes {
                lane.credit += lane.weight;
            }
            let richest = (0..self.lanes.len()).rev().max_by_key(|&at| self.lanes[at].credit).unwrap_or(0);
            self.lanes[richest].credit -= total;
            quotas[richest] += 1;
        }
        let mut shares: Vec<_> = std::iter::zip(&self.lanes, quotas)
            .map(|(lane, quota)| QueueShare { queue: lane.queue.clone(), quota: u32::try_from(quota).unwrap_or(0) })
            .collect();
        shares.sort_by_key(|share| std::cmp::Reverse(share.quota));
        shares
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(weights: &[(&str, u32)], strict: bool) -> QueuePlan {
        QueuePlan::new(weights.iter().map(|(name, weight)| (QueueName::new(name).unwrap(), *weight)), strict)
    }

    fn quota(shares: &[QueueShare], queue: &str) -> u32 {
        shares.iter().find(|share| share.queue.as_str() == queue).unwrap().quota
    }

    #[test]
    fn asked_one_by_one_the_shares_are_exact_and_smooth() {
        let mut plan = plan(&[("low", 1), ("critical", 6), ("default", 3)], false);
        let firsts: Vec<String> = (0..10).map(|_| plan.shares(1)[0].queue.to_string()).collect();
        let count = |name: &str| firsts.iter().filter(|queue| *queue == name).count();
        assert_eq!((count("critical"), count("default"), count("low")), (6, 3, 1));
        assert_ne!(firsts[0..6], ["critical"; 6].map(String::from), "a light queue waits for no full round");
    }

    #[test]
    fn asked_for_many_the_shares_follow_the_weights_and_add_up() {
        let mut plan = plan(&[("critical", 6), ("default", 3), ("low", 1)], false);
        let mut sums = [0; 3];
        for limit in [1, 7, 10, 50, 500, 33] {
            let shares = plan.shares(limit);
            assert_eq!(shares.iter().map(|share| share.quota).sum::<u32>(), limit);
            for (sum, queue) in sums.iter_mut().zip(["critical", "default", "low"]) {
                *sum += quota(&shares, queue);
            }
        }
        assert!(sums[0].abs_diff(361) <= 1 && sums[1].abs_diff(180) <= 1 && sums[2].abs_diff(60) <= 1, "{sums:?}");
    }

    #[test]
    fn strict_lets_the_heaviest_give_all() {
        let shares = plan(&[("low", 1), ("critical", 6)], true).shares(9);
        assert_eq!(shares[0].queue.as_str(), "critical");
        assert!(shares.iter().all(|share| share.quota == 9));
    }
}
