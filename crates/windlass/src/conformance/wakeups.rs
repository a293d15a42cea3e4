//! Hints: whoever noted the counter before something came into line is woken.

use std::{future::Future, time::Duration};

use super::bench::{Bench, HOUR, LEASE, SECOND, queue};
use crate::{
    decide::operate::Action,
    job::{DeadReason, GroupKey, GroupMember, JobOptions, News, Progress, Verdict},
    store::Flush,
};

/// Notes the counter, lets the step happen, and waits. The limit is there only for a store that never wakes.
async fn wakes(bench: &Bench, what: &str, step: impl Future<Output = ()>) {
    let mut wakeups = bench.store.wakeups();
    wakeups.mark_seen();
    step.await;
    let woken = tokio::time::timeout(Duration::from_secs(10), wakeups.changed()).await;
    assert!(woken.is_ok(), "{what} wakes nobody");
}

pub async fn an_enqueue_wakes_whoever_waits(bench: Bench) {
    wakes(&bench, "an enqueue", async {
        bench.add(JobOptions::new()).await;
    })
    .await;
}

pub async fn a_promotion_wakes_whoever_waits(bench: Bench) {
    bench.add(JobOptions::new().process_in(SECOND)).await;
    bench.clock.advance(SECOND);
    wakes(&bench, "a promotion", async {
        bench.promote().await;
    })
    .await;
}

pub async fn a_release_wakes_whoever_waits(bench: Bench) {
    let (_, lease) = bench.start(JobOptions::new()).await;
    wakes(&bench, "a release", async {
        bench.finish(lease, Verdict::Release).await;
    })
    .await;
}

pub async fn a_rescue_wakes_whoever_waits(bench: Bench) {
    bench.start(JobOptions::new()).await;
    bench.pass(2 * LEASE).await;
    wakes(&bench, "a rescue", async {
        bench.rescue().await;
    })
    .await;
}

pub async fn a_flush_wakes_whoever_waits(bench: Bench) {
    bench.add(JobOptions::new().group("g")).await;
    let group = GroupKey::new(queue("default"), "g");
    let read = bench.store.members(&group, 10).await.expect("members");
    let into = bench.job_of("digest", JobOptions::new());
    let flush = Flush { group, members: read.iter().map(GroupMember::read).collect(), into };
    wakes(&bench, "a flush", async {
        bench.store.flush(&flush).await.expect("flush");
    })
    .await;
}

pub async fn the_end_of_a_job_wakes_whoever_waits_for_it(bench: Bench) {
    let (_, lease) = bench.start(JobOptions::new()).await;
    wakes(&bench, "a finish", async {
        bench.finish(lease, Verdict::Complete).await;
    })
    .await;
}

pub async fn a_resumed_queue_wakes_whoever_waits(bench: Bench) {
    bench.add(JobOptions::new()).await;
    bench.store.pause(&queue("default"), true).await.expect("pause");
    wakes(&bench, "a resume", async {
        bench.store.pause(&queue("default"), false).await.expect("resume");
    })
    .await;
}

pub async fn what_an_operator_puts_into_line_wakes_whoever_waits(bench: Bench) {
    let dead = bench.run(JobOptions::new(), Verdict::Bury(DeadReason::Buried)).await;
    wakes(&bench, "a redrive", async {
        bench.operate(&dead, Action::Redrive).await;
    })
    .await;
    let waiting = bench.add(JobOptions::new().process_in(HOUR)).await;
    wakes(&bench, "run now", async {
        bench.operate(&waiting, Action::RunNow).await;
    })
    .await;
}

pub async fn a_wish_to_cancel_wakes_whoever_waits(bench: Bench) {
    let (running, _) = bench.start(JobOptions::new()).await;
    wakes(&bench, "a cancel", async {
        bench.cancel(&running, "x").await;
    })
    .await;
}

pub async fn a_report_wakes_whoever_waits(bench: Bench) {
    let (_, lease) = bench.start(JobOptions::new()).await;
    wakes(&bench, "a report", async {
        bench.say(&lease, News { number: 1, progress: Some(Progress::new(0.5, "")), ..News::default() }).await;
    })
    .await;
}

pub async fn each_waiter_is_woken(bench: Bench) {
    let mut waiters = [bench.store.wakeups(), bench.store.wakeups(), bench.store.wakeups()];
    waiters.iter_mut().for_each(|waiter| waiter.mark_seen());
    bench.add(JobOptions::new()).await;
    for waiter in &mut waiters {
        assert!(tokio::time::timeout(Duration::from_secs(10), waiter.changed()).await.is_ok());
    }
}
