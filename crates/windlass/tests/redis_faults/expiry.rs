//! Thousands of entries whose time is over at once: no script fails, and none touches more than 500 of them.
//!
//! `WINDLASS_SLOW_MICROS` says, on a quiet machine, how long a script may take at most (5000 in the soak).

use std::time::Duration;

use windlass::{
    JobOptions, JobState as State, NewJob, Verdict,
    store::{Inspect, Operate, PromoteRules, Prune, RescueRules, Store, redis::RedisStore},
    testing::job,
};

use crate::{LEASE, Place, SECOND, claim, count, ended};

const MANY: usize = 8000;

/// The length of a reply to `EVALSHA`s, which each sweep asks for one after the other, is no measure of what a script
/// does; so what it removed or moved is counted from outside, between any two of them.
async fn steps<F: AsyncFnMut() -> u64>(left: &mut impl FnMut() -> u64, mut sweep: F) -> u64 {
    let (mut most, mut before) = (0, left());
    loop {
        let moved = sweep().await;
        let now = left();
        most = most.max(before - now);
        before = now;
        if moved == 0 {
            return most;
        }
    }
}

fn jobs(place: &Place, options: impl Fn() -> JobOptions) -> Vec<NewJob> {
    (0..MANY).map(|_| job("x").options(options()).build(&place.env)).collect()
}

/// What is in a sorted set or list of the queue `default`.
fn size(redis: &mut redis::Connection, command: &str, key: &str) -> u64 {
    redis::cmd(command).arg(format!("asynq:{{default}}:{key}")).query(redis).expect("a number")
}

/// Shortens every score of a set, as if its time had come.
fn make_due(redis: &mut redis::Connection, keys: &[&str]) {
    let script = redis::Script::new(
        "for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do redis.call('ZADD', KEYS[1], 1, id) end",
    );
    for key in keys {
        script.key(format!("asynq:{{default}}:{key}")).invoke::<()>(redis).expect("a script");
    }
}

/// Starts to note what is slow, after what the test itself has run.
fn watch(redis: &mut redis::Connection) {
    if let Ok(limit) = std::env::var("WINDLASS_SLOW_MICROS") {
        redis::cmd("CONFIG").arg("SET").arg("slowlog-log-slower-than").arg(limit).exec(redis).expect("CONFIG SET");
    }
    redis::cmd("CONFIG").arg("RESETSTAT").exec(redis).expect("CONFIG RESETSTAT");
    redis::cmd("SLOWLOG").arg("RESET").exec(redis).expect("SLOWLOG RESET");
}

/// No script failed, and (where that is asked for) none was slow.
fn judge(redis: &mut redis::Connection, what: &str) {
    let stats: String = redis::cmd("INFO").arg("commandstats").query(redis).expect("INFO");
    for line in stats.lines().filter(|line| line.contains("evalsha") || line.contains("cmdstat_eval:")) {
        // The one failure that is none: a script that is sent along the first time.
        let failed: u64 = line.split("failed_calls=").nth(1).and_then(|number| number.trim().parse().ok()).unwrap_or(0);
        assert!(failed <= 12 && !line.contains("rejected_calls=1"), "{what}: {line}");
    }
    if std::env::var_os("WINDLASS_SLOW_MICROS").is_some() {
        let slow: redis::Value = redis::cmd("SLOWLOG").arg("GET").arg(1).query(redis).expect("SLOWLOG");
        assert_eq!(slow, redis::Value::Array(vec![]), "{what}");
    }
}

#[tokio::test]
async fn thousands_that_are_due_at_once_are_promoted_in_steps() {
    let place = Place::start().await;
    let (store, mut redis) = (place.open("").await, place.direct());
    store.enqueue(jobs(&place, || JobOptions::new().process_in(1000 * SECOND))).await.unwrap();
    make_due(&mut redis, &["x:due", "scheduled"]);
    watch(&mut redis);
    let mut looked = place.direct();
    let most = steps(&mut || size(&mut looked, "ZCARD", "scheduled"), async || {
        u64::from(store.promote(&PromoteRules::all(500)).await.expect("promote").moved)
    })
    .await;
    judge(&mut redis, "promote");
    assert!((1..=500).contains(&most), "{most} in one step");
    assert_eq!(count(&store, State::Pending).await, MANY as u64);
}

#[tokio::test]
async fn thousands_that_retention_lets_go_at_once_go_in_steps() {
    let place = Place::start().await;
    let (store, mut redis) = (place.open("").await, place.direct());
    end_all(&place, &store, Verdict::Complete).await;
    make_due(&mut redis, &["x:expire", "completed"]);
    watch(&mut redis);
    let mut looked = place.direct();
    let most = steps(&mut || size(&mut looked, "ZCARD", "completed"), async || {
        store.prune(&Prune::Expired, 500).await.expect("prune").removed
    })
    .await;
    judge(&mut redis, "prune");
    assert!((1..=500).contains(&most), "{most} in one step");
    assert_eq!(store.census().await.unwrap().removed, MANY as u64);
}

/// Claims and ends every job there is.
async fn end_all(place: &Place, store: &RedisStore, verdict: Verdict) {
    store.enqueue(jobs(place, || JobOptions::new().retention(1000 * SECOND))).await.unwrap();
    let server = place.env.new_server_id();
    for sequence in 1..=(MANY as u64 / 500) {
        let claimed = store.claim(&claim(server, sequence, &["default"], 500)).await.unwrap().jobs;
        let batch = claimed.iter().map(|job| ended(job.lease(), verdict.clone())).collect();
        store.finish(batch).await.unwrap();
    }
}

#[tokio::test]
async fn thousands_of_leases_that_lapse_at_once_are_taken_in_steps() {
    let place = Place::start().await;
    let (store, mut redis) = (place.open("").await, place.direct());
    store.enqueue(jobs(&place, JobOptions::new)).await.unwrap();
    let server = place.env.new_server_id();
    for sequence in 1..=(MANY as u64 / 500) {
        store.claim(&claim(server, sequence, &["default"], 500)).await.unwrap();
    }
    make_due(&mut redis, &["x:lease"]);
    watch(&mut redis);
    let mut looked = place.direct();
    let rules = RescueRules { poison_after: 3, lease: LEASE, limit: 500, ran_late: false };
    let most = steps(&mut || size(&mut looked, "ZCARD", "x:lease"), async || {
        // Right after a silence of half a lease nobody is rescued, and this machine may have been that slow.
        loop {
            let taken = store.rescue(&rules).await.expect("rescue").jobs.len() as u64;
            if taken > 0 || store.census().await.unwrap().queues[0].by_state[State::Running.code() as usize] == 0 {
                return taken;
            }
            place.env.sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    judge(&mut redis, "rescue");
    assert!((1..=500).contains(&most), "{most} in one step");
    assert_eq!(count(&store, State::Pending).await, MANY as u64);
}

/// Asynq's archive script failed for good once 8,000 entries of it had expired together.
#[tokio::test]
async fn thousands_of_archived_jobs_that_expire_at_once_neither_fail_a_burial_nor_a_sweep() {
    let place = Place::start().await;
    let (store, mut redis) = (place.open("").await, place.direct());
    end_all(&place, &store, Verdict::Bury(windlass::DeadReason::Exhausted)).await;
    make_due(&mut redis, &["archived"]);
    watch(&mut redis);
    store.enqueue(vec![job("x").build(&place.env)]).await.unwrap();
    let claimed = store.claim(&claim(place.env.new_server_id(), 1, &["default"], 1)).await.unwrap().jobs;
    store.finish(vec![ended(claimed[0].lease(), Verdict::Bury(windlass::DeadReason::Buried))]).await.unwrap();
    let rules = RescueRules { poison_after: 3, lease: LEASE, limit: 500, ran_late: false };
    for _ in 0..3 {
        store.rescue(&rules).await.expect("a sweep");
        store.prune(&Prune::Expired, 500).await.expect("prune");
        place.env.sleep(Duration::from_millis(1)).await;
    }
    judge(&mut redis, "archive");
    let (dead, removed) = (count(&store, State::Dead).await, store.census().await.unwrap().removed);
    assert_eq!((dead + removed, removed), (MANY as u64 + 1, 1500), "each prune takes its 500, and no burial takes any");
}
