//! Kinds that no server handles are looked for in long queues a stretch at a time, all kinds in the same look.

use std::{collections::BTreeSet, time::Duration};

use redis::Commands;
use windlass::{
    JobOptions, JobState as State, NewJob,
    store::{Cluster, ServerInfo, Store, redis::RedisStore},
    testing::job,
};

use crate::{Place, count, queue};

const MANY: usize = 12_000;
/// The most entries that a sweep looks at, and what it reads of each.
const STRETCH: u64 = 5_000;
const READS: u64 = 3;

fn of(place: &Place, kind: &str) -> NewJob {
    job(kind).options(JobOptions::new().queue("q")).build(&place.env)
}

/// A long queue of a kind that is handled, and behind it some jobs of kinds that are not.
async fn filled(place: &Place, unknown: usize) -> RedisStore {
    let store = place.open("").await;
    store.enqueue((0..MANY).map(|_| of(place, "x")).collect()).await.expect("enqueue");
    let unknown = (0..unknown).map(|number| of(place, &format!("unknown-{number}"))).collect();
    store.enqueue(unknown).await.expect("enqueue");
    let mut info = ServerInfo::new(place.env.new_server_id(), place.env.wall());
    (info.queues, info.kinds) = (vec![(queue("q"), 1)], vec!["x".into()]);
    store.beat(&info).await.expect("beat");
    store
}

/// How many reads of a job's hash Redis has counted.
fn reads(redis: &mut redis::Connection) -> u64 {
    let info: String = redis::cmd("INFO").arg("commandstats").query(redis).expect("INFO");
    let of = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
        line.and_then(|line| line.split(',').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    of("hmget") + of("hget")
}

#[tokio::test]
async fn a_sweep_looks_at_one_stretch_for_all_kinds_and_the_next_goes_on() {
    let place = Place::start().await;
    let store = filled(&place, 10).await;
    let (mut redis, mut buried, mut sweeps) = (place.direct(), 0, 0);
    while buried < 10 {
        let before = reads(&mut redis);
        buried += store.sweep_unknown(Duration::ZERO, 100).await.expect("a sweep");
        let made = reads(&mut redis) - before;
        assert!(made <= STRETCH * READS + 1_000, "{made}");
        sweeps += 1;
        assert!(sweeps < 10, "they are never found");
    }
    assert_eq!((count(&store, State::Pending).await, count(&store, State::Dead).await), (MANY as u64, 10));
}

#[tokio::test]
async fn a_kind_whose_jobs_are_gone_is_forgotten_in_a_long_queue_and_no_other_is() {
    let place = Place::start().await;
    let store = filled(&place, 1).await;
    let mut redis = place.direct();
    redis.sadd::<_, _, ()>("asynq:{q}:x:kinds", "gone").expect("SADD");
    for _ in 0..8 {
        assert_eq!(store.sweep_unknown(Duration::from_secs(3600), 100).await.expect("a sweep"), 0);
    }
    let kinds: BTreeSet<String> = redis.smembers("asynq:{q}:x:kinds").expect("SMEMBERS");
    assert_eq!(kinds, ["unknown-0".to_owned(), "x".to_owned()].into());
}
