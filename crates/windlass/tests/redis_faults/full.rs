//! A Redis whose memory is full (`maxmemory`, `noeviction`): nothing new comes in, with words that say what to do, and
//! what is there is claimed, kept, ended and removed, until there is room again.

use std::sync::Arc;

use windlass::{
    Action, Client, Error, JobOptions, JobState as State, News, Progress, RawJob, Router, Verdict,
    store::{
        Cluster, ExtendRequest, Finished, Inspect, Level, Operate, PromoteRules, Prune, Report, Reported, RescueRules,
        ServerInfo, Store, StoreError, redis::RedisStore,
    },
    testing::job,
};

use crate::{LEASE, Place, claim, count, ended, queue, servers::Server, soon};

/// A server of ours, past the proxy: nothing is cut here.
async fn open(place: &Place) -> RedisStore {
    RedisStore::open(&place.server.url(0), place.env.clone()).await.expect("open")
}

fn configure(redis: &mut redis::Connection, name: &str, value: &str) {
    redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec(redis).expect("CONFIG SET");
}

/// Leaves no room at all.
fn fill(place: &Place) {
    configure(&mut place.direct(), "maxmemory", "1");
}

#[tokio::test]
async fn what_is_there_is_worked_off_while_nothing_new_comes_in() {
    let place = Place::start().await;
    let store = open(&place).await;
    let kept = |queue: &str| job("x").options(JobOptions::new().queue(queue).retention(LEASE)).build(&place.env);
    let jobs: Vec<_> = (0..8).map(|_| kept("a")).collect();
    store.enqueue(jobs).await.unwrap();
    let server = place.env.new_server_id();
    fill(&place);

    let refused = store.enqueue(vec![kept("a")]).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unavailable(_)), "{refused:?}");
    for words in ["memory of this Redis is full", "maxmemory", "windlass prune"] {
        assert!(refused.to_string().contains(words), "{refused}");
    }
    assert!(store.enqueue(vec![kept("new")]).await.is_err(), "nor into a queue of its own");

    let claimed = store.claim(&claim(server, 1, &["a"], 8)).await.unwrap().jobs;
    assert_eq!(claimed.len(), 8);
    assert_eq!(store.claim(&claim(server, 1, &["a"], 8)).await.unwrap().jobs.len(), 8, "a repeat");
    let leases: Vec<_> = claimed.iter().map(windlass::store::Claimed::lease).collect();
    let request = ExtendRequest { server, leases: leases.clone(), lease: LEASE, ran_late: false };
    assert_eq!(store.extend(&request).await.unwrap(), []);
    let mut news = News::default();
    (news.number, news.progress) = (1, Some(Progress::new(0.5, "half of it")));
    let reported = store.report(vec![Report { lease: leases[0].clone(), news }]).await.unwrap();
    assert_eq!(reported, [Reported::Applied]);
    assert!(store.rescue(&RescueRules { poison_after: 3, lease: LEASE, limit: 10, ran_late: false }).await.is_ok());
    store.beat(&ServerInfo::new(server, place.env.wall())).await.expect("a sign of life");

    let verdicts = [
        Verdict::Complete,
        Verdict::RetryIn(LEASE),
        Verdict::Snooze(LEASE),
        Verdict::Release,
        Verdict::Cancel("no more".into()),
        Verdict::Bury(windlass::DeadReason::Buried),
        Verdict::Complete,
        Verdict::Complete,
    ];
    let mut batch: Vec<_> = std::iter::zip(&leases, verdicts).map(|(lease, how)| ended(lease.clone(), how)).collect();
    // What follows was promised with the job, so it comes in, into a queue that nobody knew as well.
    batch[0].then = vec![kept("a"), kept("next")];
    let finished = store.finish(batch).await.unwrap();
    assert!(finished.iter().all(|finished| matches!(finished, Finished::Applied(_))), "{finished:?}");

    store.promote(&PromoteRules::all(10)).await.expect("promote");
    store.pause(&queue("a"), true).await.expect("pause");
    store.pause(&queue("a"), false).await.expect("resume");
    store.prune(&Prune::Expired, 10).await.expect("prune");
    let dead = store.operate(&leases[5].id, &Action::Redrive).await.expect("redrive");
    assert_eq!(dead, windlass::store::Operated::Done(State::Pending));
    store.operate(&leases[3].id, &Action::Cancel { reason: "no more".into() }).await.expect("cancel");
    assert_eq!(store.census().await.unwrap().enqueued, 9 + count_of(&store, "next").await);

    // With room again all is as ever, and what was left over is carried.
    configure(&mut place.direct(), "maxmemory", "0");
    store.rescue(&RescueRules { poison_after: 3, lease: LEASE, limit: 10, ran_late: false }).await.unwrap();
    store.enqueue(vec![kept("a")]).await.expect("there is room");
    assert_eq!(store.census().await.unwrap().enqueued, 11);
}

async fn count_of(store: &RedisStore, name: &str) -> u64 {
    let census = store.census().await.expect("census");
    census.queues.iter().filter(|of| of.name == queue(name)).flat_map(|of| of.by_state).sum()
}

#[tokio::test]
async fn a_server_drains_a_full_redis_and_then_there_is_room() {
    let place = Place::start().await;
    let client = Client::builder().env(place.env.clone()).on(Arc::new(open(&place).await));
    let payload = vec![b'1'; 64 << 10];
    let add = async || client.enqueue(RawJob::new("x", payload.clone())).await;
    add().await.unwrap();
    let info: String = redis::cmd("INFO").arg("memory").query(&mut place.direct()).unwrap();
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse::<u64>().unwrap();
    configure(&mut place.direct(), "maxmemory", &(used + (8 << 20)).to_string());
    let mut added = 1;
    let refused = loop {
        match add().await {
            Ok(_) => added += 1,
            Err(error) => break error,
        }
        assert!(added < 1000, "the control: it is never full");
    };
    assert!(matches!(&refused, Error::Store(error) if error.to_string().contains("full")), "{refused}");
    assert_eq!(client.census().await.unwrap().enqueued, added);
    let checks = client.checkup().await;
    let level = |name| checks.iter().find(|check| check.name == name).map(|check| check.level);
    assert_eq!(level("memory"), Some(Level::Fail), "{checks:?}");

    let router = Router::new().at("x", |_: RawJob| async { Ok::<_, windlass::JobError>(()) });
    let running = windlass::Server::new(&client, router).start().await.unwrap();
    soon("all have ended", async {
        while client.census().await.unwrap().removed < added {
            client.env().sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    running.shutdown().await;
    add().await.expect("there is room");
    assert_eq!(count(&open(&place).await, State::Pending).await, 1);
}

/// The control: without our first write a script that must run is refused, and with it, it is not.
#[tokio::test]
async fn a_script_whose_first_write_needs_memory_is_refused_while_redis_is_full() {
    let place = Place::on(Server::start()).await;
    fill(&place);
    let write = "return redis.call('HSET', KEYS[1], 'a', 'b')";
    let run = |code: String| redis::Script::new(&code).key("k").invoke::<i64>(&mut place.direct());
    assert!(run(write.into()).is_err());
    assert_eq!(run(format!("redis.call('DEL', KEYS[1] .. 'x:none')\n{write}")).unwrap(), 1);
}
