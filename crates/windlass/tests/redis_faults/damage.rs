//! One thing that cannot be read or written stops nothing else that is asked for with it.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use redis::cmd;
use windlass::{
    JobId, JobOptions, JobState as State, NewJob, Verdict,
    store::{
        Enqueued, Finished, Inspect, Operate, PromoteRules, Prune, RescueRules, Store, StoreError, redis::RedisStore,
    },
    testing::job,
};

use crate::{LEASE, Place, SECOND, claim, ended};

const RULES: RescueRules = RescueRules { poison_after: 3, lease: LEASE, limit: 10, ran_late: false };

impl Place {
    fn plain(&self) -> NewJob {
        job("x").options(JobOptions::new().queue("q")).build(&self.env)
    }

    fn named(&self, id: &str) -> NewJob {
        job("x").options(JobOptions::new().queue("q").id(id)).build(&self.env)
    }

    /// Something else stands where the job is to stand.
    fn spoil(&self, id: &JobId) {
        cmd("SET").arg(format!("asynq:{{q}}:t:{id}")).arg("no hash").exec(&mut self.direct()).expect("SET");
    }
}

async fn claimed(store: &RedisStore, place: &Place, number: u64) -> BTreeSet<JobId> {
    let server = place.env.new_server_id();
    let jobs = store.claim(&claim(server, number, &["q"], 100)).await.expect("claim").jobs;
    jobs.iter().map(|job| job.spec.id.clone()).collect()
}

#[tokio::test]
async fn a_moment_that_cannot_be_read_stops_no_claim() {
    let place = Place::start().await;
    let store = place.open("").await;
    let jobs = vec![place.plain(), place.plain(), place.plain()];
    let ids: BTreeSet<_> = jobs.iter().map(|job| job.spec.id.clone()).collect();
    let odd = format!("asynq:{{q}}:t:{}", jobs[1].spec.id);
    store.enqueue(jobs).await.expect("enqueue");
    cmd("HSET").arg(odd).arg("pending_since").arg("yesterday").exec(&mut place.direct()).expect("HSET");
    assert_eq!(claimed(&store, &place, 1).await, ids);
}

#[tokio::test]
async fn the_jobs_before_one_that_cannot_be_made_come_in() {
    let place = Place::start().await;
    let store = place.open("").await;
    let (good, bad) = (place.named("good"), place.named("bad"));
    place.spoil(&bad.spec.id);
    let refused = store.enqueue(vec![good.clone(), bad]).await.expect_err("it cannot be made");
    assert!(matches!(refused, StoreError::Corrupt(_)), "{refused:?}");
    assert_eq!(claimed(&store, &place, 1).await, [good.spec.id.clone()].into());
}

#[tokio::test]
async fn a_call_that_cannot_be_made_refuses_none_that_travels_with_it() {
    let place = Place::start().await;
    let store = place.open("").await;
    let jobs: Vec<_> = (0..9).map(|_| place.plain()).collect();
    let ids: Vec<_> = jobs.iter().map(|job| job.spec.id.clone()).collect();
    place.spoil(&ids[6]);
    let answers = join_all(jobs.into_iter().map(|job| store.enqueue(vec![job]))).await;
    for (at, (answer, id)) in std::iter::zip(answers, &ids).enumerate() {
        match answer {
            Ok(answer) => assert_eq!(answer, [Enqueued::New(id.clone())]),
            Err(error) => assert!(at == 6 && !error.is_retryable(), "{at}: {error}"),
        }
    }
    let good = ids.iter().enumerate().filter(|(at, _)| *at != 6).map(|(_, id)| id.clone()).collect();
    assert_eq!(claimed(&store, &place, 1).await, good);
}

#[tokio::test]
async fn what_follows_one_job_comes_in_though_what_follows_another_cannot() {
    let place = Place::start().await;
    let store = place.open("").await;
    store.enqueue(vec![place.plain(), place.plain()]).await.expect("enqueue");
    let server = place.env.new_server_id();
    let jobs = store.claim(&claim(server, 1, &["q"], 2)).await.expect("claim").jobs;
    let (good, bad) = (place.named("good"), place.named("bad"));
    place.spoil(&bad.spec.id);
    let mut batch: Vec<_> = jobs.iter().map(|job| ended(job.lease(), Verdict::Complete)).collect();
    (batch[0].then, batch[1].then) = (vec![good.clone()], vec![bad]);
    assert!(store.finish(batch).await.is_err());
    assert_eq!(claimed(&store, &place, 1).await, [good.spec.id.clone()].into());
}

#[tokio::test]
async fn an_id_that_cannot_be_ours_is_dead_and_costs_its_neighbours_nothing() {
    let place = Place::start().await;
    let store = place.open("").await;
    let jobs = vec![place.plain(), place.plain()];
    let ids: BTreeSet<_> = jobs.iter().map(|job| job.spec.id.clone()).collect();
    store.enqueue(jobs).await.expect("enqueue");
    // Go lets an id be any text.
    let (odd, message) = ("not\none of ours", b"\x0a\x01x".as_slice());
    redis::pipe()
        .atomic()
        .hset_multiple(
            format!("asynq:{{q}}:t:{odd}"),
            &[("msg", message), ("state", b"pending"), ("pending_since", b"1")],
        )
        .lpush("asynq:{q}:pending", odd)
        .exec(&mut place.direct())
        .expect("Redis takes it");
    assert_eq!(claimed(&store, &place, 1).await, ids);
    let state: String = redis::Commands::hget(&mut place.direct(), format!("asynq:{{q}}:t:{odd}"), "state").unwrap();
    assert_eq!(state, "archived");
    let held: Vec<String> = redis::Commands::lrange(&mut place.direct(), "asynq:{q}:active", 0, -1).unwrap();
    assert_eq!(held.len(), 2, "{held:?}");
}

#[tokio::test]
async fn a_time_of_ours_counts_no_more_once_go_has_put_the_job_off() {
    let place = Place::start().await;
    let store = place.open("").await;
    let later = job("x").options(JobOptions::new().queue("q").process_in(3600 * SECOND)).build(&place.env);
    let id = later.spec.id.clone();
    store.enqueue(vec![later]).await.expect("enqueue");
    // Go ran it early, and it failed: Asynq's set says when it is due, and our note is of an hour that is over.
    let (key, text) = (format!("asynq:{{q}}:t:{id}"), id.to_string());
    redis::pipe()
        .atomic()
        .zrem("asynq:{q}:scheduled", &text)
        .zadd("asynq:{q}:retry", &text, 4_000_000_000_u64)
        .zadd("asynq:{q}:x:due", &text, 1_000_000_u64)
        .hset_multiple(key, &[("state", "retry"), ("x:at", "1000000")])
        .exec(&mut place.direct())
        .expect("Redis takes it");
    assert_eq!(store.promote(&PromoteRules::all(10)).await.expect("promote").moved, 0);
    let record = store.get(&id).await.expect("get").expect("it is there");
    assert_eq!(record.state, windlass::JobState::Retrying);
    assert_eq!(record.run_at, Some(windlass::Timestamp::from_micros(4_000_000_000_000_000)));
}

/// Whoever rolls back is told to delete our notes, and an eviction may.
#[tokio::test]
async fn follow_ups_arrive_though_the_notes_of_the_queue_that_sends_them_were_lost() {
    let place = Place::start().await;
    let store = place.open("").await;
    let server = place.env.new_server_id();
    for number in 1..=3 {
        store.enqueue(vec![place.plain()]).await.expect("enqueue");
        let run = store.claim(&claim(server, number, &["q"], 1)).await.expect("claim").jobs.remove(0);
        let next = job("next").options(JobOptions::new().queue("b")).build(&place.env);
        let id = next.spec.id.clone();
        let mut end = ended(run.lease(), Verdict::Complete);
        end.then = vec![next];
        store.finish(vec![end]).await.expect("finish");
        let arrived = store.claim(&claim(server, number, &["b"], 1)).await.expect("claim").jobs;
        assert_eq!(arrived.iter().map(|job| job.spec.id.clone()).collect::<Vec<_>>(), [id], "after {number}");
        cmd("DEL").arg("asynq:{q}:x:q").exec(&mut place.direct()).expect("DEL");
    }
}

/// As a restore of a part or another program may leave it.
#[tokio::test]
async fn a_task_that_is_no_hash_stops_no_claim_and_no_sweep() {
    let place = Place::start().await;
    let store = place.open("").await;
    let urgent = || job("x").options(JobOptions::new().queue("q").priority(1)).build(&place.env);
    let (odd, odd_urgent, good, good_urgent) = (place.plain(), urgent(), place.plain(), urgent());
    let expected: BTreeSet<_> = [&good, &good_urgent].map(|job| job.spec.id.clone()).into();
    let spoilt = [&odd, &odd_urgent].map(|job| job.spec.id.clone());
    store.enqueue(vec![odd, odd_urgent, good, good_urgent]).await.expect("enqueue");
    spoilt.iter().for_each(|id| place.spoil(id));
    assert_eq!(claimed(&store, &place, 1).await, expected);
    for list in ["asynq:{q}:pending", "asynq:{q}:x:lines"] {
        assert!(!cmd("EXISTS").arg(list).query::<bool>(&mut place.direct()).unwrap(), "{list}: they fell out");
    }
    store.rescue(&RULES).await.expect("rescue");
    store.prune(&Prune::Expired, 10).await.expect("prune");
}

#[tokio::test]
async fn a_run_whose_task_is_no_hash_any_more_stops_no_other_end() {
    let place = Place::start().await;
    let store = place.open("").await;
    for number in 0..2 {
        store.enqueue(vec![place.plain(), place.plain()]).await.expect("enqueue");
        let jobs = store.claim(&claim(place.env.new_server_id(), 1, &["q"], 2)).await.expect("claim").jobs;
        place.spoil(&jobs[0].spec.id);
        let mut ends: Vec<_> = jobs.iter().map(|job| ended(job.lease(), Verdict::Complete)).collect();
        // By the short way and by the long one.
        ends.iter_mut().for_each(|end| end.result = (number == 1).then(|| "done".into()));
        let ends = store.finish(ends).await.expect("finish");
        assert_eq!(ends, [Finished::Stale, Finished::Applied(State::Completed)], "{number}");
    }
    // Nobody holds what is left of them.
    let mut redis = place.direct();
    for set in ["asynq:{q}:lease", "asynq:{q}:x:lease"] {
        let ids: Vec<String> = cmd("ZRANGE").arg(set).arg(0).arg(-1).query(&mut redis).expect("ZRANGE");
        for id in ids {
            cmd("ZADD").arg(set).arg(1).arg(id).exec(&mut redis).expect("ZADD");
        }
    }
    store.rescue(&RULES).await.expect("rescue");
    for set in ["asynq:{q}:lease", "asynq:{q}:x:lease", "asynq:{q}:active"] {
        assert!(!cmd("EXISTS").arg(set).query::<bool>(&mut redis).unwrap(), "{set}");
    }
}

#[tokio::test]
async fn a_queue_that_cannot_be_swept_stops_no_sweep_of_the_others() {
    let place = Place::start().await;
    let store = place.open("").await;
    let in_queue = |name: &str, options: JobOptions| job("x").options(options.queue(name)).build(&place.env);
    for name in ["a", "b"] {
        let kept = JobOptions::new().retention(SECOND);
        store.enqueue(vec![in_queue(name, kept), in_queue(name, JobOptions::new())]).await.expect("enqueue");
        let later = JobOptions::new().process_in(LEASE);
        store.enqueue(vec![in_queue(name, later)]).await.expect("enqueue");
    }
    let jobs = store.claim(&claim(place.env.new_server_id(), 1, &["b"], 2)).await.expect("claim").jobs;
    store.finish(vec![ended(jobs[0].lease(), Verdict::Complete)]).await.expect("finish");
    let mut redis = place.direct();
    for key in ["x:lease", "x:expire", "x:due"] {
        let (bad, good) = (format!("asynq:{{a}}:{key}"), format!("asynq:{{b}}:{key}"));
        cmd("DEL").arg(&bad).exec(&mut redis).expect("DEL");
        cmd("SET").arg(&bad).arg("no set").exec(&mut redis).expect("SET");
        let ids: Vec<String> = cmd("ZRANGE").arg(&good).arg(0).arg(-1).query(&mut redis).expect("ZRANGE");
        assert_eq!(ids.len(), 1, "{key}");
        cmd("ZADD").arg(&good).arg(1).arg(&ids[0]).exec(&mut redis).expect("ZADD");
    }
    let completed = format!("asynq:{{b}}:t:{}", jobs[0].spec.id);
    cmd("ZADD").arg("asynq:{b}:completed").arg(1).arg(jobs[0].spec.id.to_string()).exec(&mut redis).expect("ZADD");
    assert_eq!(store.rescue(&RULES).await.expect("rescue").jobs.len(), 1);
    store.prune(&Prune::Expired, 10).await.expect("prune");
    assert!(!cmd("EXISTS").arg(completed).query::<bool>(&mut redis).unwrap());
    store.promote(&PromoteRules::all(10)).await.expect("promote");
}

/// Go takes any name that is not blank.
#[tokio::test]
async fn a_queue_whose_name_is_no_text_is_passed_over() {
    let place = Place::start().await;
    let store = place.open("").await;
    cmd("SADD").arg("asynq:queues").arg(b"\xff\xfe").exec(&mut place.direct()).expect("SADD");
    let named = place.named("own");
    store.enqueue(vec![named.clone()]).await.expect("enqueue");
    assert_eq!(store.census().await.expect("census").queues.len(), 1);
    assert!(store.get(&named.spec.id).await.expect("get").is_some());
    store.rescue(&RULES).await.expect("rescue");
    store.prune(&Prune::Expired, 10).await.expect("prune");
}

/// Go's deletion of a queue takes what Asynq knows of it, as soon as nothing of it waits.
#[tokio::test]
async fn nothing_is_left_of_a_queue_that_go_deleted_before_any_sweep() {
    let place = Place::start().await;
    let store = place.open("").await;
    store.enqueue(vec![place.plain()]).await.expect("enqueue");
    let jobs = store.claim(&claim(place.env.new_server_id(), 1, &["q"], 1)).await.expect("claim").jobs;
    store.finish(vec![ended(jobs[0].lease(), Verdict::Complete)]).await.expect("finish");
    let mut redis = place.direct();
    let names = |redis: &mut redis::Connection| {
        let names: BTreeSet<String> = cmd("KEYS").arg("asynq:{q}:*").query(redis).expect("KEYS");
        names.into_iter().filter(|name| name.contains(":x:") && !name.contains("x:claim:")).collect::<Vec<_>>()
    };
    assert!(names(&mut redis).len() > 1, "the control: {:?}", names(&mut redis));
    for key in ["pending", "active", "lease", "scheduled", "retry", "archived"] {
        cmd("DEL").arg(format!("asynq:{{q}}:{key}")).exec(&mut redis).expect("DEL");
    }
    cmd("SREM").arg("asynq:queues").arg("q").exec(&mut redis).expect("SREM");
    store.prune(&Prune::Expired, 10).await.expect("prune");
    assert_eq!(names(&mut redis), ["asynq:{q}:x:q"]);
}
