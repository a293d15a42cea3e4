//! Who gets which job, in which order, and never twice.

use std::{collections::BTreeSet, sync::Arc};

use super::bench::{Bench, HOUR, LEASE, MINUTE, SECOND, id, ids, queue};
use crate::{
    decide::{operate::Action, queues::QueueShare},
    job::{JobId, JobOptions, Kind, KindFilter, KindRule, Pattern, State, Verdict},
    store::{ClaimRequest, Claimed},
};

fn on(queue: &str) -> JobOptions {
    JobOptions::new().queue(queue)
}

fn shares(quotas: &[(&str, u32)]) -> Vec<QueueShare> {
    quotas.iter().map(|(name, quota)| QueueShare { queue: queue(name), quota: *quota }).collect()
}

fn from_queue(jobs: &[Claimed], name: &str) -> usize {
    jobs.iter().filter(|job| job.spec.queue.as_str() == name).count()
}

/// Not in one claim: no more than so many jobs are looked at for kinds that nobody asked for.
pub async fn a_kind_that_stands_behind_thousands_of_others_is_found(bench: Bench) {
    let others = bench.enqueue((0..2_600).map(|_| bench.job_of("theirs", JobOptions::new())).collect()).await;
    let first = bench.add_of("ours", JobOptions::new()).await;
    let second = bench.add_of("ours", JobOptions::new()).await;
    let ours = KindFilter::of(["ours"]).expect("a kind");
    let mut found = Vec::new();
    for _ in 0..4 {
        let request = ClaimRequest { kinds: ours.clone(), ..bench.request(10) };
        found.extend(ids(&bench.take(&request).await));
        bench.clock.advance(SECOND);
    }
    assert_eq!(found, [first, second]);
    let rest = bench.claim(3_000).await;
    assert_eq!(ids(&rest), others.iter().map(|other| other.id().clone()).collect::<Vec<_>>(), "in their own order");
}

pub async fn jobs_come_by_priority_and_then_by_arrival(bench: Bench) {
    for (name, priority) in [("a", 0), ("b", -100), ("c", 5), ("d", 0), ("e", 5), ("f", 100)] {
        bench.add(JobOptions::new().id(name).priority(priority)).await;
    }
    assert_eq!(ids(&bench.claim(10).await), ["f", "c", "e", "a", "d", "b"].map(id));
}

pub async fn the_jobs_of_one_call_come_in_their_order(bench: Bench) {
    let jobs: Vec<_> = (0..20).map(|_| bench.job(JobOptions::new())).collect();
    let order: Vec<JobId> = jobs.iter().rev().map(|job| job.spec.id.clone()).collect();
    bench.enqueue(jobs.into_iter().rev().collect()).await;
    assert_eq!(ids(&bench.claim(20).await), order);
}

pub async fn a_step_back_of_the_clock_does_not_change_the_order_of_arrival(bench: Bench) {
    let first = bench.add(JobOptions::new()).await;
    bench.clock.step_wall_back(HOUR);
    let second = bench.add(JobOptions::new()).await;
    assert_eq!(ids(&bench.claim(2).await), [first, second]);
}

pub async fn a_claim_takes_no_more_than_its_limit(bench: Bench) {
    bench.add_many(5).await;
    assert_eq!(bench.claim(3).await.len(), 3);
    assert_eq!(bench.claim(0).await.len(), 0);
    assert_eq!(bench.claim(3).await.len(), 2);
    assert_eq!(bench.claim(3).await.len(), 0);
}

pub async fn full_queues_give_their_shares(bench: Bench) {
    for _ in 0..10 {
        bench.add(on("high")).await;
        bench.add(on("low")).await;
    }
    let request = ClaimRequest { shares: shares(&[("high", 3), ("low", 1)]), ..bench.request(4) };
    let jobs = bench.take(&request).await;
    assert_eq!((from_queue(&jobs, "high"), from_queue(&jobs, "low")), (3, 1));
}

pub async fn what_one_queue_cannot_give_the_others_may(bench: Bench) {
    for _ in 0..10 {
        bench.add(on("low")).await;
    }
    bench.add(on("high")).await;
    let request = ClaimRequest { shares: shares(&[("high", 6), ("low", 2)]), ..bench.request(8) };
    let jobs = bench.take(&request).await;
    assert_eq!((from_queue(&jobs, "high"), from_queue(&jobs, "low")), (1, 7));
}

pub async fn leftovers_are_filled_in_the_order_of_the_shares(bench: Bench) {
    for _ in 0..10 {
        bench.add(on("second")).await;
        bench.add(on("third")).await;
    }
    let quotas = [("empty", 4), ("second", 1), ("third", 1)];
    let jobs = bench.take(&ClaimRequest { shares: shares(&quotas), ..bench.request(6) }).await;
    assert_eq!((from_queue(&jobs, "second"), from_queue(&jobs, "third")), (5, 1));
}

pub async fn a_queue_that_may_give_all_goes_before_the_next(bench: Bench) {
    for _ in 0..3 {
        bench.add(on("low").priority(100)).await;
        bench.add(on("high")).await;
    }
    let jobs = bench.take(&bench.request_from(&["high", "low"], 4)).await;
    assert_eq!((from_queue(&jobs, "high"), from_queue(&jobs, "low")), (3, 1));
}

pub async fn a_queue_that_was_not_asked_for_gives_nothing(bench: Bench) {
    bench.add(on("other")).await;
    assert!(bench.claim(10).await.is_empty());
    assert!(bench.take(&bench.request_from(&["unknown"], 10)).await.is_empty());
    assert!(bench.take(&bench.request_from(&[], 10)).await.is_empty());
}

pub async fn a_paused_queue_gives_nothing_until_it_is_resumed(bench: Bench) {
    let waiting = bench.add_many(2).await;
    bench.add(on("open")).await;
    assert!(bench.store.pause(&queue("default"), true).await.expect("pause"));
    let late = bench.add(JobOptions::new()).await;
    let jobs = bench.take(&bench.request_from(&["default", "open"], 10)).await;
    assert_eq!((jobs.len(), from_queue(&jobs, "open")), (1, 1));
    assert!(bench.store.pause(&queue("default"), false).await.expect("resume"));
    assert_eq!(ids(&bench.claim(10).await), [waiting, vec![late]].concat());
}

pub async fn a_claim_takes_only_the_kinds_it_names(bench: Bench) {
    for kind in ["image:crop", "image", "mail", "mail:send", "mailing", "image:big:crop"] {
        bench.add_of(kind, JobOptions::new().id(kind)).await;
    }
    let take = async |patterns: &[&str]| {
        let kinds = KindFilter::of(patterns.iter().copied()).expect("patterns");
        ids(&bench.take(&ClaimRequest { kinds, ..bench.request(10) }).await)
    };
    assert_eq!(take(&["mail"]).await, [id("mail")]);
    assert_eq!(take(&["image:*"]).await, ["image:crop", "image:big:crop"].map(id));
    assert_eq!(take(&["nothing"]).await, []);
    assert_eq!(take(&[]).await, []);
    assert_eq!(take(&["*"]).await, ["image", "mail:send", "mailing"].map(id));
}

pub async fn a_pattern_is_no_regular_expression(bench: Bench) {
    for kind in ["a_b", "axb", "a%b", "A_B", "a*b"] {
        bench.add_of(kind, JobOptions::new().id(kind)).await;
    }
    for (pattern, takes) in [("a_*", &["a_b"][..]), ("a%*", &["a%b"]), ("a*b", &["a*b"]), ("A*", &["A_B"])] {
        let kinds = KindFilter::of([pattern]).expect("a pattern");
        let jobs = bench.take(&ClaimRequest { kinds, ..bench.request(10) }).await;
        assert_eq!(ids(&jobs), takes.iter().map(|name| id(name)).collect::<Vec<_>>(), "{pattern}");
    }
}

pub async fn unhandled_kinds_are_untouched_and_not_in_the_way(bench: Bench) {
    let unhandled = bench.enqueue((0..1500).map(|_| bench.job_of("unknown", JobOptions::new().priority(9))).collect());
    let unhandled = unhandled.await[0].id().clone();
    let handled = bench.add(JobOptions::new()).await;
    let before = bench.record(&unhandled).await;
    bench.clock.advance(SECOND);
    let kinds = KindFilter::of(["work"]).expect("a pattern");
    assert_eq!(ids(&bench.take(&ClaimRequest { kinds, ..bench.request(10) }).await), [handled]);
    let after = bench.record(&unhandled).await;
    assert_eq!((after.state, after.attempt, after.fence), (State::Pending, 0, None));
    assert_eq!(after.updated_at, before.updated_at);
}

pub async fn the_room_of_a_rule_bounds_all_its_kinds_together(bench: Bench) {
    for kind in ["image:a", "image:b", "mail", "image:a", "image:c", "mail", "image:special", "image:special"] {
        bench.add_of(kind, JobOptions::new()).await;
    }
    let rule = |text: &str, room| KindRule { pattern: Pattern::new(text).expect("a pattern"), room };
    let rules = vec![rule("image:*", Some(2)), rule("*", None), rule("image:special", Some(1))];
    let request = ClaimRequest { kinds: KindFilter { rules }, ..bench.request(10) };
    let kinds: Vec<_> = bench.take(&request).await.iter().map(|job| job.spec.kind.to_string()).collect();
    assert_eq!(kinds, ["image:a", "image:b", "mail", "mail", "image:special"], "the best match counts");
}

pub async fn a_rule_without_room_holds_up_nobody_else(bench: Bench) {
    for _ in 0..50 {
        bench.add_of("full", JobOptions::new().priority(50)).await;
    }
    let free = bench.add_of("free", JobOptions::new()).await;
    let rule = |text: &str, room| KindRule { pattern: Pattern::new(text).expect("a pattern"), room };
    let rules = vec![rule("full", Some(0)), rule("*", None)];
    let jobs = bench.take(&ClaimRequest { kinds: KindFilter { rules }, ..bench.request(2) }).await;
    assert_eq!(ids(&jobs), [free]);
}

pub async fn what_is_not_quick_takes_no_more_than_the_slots(bench: Bench) {
    for kind in ["slow", "quick", "slow", "slower", "quick", "slow", "quick"] {
        bench.add_of(kind, JobOptions::new()).await;
    }
    let quick = Arc::new([Kind::trusted("quick")].into());
    let request = ClaimRequest { slots: 2, quick, ..bench.request(10) };
    let kinds: Vec<_> = bench.take(&request).await.iter().map(|job| job.spec.kind.to_string()).collect();
    assert_eq!(kinds, ["slow", "quick", "slow", "quick", "quick"], "in their order, and two that are not quick");
    let quick = request.quick.clone();
    assert!(bench.take(&ClaimRequest { slots: 0, quick, ..bench.request(10) }).await.is_empty());
    assert_eq!(bench.claim(10).await.len(), 2, "the others stood in line untouched");
}

pub async fn the_limit_holds_for_quick_kinds_as_well(bench: Bench) {
    for _ in 0..5 {
        bench.add_of("quick", JobOptions::new()).await;
    }
    let quick = Arc::new([Kind::trusted("quick")].into());
    assert_eq!(bench.take(&ClaimRequest { slots: 1, quick, ..bench.request(3) }).await.len(), 3);
}

pub async fn room_counts_across_queues(bench: Bench) {
    for name in ["a", "b", "c"] {
        bench.add(on(name)).await;
    }
    let kinds =
        KindFilter { rules: vec![KindRule { pattern: Pattern::new("work").expect("a pattern"), room: Some(2) }] };
    let request = ClaimRequest { kinds, ..bench.request_from(&["a", "b", "c"], 10) };
    assert_eq!(bench.take(&request).await.len(), 2);
}

pub async fn jobs_that_wait_for_their_time_are_not_claimed(bench: Bench) {
    bench.add(JobOptions::new().process_in(SECOND)).await;
    bench.run(JobOptions::new(), Verdict::RetryIn(SECOND)).await;
    bench.clock.advance(MINUTE);
    assert!(bench.take(&bench.request_from(&["default", "own"], 10)).await.is_empty(), "they are due, but not in line");
}

pub async fn a_repeated_claim_gets_the_same_jobs(bench: Bench) {
    bench.add_many(5).await;
    let request = bench.request(3);
    let first = bench.take(&request).await;
    bench.clock.advance(SECOND);
    let again = bench.take(&request).await;
    assert_eq!(super::bench::leases(&again), super::bench::leases(&first));
    let numbers = |jobs: &[Claimed]| -> Vec<_> {
        jobs.iter().map(|job| (job.attempt, job.failures, job.crashes, job.snoozes, job.created_at)).collect()
    };
    assert_eq!(numbers(&again), numbers(&first));
    assert_eq!(bench.claim(10).await.len(), 2, "the repeat took none");
}

pub async fn a_repeated_claim_gets_only_what_is_still_held(bench: Bench) {
    bench.add_many(4).await;
    let request = bench.request(3);
    let jobs = bench.take(&request).await;
    bench.finish(jobs[0].lease(), Verdict::Complete).await;
    bench.finish(jobs[1].lease(), Verdict::Release).await;
    assert_eq!(ids(&bench.take(&request).await), [jobs[2].spec.id.clone()]);
}

pub async fn a_repeated_claim_does_not_get_what_was_rescued(bench: Bench) {
    bench.add_many(1).await;
    let request = bench.request(1);
    let old = bench.take(&request).await.remove(0);
    assert_eq!(bench.crash().await.len(), 1);
    let newer = bench.take(&ClaimRequest { server: bench.other, ..bench.request(1) }).await.remove(0);
    assert!(newer.fence > old.fence);
    assert!(bench.take(&request).await.is_empty());
}

pub async fn a_claim_that_arrives_after_a_later_one_gets_nothing(bench: Bench) {
    bench.add_many(3).await;
    let (early, late) = (bench.request(1), bench.request(1));
    assert!(early.sequence < late.sequence);
    assert_eq!(bench.take(&late).await.len(), 1);
    assert!(bench.take(&early).await.is_empty(), "nobody waits for its answer");
    assert_eq!(bench.take(&late).await.len(), 1, "the last one may still be repeated");
}

pub async fn another_server_with_the_same_number_gets_its_own_jobs(bench: Bench) {
    bench.add_many(2).await;
    let request = bench.request(1);
    let mine = bench.take(&request).await;
    let theirs = bench.take(&ClaimRequest { server: bench.other, ..request }).await;
    assert_eq!(theirs.len(), 1);
    assert_ne!(ids(&mine), ids(&theirs));
}

pub async fn fences_rise_with_every_claim_of_the_store(bench: Bench) {
    bench.add_many(10).await;
    bench.add(on("other")).await;
    let mut last = None;
    for _ in 0..10 {
        let fence = bench.claim_one().await.fence;
        assert!(Some(fence) > last);
        last = Some(fence);
    }
    let other = bench.take(&bench.request_from(&["other"], 1)).await;
    assert!(Some(other[0].fence) > last, "they rise across queues");
}

pub async fn the_fence_of_a_job_rises_with_every_run(bench: Bench) {
    let (job, mut lease) = bench.start(JobOptions::new()).await;
    for verdict in [Verdict::Release, Verdict::RetryIn(SECOND), Verdict::Snooze(SECOND)] {
        bench.finish(lease.clone(), verdict).await;
        bench.clock.advance(SECOND);
        bench.promote().await;
        let next = bench.take(&bench.request_from(&["own"], 1)).await.remove(0).lease();
        assert!(next.id == job && next.fence > lease.fence);
        lease = next;
    }
    assert_eq!(bench.record(&job).await.fence, Some(lease.fence));
}

pub async fn an_id_that_comes_again_never_meets_an_old_fence(bench: Bench) {
    let named = || JobOptions::new().id("again");
    let (job, old) = bench.start(named()).await;
    bench.finish(old.clone(), Verdict::Complete).await;
    let (_, lease) = bench.start(named()).await;
    assert!(lease.fence > old.fence);
    assert_eq!(bench.finish(old, Verdict::Complete).await, crate::store::Finished::Stale);
    bench.finish(lease.clone(), Verdict::Release).await;
    bench.operate(&job, Action::Delete).await;
    let (_, newest) = bench.start(named()).await;
    assert!(newest.fence > lease.fence);
}

pub async fn the_attempt_is_failures_plus_one(bench: Bench) {
    let job = bench.add(JobOptions::new()).await;
    let steps = [
        (Verdict::Release, 1),
        (Verdict::Snooze(SECOND), 1),
        (Verdict::RetryIn(SECOND), 2),
        (Verdict::Release, 2),
        (Verdict::RetryIn(SECOND), 3),
    ];
    let mut expected = 1;
    for (verdict, next) in steps {
        let claimed = bench.claim_one().await;
        assert_eq!((claimed.attempt, claimed.failures), (expected, expected - 1));
        assert_eq!(bench.record(&job).await.attempt, expected);
        bench.finish(claimed.lease(), verdict).await;
        bench.clock.advance(SECOND);
        bench.promote().await;
        expected = next;
    }
    assert_eq!(bench.claim_one().await.attempt, 3);
}

pub async fn a_claim_says_how_long_the_job_stood_in_line(bench: Bench) {
    bench.add(JobOptions::new()).await;
    bench.clock.advance(3 * SECOND);
    let claimed = bench.claim_one().await;
    assert_eq!(claimed.waited, 3 * SECOND);
    bench.finish(claimed.lease(), Verdict::RetryIn(MINUTE)).await;
    bench.clock.advance(2 * MINUTE);
    bench.promote().await;
    bench.clock.advance(7 * SECOND);
    let claimed = bench.claim_one().await;
    assert_eq!(claimed.waited, 7 * SECOND, "the time before it came into line does not count");
    assert_eq!(claimed.created_at, bench.env.wall().before(2 * MINUTE + 10 * SECOND));
}

pub async fn a_running_job_shows_its_holder_and_lease(bench: Bench) {
    let job = bench.add(JobOptions::new()).await;
    bench.clock.advance(SECOND);
    let claimed = bench.claim_one().await;
    let record = bench.record(&job).await;
    let now = bench.env.wall();
    assert_eq!((record.state, record.fence, record.attempt), (State::Running, Some(claimed.fence), 1));
    assert_eq!((record.started_at, record.updated_at), (Some(now), now));
    assert_eq!((record.lease_until, record.server), (Some(now.after(LEASE)), Some(bench.server)));
}

pub async fn two_claimers_never_get_the_same_job(bench: Bench) {
    let jobs: Vec<_> = (0..300).map(|_| bench.job(JobOptions::new())).collect();
    bench.enqueue(jobs).await;
    let claimers: Vec<_> = (0..8)
        .map(|_| {
            let bench = bench.clone();
            let server = bench.env.new_server_id();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                loop {
                    let jobs = bench.take(&ClaimRequest { server, ..bench.request(7) }).await;
                    if jobs.is_empty() {
                        return mine;
                    }
                    mine.extend(ids(&jobs));
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for claimer in claimers {
        all.extend(claimer.await.expect("no claimer fails"));
    }
    assert_eq!(all.len(), 300);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 300);
}

pub async fn claimers_at_once_keep_fences_apart(bench: Bench) {
    bench.enqueue((0..100).map(|_| bench.job(JobOptions::new())).collect()).await;
    let claimers: Vec<_> = (0..10)
        .map(|_| {
            let bench = bench.clone();
            tokio::spawn(async move { bench.claim(10).await })
        })
        .collect();
    let (mut fences, mut taken) = (BTreeSet::new(), 0);
    for claimer in claimers {
        let jobs = claimer.await.expect("no claimer fails");
        taken += jobs.len();
        let own: BTreeSet<_> = jobs.iter().map(|job| job.fence).collect();
        assert!(fences.is_disjoint(&own), "two claims share a fence");
        fences.extend(own);
    }
    assert_eq!(taken, 100);
}
