//! More due jobs than should stand in line: they come in a few at a time, so that a fresh job is not long behind them,
//! and hold back nobody but themselves.

use super::bench::{Bench, HOUR, SECOND, ids};
use crate::{
    job::{JobId, JobOptions, QueueName, State, Verdict},
    store::{PromoteRules, Promoted},
};

const LOOK_AHEAD: u32 = 10;

fn rules() -> PromoteRules {
    PromoteRules { look_ahead: LOOK_AHEAD, ..PromoteRules::all(500) }
}

/// Rules by which the queue of plain jobs may have so many beyond the look-ahead.
fn beyond(many: u32) -> PromoteRules {
    let queue = QueueName::new("default").expect("a name");
    PromoteRules { beyond: [(queue, many)].into(), ..rules() }
}

async fn promote(bench: &Bench, rules: &PromoteRules) -> Promoted {
    bench.store.promote(rules).await.expect("promote")
}

/// So many jobs like this, all due by now.
async fn flood(bench: &Bench, many: usize, options: JobOptions) -> Vec<JobId> {
    let mut flood = Vec::new();
    for _ in 0..many {
        flood.push(bench.add(options.clone().process_in(SECOND)).await);
    }
    bench.clock.advance(SECOND);
    flood
}

async fn fresh(bench: &Bench, many: usize) -> Vec<JobId> {
    let mut fresh = Vec::new();
    for _ in 0..many {
        fresh.push(bench.add(JobOptions::new()).await);
    }
    fresh
}

/// How many jobs are in this state, in all queues.
async fn count(bench: &Bench, state: State) -> u64 {
    bench.census().await.queues.iter().map(|queue| queue.by_state[state.code() as usize]).sum()
}

pub async fn due_jobs_come_into_line_as_far_as_the_look_ahead(bench: Bench) {
    let flood = flood(&bench, 30, JobOptions::new()).await;
    let promoted = promote(&bench, &rules()).await;
    assert_eq!(promoted, Promoted { moved: LOOK_AHEAD, next_due: None, held_back: true });
    assert_eq!((count(&bench, State::Pending).await, count(&bench, State::Scheduled).await), (10, 20));
    assert_eq!(promote(&bench, &rules()).await.moved, 0, "the line is full");
    assert_eq!(ids(&bench.claim(20).await), flood[..10], "the earliest come first");
}

pub async fn as_many_come_in_as_were_claimed(bench: Bench) {
    let flood = flood(&bench, 30, JobOptions::new()).await;
    promote(&bench, &rules()).await;
    let first = bench.claim(4).await;
    assert_eq!(promote(&bench, &rules()).await, Promoted { moved: 4, next_due: None, held_back: true });
    let then = bench.claim(20).await;
    assert_eq!([ids(&first), ids(&then)].concat(), flood[..14]);
}

pub async fn a_fresh_job_stands_behind_no_more_than_the_look_ahead(bench: Bench) {
    flood(&bench, 30, JobOptions::new()).await;
    promote(&bench, &rules()).await;
    let fresh = bench.add(JobOptions::new()).await;
    promote(&bench, &rules()).await;
    let claimed = ids(&bench.claim(30).await);
    assert_eq!(claimed.iter().position(|id| *id == fresh), Some(LOOK_AHEAD as usize));
}

pub async fn the_last_of_a_flood_leave_nothing_held_back(bench: Bench) {
    flood(&bench, 12, JobOptions::new()).await;
    promote(&bench, &rules()).await;
    assert_eq!(bench.claim(5).await.len(), 5);
    assert_eq!(promote(&bench, &rules()).await, Promoted { moved: 2, next_due: None, held_back: false });
}

pub async fn what_is_held_back_is_not_what_is_due_next(bench: Bench) {
    flood(&bench, 30, JobOptions::new()).await;
    bench.add(JobOptions::new().queue("other").process_in(HOUR)).await;
    let promoted = promote(&bench, &rules()).await;
    assert_eq!(promoted, Promoted { moved: LOOK_AHEAD, next_due: Some(HOUR), held_back: true });
}

pub async fn a_limit_that_cuts_it_short_holds_nothing_back(bench: Bench) {
    flood(&bench, 8, JobOptions::new()).await;
    let promoted = promote(&bench, &PromoteRules { limit: 3, ..rules() }).await;
    assert_eq!(promoted, Promoted { moved: 3, next_due: Some(std::time::Duration::ZERO), held_back: false });
}

pub async fn a_full_line_holds_back_no_other_queue(bench: Bench) {
    flood(&bench, 30, JobOptions::new()).await;
    let others = flood(&bench, 3, JobOptions::new().queue("other")).await;
    // Few enough to go to the first ones, if they could take all.
    let promoted = promote(&bench, &PromoteRules { limit: 15, ..rules() }).await;
    assert_eq!(promoted, Promoted { moved: 13, next_due: None, held_back: true });
    assert_eq!(ids(&bench.take(&bench.request_from(&["other"], 9)).await), others);
}

pub async fn a_flood_of_a_low_priority_holds_back_no_job_of_a_higher_one(bench: Bench) {
    flood(&bench, 150, JobOptions::new()).await;
    promote(&bench, &rules()).await;
    let urgent = flood(&bench, 2, JobOptions::new().priority(5)).await;
    assert_eq!(promote(&bench, &rules()).await.moved, 2);
    assert_eq!(ids(&bench.claim(2).await), urgent);
}

pub async fn a_long_line_of_fresh_jobs_gets_what_the_rules_say(bench: Bench) {
    let fresh = fresh(&bench, 25).await;
    let flood = flood(&bench, 30, JobOptions::new()).await;
    assert_eq!(promote(&bench, &rules()).await, Promoted { moved: 0, next_due: None, held_back: true });
    assert_eq!(promote(&bench, &beyond(6)).await, Promoted { moved: 6, next_due: None, held_back: true });
    assert_eq!(ids(&bench.claim(40).await), [&fresh[..], &flood[..6]].concat());
}

pub async fn what_comes_by_the_look_ahead_counts_against_what_comes_beyond(bench: Bench) {
    fresh(&bench, 7).await;
    flood(&bench, 30, JobOptions::new()).await;
    assert_eq!(promote(&bench, &beyond(2)).await.moved, 3);
    assert_eq!(bench.claim(7).await.len(), 7);
    assert_eq!(promote(&bench, &beyond(9)).await.moved, 9);
}

pub async fn what_one_queue_may_have_beyond_is_no_other_ones(bench: Bench) {
    flood(&bench, 30, JobOptions::new().queue("other")).await;
    promote(&bench, &rules()).await;
    assert_eq!(promote(&bench, &beyond(9)).await, Promoted { moved: 0, next_due: None, held_back: true });
}

/// As long as the line is full, half of what is claimed comes in: neither starves.
pub async fn fresh_and_due_jobs_share_what_is_claimed(bench: Bench) {
    let fresh = fresh(&bench, 40).await;
    let due = flood(&bench, 60, JobOptions::new()).await;
    let (mut claimed, mut of_due) = (Vec::new(), Vec::new());
    for _ in 0..25 {
        promote(&bench, &beyond(2)).await;
        claimed.extend(ids(&bench.claim(4).await));
        // Others come in as fast as they are worked off.
        bench.add(JobOptions::new()).await;
        bench.add(JobOptions::new()).await;
        of_due.push(claimed.iter().filter(|id| due.contains(id)).count());
    }
    assert_eq!(claimed[..40], fresh);
    assert_eq!((of_due[9], of_due[24]), (0, 30), "half of the sixty that were claimed since");
}

pub async fn jobs_that_retry_are_held_back_too(bench: Bench) {
    for _ in 0..15 {
        bench.run(JobOptions::new(), Verdict::RetryIn(SECOND)).await;
    }
    bench.clock.advance(SECOND);
    assert_eq!(promote(&bench, &rules()).await, Promoted { moved: LOOK_AHEAD, next_due: None, held_back: true });
    assert_eq!(count(&bench, State::Retrying).await, 5);
}

pub async fn a_paused_queue_gets_its_look_ahead_and_goes_on_once_it_is_resumed(bench: Bench) {
    let flood = flood(&bench, 15, JobOptions::new()).await;
    let queue = QueueName::new("default").expect("a name");
    assert!(bench.store.pause(&queue, true).await.expect("pause"));
    assert_eq!(promote(&bench, &rules()).await.moved, LOOK_AHEAD);
    assert_eq!(promote(&bench, &rules()).await.moved, 0);
    assert!(bench.store.pause(&queue, false).await.expect("resume"));
    let first = ids(&bench.claim(20).await);
    assert_eq!(promote(&bench, &rules()).await.moved, 5);
    assert_eq!([first, ids(&bench.claim(20).await)].concat(), flood);
}

pub async fn every_job_of_a_flood_is_run_in_the_end(bench: Bench) {
    let mut left = flood(&bench, 150, JobOptions::new()).await;
    left.extend(flood(&bench, 20, JobOptions::new().priority(-3)).await);
    left.extend(flood(&bench, 20, JobOptions::new().queue("other")).await);
    let mut rounds = 0;
    while !left.is_empty() {
        promote(&bench, &rules()).await;
        let claimed = bench.take(&bench.request_from(&["default", "other"], 50)).await;
        assert!(!claimed.is_empty(), "{} are stuck", left.len());
        assert!(claimed.len() <= 4 * LOOK_AHEAD as usize, "{} stood in line", claimed.len());
        for job in claimed {
            left.retain(|id| *id != job.spec.id);
            bench.finish(job.lease(), Verdict::Complete).await;
        }
        rounds += 1;
    }
    assert!(rounds >= 15, "{rounds} rounds");
    assert_eq!(promote(&bench, &rules()).await, Promoted::default());
}
