//! What a server asks of Redis while nothing happens, and how soon it sees what Go brings in all the same.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::watch,
};
use windlass::{
    Client, EventKind, JobId, RawJob, Router, RunningServer,
    store::{Cluster, Inspect, Operate, Prune, Store},
};

use crate::{Place, SECOND, log::Log, soon};

/// What clients ask of a Redis; not what scripts do there.
struct Monitor(watch::Receiver<Vec<String>>);

impl Monitor {
    async fn of(place: &Place) -> Self {
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", place.server.port)).await.expect("connect"));
        stream.write_all(b"MONITOR\r\n").await.expect("MONITOR");
        let (seen, commands) = watch::channel(Vec::new());
        tokio::spawn(async move {
            let mut line = String::new();
            while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                if line.contains('"') && !line.contains(" lua]") {
                    seen.send_modify(|seen| seen.push(line.chars().take(400).collect()));
                }
                line.clear();
            }
        });
        Self(commands)
    }

    fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// Waits for a command that holds this word, after so many.
    async fn wait(&mut self, word: &str, after: usize) {
        let there = |seen: &Vec<String>| seen.iter().skip(after).any(|line| line.contains(word));
        soon(word, self.0.wait_for(there)).await.expect("the monitor goes on");
    }
}

async fn serve(place: &Place) -> (RunningServer, Log) {
    serve_queues(place, &["default".into()]).await
}

async fn serve_queues(place: &Place, names: &[String]) -> (RunningServer, Log) {
    let client = Client::builder().env(place.env.clone()).on(Arc::new(place.open("").await));
    let log = Log::new();
    let router = Router::new().at("x", |_: RawJob| async { Ok::<_, windlass::JobError>(()) });
    let server = windlass::Server::new(&client, router).queues(names.iter().map(|name| (name.as_str(), 1)));
    (server.on_event(log.listener()).start().await.expect("start"), log)
}

/// A survey of the queues sends its script along.
const SURVEY: &str = "survey.lua";

fn gos_message(id: &str) -> Vec<u8> {
    let field = |number: u8, text: &str| [&[number << 3 | 2, text.len() as u8], text.as_bytes()].concat();
    [field(1, "x"), field(2, "{}"), field(3, id), field(4, "default")].concat()
}

/// Brings a job in as Go does: it tells nobody.
fn enqueue_as_go(place: &Place, id: &str) -> JobId {
    let message = gos_message(id);
    let key = format!("asynq:{{default}}:t:{id}");
    redis::pipe()
        .atomic()
        .sadd("asynq:queues", "default")
        .hset_multiple(&key, &[("msg", message.as_slice()), ("state", b"pending"), ("pending_since", b"1")])
        .lpush("asynq:{default}:pending", id)
        .exec(&mut place.direct())
        .expect("Redis takes it");
    id.parse().expect("an id")
}

#[tokio::test]
async fn an_idle_server_makes_at_most_two_round_trips_a_second_and_sees_at_once_what_go_brings_in() {
    let place = Place::start().await;
    let (server, log) = serve(&place).await;
    // Once something has run, the queue is known.
    let first = enqueue_as_go(&place, "first");
    soon("it runs", log.wait(&first, EventKind::Finished)).await;
    // And that the scripts of the slow sweeps are known, which are sent along once.
    let other = windlass::store::redis::RedisStore::open(&place.server.url(0), place.env.clone()).await.unwrap();
    other.prune(&Prune::Expired, 10).await.unwrap();
    other.sweep_unknown(60 * SECOND, 10).await.unwrap();
    let mut monitor = Monitor::of(&place).await;
    monitor.wait(SURVEY, 0).await;

    let before = monitor.count();
    place.env.sleep(10 * SECOND).await;
    let asked = monitor.0.borrow()[before..].to_vec();
    assert!(asked.len() <= 20, "{} in ten seconds: {asked:#?}", asked.len());
    assert!(asked.len() >= 4, "the control: it is there, and looks");

    for number in 0..3 {
        let seen = monitor.count();
        let brought = place.env.monotonic();
        let id = enqueue_as_go(&place, &format!("late-{number}"));
        soon("it starts", log.wait(&id, EventKind::Started)).await;
        let took = place.env.monotonic().since(brought);
        assert!(took < SECOND, "{took:?}");
        monitor.wait(SURVEY, seen).await;
    }
    server.shutdown().await;
}

/// Each queue is looked at, those too that the server does not serve, since it promotes and rescues in all.
#[tokio::test]
async fn an_idle_server_makes_no_more_round_trips_for_thirty_queues() {
    let place = Place::start().await;
    let other = windlass::store::redis::RedisStore::open(&place.server.url(0), place.env.clone()).await.unwrap();
    let names: Vec<String> = (0..30).map(|number| format!("q{number}")).collect();
    let later = |name: &String| {
        let options = windlass::JobOptions::new().queue(name.as_str()).process_in(3600 * SECOND);
        windlass::testing::job("x").options(options).build(&place.env)
    };
    other.enqueue(names.iter().map(later).collect()).await.unwrap();
    other.prune(&Prune::Expired, 10).await.unwrap();
    let (server, _log) = serve_queues(&place, &names[..20]).await;
    other.sweep_unknown(60 * SECOND, 10).await.unwrap();
    let mut monitor = Monitor::of(&place).await;
    monitor.wait(SURVEY, 0).await;

    let (before, seen) = (place.proxy.round_trips(), monitor.count());
    // A sweep for what has expired is among it.
    place.env.sleep(40 * SECOND).await;
    let made = place.proxy.round_trips() - before;
    let asked = monitor.0.borrow()[seen..].to_vec();
    assert!(made <= 80, "{made} in forty seconds: {asked:#?}");
    assert!(made >= 6, "the control: it is there, and looks: {made}");
    server.shutdown().await;
}

/// The control of the above: that it is the hint of Redis that makes it quick, and that without one polling takes over.
#[tokio::test]
async fn without_hints_polling_finds_what_go_brings_in() {
    let place = Place::start().await;
    let (server, log) = serve(&place).await;
    let first = enqueue_as_go(&place, "first");
    soon("it runs", log.wait(&first, EventKind::Finished)).await;
    let mut monitor = Monitor::of(&place).await;
    monitor.wait(SURVEY, 0).await;
    // Whoever hears hints hears no more, and has not noticed yet.
    place.proxy.deafen();
    let brought = place.env.monotonic();
    let id = enqueue_as_go(&place, "late");
    soon("it starts", log.wait(&id, EventKind::Started)).await;
    let took = place.env.monotonic().since(brought);
    assert!(took < 8 * SECOND && took > Duration::from_millis(100), "{took:?}");
    server.shutdown().await;
}

/// Go knows no wishes: what Go ran when it was cancelled here is ended by a sweep of ours, once Go has let it go.
#[tokio::test]
async fn a_wish_for_what_go_runs_is_heeded_by_an_idle_server() {
    let place = Place::start().await;
    let (server, _log) = serve(&place).await;
    let mut monitor = Monitor::of(&place).await;
    let store = windlass::store::redis::RedisStore::open(&place.server.url(0), place.env.clone()).await.unwrap();
    // As Go leaves a task that it will try again.
    redis::pipe()
        .atomic()
        .sadd("asynq:queues", "default")
        .hset("asynq:{default}:t:wished", "msg", gos_message("wished"))
        .hset_multiple("asynq:{default}:t:wished", &[("state", "retry"), ("x:wish", "no more")])
        .zadd("asynq:{default}:retry", "wished", 4_000_000_000_u64)
        .exec(&mut place.direct())
        .expect("Redis takes it");
    let seen = monitor.count();
    monitor.wait(SURVEY, seen).await;
    redis::cmd("SADD").arg("asynq:{default}:x:wishes").arg("wished").exec(&mut place.direct()).expect("SADD");
    let (id, mut wakeups) = ("wished".parse().expect("an id"), store.wakeups());
    soon("it is cancelled", async {
        loop {
            wakeups.mark_seen();
            let job = store.get(&id).await.expect("get").expect("it is there");
            if job.state == windlass::JobState::Cancelled {
                break;
            }
            wakeups.changed().await;
        }
    })
    .await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_store_has_one_connection_for_work_and_one_for_hints() {
    let place = Place::start().await;
    let (server, _log) = serve(&place).await;
    let mut redis = place.direct();
    let own: u64 = redis::cmd("CLIENT").arg("ID").query(&mut redis).expect("an id");
    let listening = |line: &&str| !line.contains(" sub=0 psub=0 ");
    let mut clients = String::new();
    // The second one comes up beside the first.
    for _ in 0..500 {
        clients = redis::cmd("CLIENT").arg("LIST").query(&mut redis).expect("a list");
        if clients.lines().any(|line| listening(&line)) {
            break;
        }
        place.env.sleep(Duration::from_millis(10)).await;
    }
    let others: Vec<_> = clients.lines().filter(|line| !line.starts_with(&format!("id={own} "))).collect();
    assert_eq!((others.len(), others.iter().filter(|line| listening(line)).count()), (2, 1), "{clients}");
    server.shutdown().await;
}
