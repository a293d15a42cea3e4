//! Processes that vanish, lose their store, or starve their own runtime: leases, fences and suspects.
//! A process vanishes when its line to the store is cut: it goes on, but nobody hears of it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use windlass::{
    BoxFuture, Client, ErrorClass, EventKind, JobContext, JobId, JobState, Json, RawJob, Router, RunningServer, Server,
    store::Backend,
};

use crate::{
    faulty::{Faulty, Op},
    log::Log,
    place::{HOUR, MINUTE, MS, Place, SECOND, job, ok, server},
};

/// A handler that takes this long and returns `text`.
fn takes(time: Duration, text: &'static str) -> Router {
    Router::new().at("*", move |_: RawJob, ctx: JobContext| async move {
        ctx.client().env().sleep(time).await;
        ok(Json(text))
    })
}

/// A server on a line of its own.
struct Process {
    running: RunningServer,
    line: Arc<Faulty>,
    log: Log,
}

impl Process {
    async fn start(place: &Place, router: Router, set_up: impl FnOnce(Server) -> Server) -> Self {
        let (client, line) = place.line();
        let log = Log::new();
        let running = set_up(server(&client, router).on_event(log.listener())).start().await.unwrap();
        Self { running, line, log }
    }

    /// Runs no job, and rescues those of others.
    async fn janitor(place: &Place) -> Self {
        let router = Router::new().at("nothing", |_: RawJob| async { ok(()) });
        Self::start(place, router, |server| server).await
    }
}

/// Lets a process vanish while it runs the job. Somebody rescues it: the janitor, or another server that is there.
async fn crash(place: &Place, id: &JobId, _janitor: &Process) {
    let before = place.record(id).await.crashes;
    let victim = Process::start(place, takes(24 * HOUR, "never"), |server| server.concurrency(1)).await;
    victim.log.wait(id, EventKind::Started).await;
    victim.line.cut(true);
    place.until(async || place.record(id).await.crashes == before + 1).await;
    // Nobody waits for it.
    drop(victim.running);
}

async fn a_job_longer_than_its_lease_runs_once(place: Place) {
    let process = Process::start(&place, takes(MINUTE, "long"), |server| server).await;
    let janitor = Process::janitor(&place).await;
    let id = place.add(job("x")).await;
    let record = place.client().wait(&id).await.unwrap();
    assert_eq!((record.state, record.attempt, record.crashes), (JobState::Completed, 1, 0));
    assert_eq!(process.log.count(EventKind::Started), 1);
    janitor.running.shutdown().await;
    process.running.shutdown().await;
}

async fn a_job_of_a_vanished_process_runs_elsewhere_within_seconds_and_burns_no_attempt(place: Place) {
    let first = Process::start(&place, takes(HOUR, "never"), |server| server).await;
    let id = place.add(job("x").with(|options| options.max_retry(0))).await;
    first.log.wait(&id, EventKind::Started).await;
    let second = Process::start(&place, takes(SECOND, "second"), |server| server).await;
    first.line.cut(true);
    let cut = place.now();
    second.log.wait(&id, EventKind::Started).await;
    let took = place.now().since(cut);
    assert!(took < 15 * SECOND, "{took:?}");
    let record = place.client().wait(&id).await.unwrap();
    assert_eq!((record.state, record.attempt, record.failures, record.crashes), (JobState::Completed, 1, 0, 1));
    assert_eq!(record.errors.iter().map(|error| error.class).collect::<Vec<_>>(), [ErrorClass::Crash]);
    second.running.shutdown().await;
}

async fn a_run_that_was_taken_over_is_stale_and_the_other_outcome_stands(place: Place) {
    let first = Process::start(&place, takes(30 * SECOND, "first"), |server| server).await;
    let id = place.add(job("x")).await;
    let claimed = first.log.wait(&id, EventKind::Started).await;
    let second = Process::start(&place, takes(SECOND, "second"), |server| server).await;
    first.line.cut(true);
    let taken = second.log.wait(&id, EventKind::Started).await;
    assert!(taken.fence > claimed.fence);
    place.client().wait(&id).await.unwrap();
    first.line.cut(false);
    first.log.wait(&id, EventKind::Stale).await;
    let record = place.record(&id).await;
    assert_eq!(record.result.as_deref(), Some(&b"\"second\""[..]));
    assert_eq!((record.attempt, record.crashes, record.fence), (1, 1, Some(taken.fence)));
    assert!(!first.log.of(&id).iter().any(|(event, ..)| *event == EventKind::Finished));
    assert_eq!(first.running.health().held, 0);
    first.running.shutdown().await;
    second.running.shutdown().await;
}

async fn follow_ups_of_a_stale_run_are_not_enqueued(place: Place) {
    let router = |name: &'static str, time: Duration| {
        Router::new().at("x", move |_: RawJob, ctx: JobContext| async move {
            ctx.then(job("next").with(|options| options.id(name)))?;
            ctx.client().env().sleep(time).await;
            ok(())
        })
    };
    let first = Process::start(&place, router("from-first", 30 * SECOND), |server| server).await;
    let id = place.add(job("x")).await;
    first.log.wait(&id, EventKind::Started).await;
    let second = Process::start(&place, router("from-second", SECOND), |server| server).await;
    first.line.cut(true);
    second.log.wait(&id, EventKind::Finished).await;
    first.line.cut(false);
    first.log.wait(&id, EventKind::Stale).await;
    let there = async |name: &str| place.client().get(&name.parse().unwrap()).await.unwrap().is_some();
    assert!(there("from-second").await && !there("from-first").await);
    first.running.shutdown().await;
    second.running.shutdown().await;
}

async fn many_jobs_of_a_hard_stopped_server_run_elsewhere_within_the_lease(place: Place) {
    let first = Process::start(&place, takes(MS, "fast"), |server| server.concurrency(4)).await;
    place.client().enqueue_all((0..100).map(|_| job("x"))).await.unwrap();
    first.log.wait_count(EventKind::Finished, 100).await;
    first.line.hold_back(Op::Finish);
    place.client().enqueue_all((0..200).map(|_| job("x"))).await.unwrap();
    first.log.wait_count(EventKind::Claimed, 150).await;
    let second = Process::start(&place, takes(MS, "fast"), |server| server).await;
    first.line.cut(true);
    let cut = place.now();
    place.until(async || place.client().census().await.unwrap().removed == 300).await;
    let took = place.now().since(cut);
    assert!(took < 15 * SECOND, "{took:?}");
    second.running.shutdown().await;
}

async fn an_outage_longer_than_a_lease_costs_the_living_nothing(place: Place) {
    // The control: an outage of one line alone is a crash.
    for (both, crashes, name) in [(true, 0, "first"), (false, 1, "second")] {
        let first = Process::start(&place, takes(20 * SECOND, "first"), |server| server).await;
        let id = place.add(job("x")).await;
        first.log.wait(&id, EventKind::Started).await;
        let second = Process::start(&place, takes(SECOND, "second"), |server| server).await;
        first.line.cut(true);
        second.line.cut(both);
        let env = place.env();
        env.sleep(60 * SECOND).await;
        assert!(!first.running.health().store_up);
        second.line.cut(false);
        env.sleep(SECOND).await;
        first.line.cut(false);
        let record = place.client().wait(&id).await.unwrap();
        assert_eq!((record.state, record.crashes, record.attempt), (JobState::Completed, crashes, 1));
        assert_eq!(record.result.as_deref(), Some(format!("{name:?}").as_bytes()));
        place.until(async || first.running.health().held == 0).await;
        first.running.shutdown().await;
        second.running.shutdown().await;
    }
}

async fn lost_replies_cost_nothing(place: Place) {
    let process = Process::start(&place, takes(SECOND, "once"), |server| server).await;
    process.line.lose_replies(Op::Claim, 3);
    process.line.lose_replies(Op::Finish, 3);
    let raw = || job("x").with(|options| options.retention(HOUR));
    let kept = place.client().enqueue_all((0..20).map(|_| raw())).await.unwrap();
    let fleeting = place.client().enqueue(job("x")).await.unwrap().id().clone();
    for id in kept.iter().map(|answer| answer.id()) {
        let record = place.client().wait(id).await.unwrap();
        assert_eq!((record.state, record.attempt, record.crashes), (JobState::Completed, 1, 0));
    }
    process.log.wait(&fleeting, EventKind::Finished).await;
    process.log.wait_count(EventKind::Finished, 21).await;
    assert_eq!(process.log.count(EventKind::Started), 21);
    assert_eq!(process.log.count(EventKind::Stale), 0, "a report that is repeated is recognised");
    process.running.shutdown().await;
}

async fn a_job_that_takes_three_processes_down_is_poison_and_its_neighbours_are_not(place: Place) {
    let janitor = Process::janitor(&place).await;
    let neighbours = Arc::new(Mutex::new(Vec::new()));
    let bad = place.add(job("bad").with(|options| options.priority(9))).await;
    for round in 0..3 {
        let others: Vec<_> = {
            let mut ids = Vec::new();
            for _ in 0..3 {
                ids.push(place.add(job("good")).await);
            }
            ids
        };
        let victim = Process::start(&place, takes(24 * HOUR, "never"), |server| server.concurrency(4)).await;
        victim.log.wait(&bad, EventKind::Started).await;
        if round == 2 {
            assert_eq!(victim.log.count(EventKind::Claimed), victim.log.count(EventKind::Started));
        }
        victim.line.cut(true);
        place.until(async || place.record(&bad).await.crashes == round + 1).await;
        // Those that ran beside it go on elsewhere.
        let helper = Process::start(&place, good_only(), |server| server).await;
        for id in others {
            place.until_state(&id, JobState::Completed).await;
            neighbours.lock().unwrap().push(id);
        }
        helper.running.shutdown().await;
    }
    let record = place.record(&bad).await;
    assert_eq!((record.state, record.reason.as_deref(), record.failures), (JobState::Dead, Some("poison"), 0));
    let neighbours = neighbours.lock().unwrap().clone();
    assert_eq!(neighbours.len(), 9);
    janitor.running.shutdown().await;
}

fn good_only() -> Router {
    Router::new().at("good", |_: RawJob| async { ok(()) })
}

/// Who runs now, and what the suspect saw.
#[derive(Clone, Default)]
struct Company(Arc<Mutex<(u32, bool, Vec<u32>)>>);

impl Company {
    /// `suspect` takes ten seconds, everything else one.
    fn router(&self) -> Router {
        let company = self.clone();
        Router::new().at("*", move |raw: RawJob, ctx: JobContext| {
            let company = company.clone();
            async move {
                let suspect = raw.kind == "suspect";
                {
                    let mut company = company.0.lock().unwrap();
                    company.0 += 1;
                    company.1 |= suspect;
                    if company.1 {
                        let now = company.0;
                        company.2.push(now);
                    }
                }
                ctx.client().env().sleep(if suspect { 10 * SECOND } else { SECOND }).await;
                let mut company = company.0.lock().unwrap();
                company.0 -= 1;
                company.1 &= !suspect;
                ok(())
            }
        })
    }
}

async fn a_suspect_runs_alone_and_does_not_starve_under_steady_load(place: Place) {
    let janitor = Process::janitor(&place).await;
    let id = place.add(job("suspect")).await;
    crash(&place, &id, &janitor).await;
    crash(&place, &id, &janitor).await;
    janitor.running.shutdown().await;
    let company = Company::default();
    // More work than the server will ever get done.
    place.client().enqueue_all((0..2000).map(|_| job("good"))).await.unwrap();
    let process = Process::start(&place, company.router(), |server| server).await;
    let begun = place.now();
    process.log.wait(&id, EventKind::Started).await;
    let waited = place.now().since(begun);
    assert!(waited < 10 * SECOND, "{waited:?}");
    let before = process.log.count(EventKind::Started);
    process.log.wait_count(EventKind::Started, before + 1).await;
    let events = process.log.all();
    let started = events.iter().rposition(|event| event.event == EventKind::Started).unwrap();
    let ended = events.iter().position(|event| event.id == id && event.event == EventKind::Finished);
    let ended = ended.expect("nothing else starts while it runs");
    let waited = events[started].at.since(events[ended].at);
    assert!(waited < 200 * MS, "the others go on at once: {waited:?}");
    assert_eq!(company.0.lock().unwrap().2, [1], "nothing ran beside it");
    assert_eq!(place.record(&id).await.state, JobState::Completed);
    drop(process.running);
}

async fn two_suspects_do_not_keep_the_others_waiting_for_both(place: Place) {
    let janitor = Process::janitor(&place).await;
    let ids = [place.add(job("suspect")).await, place.add(job("suspect")).await];
    for id in [&ids[0], &ids[1], &ids[0], &ids[1]] {
        // One process after the other, each with one job.
        let only = place.record(id).await;
        assert_eq!(only.state, JobState::Pending);
        crash_any(&place).await;
    }
    janitor.running.shutdown().await;
    for id in &ids {
        assert_eq!(place.record(id).await.crashes, 2);
    }
    place.client().enqueue_all((0..500).map(|_| job("good"))).await.unwrap();
    let process = Process::start(&place, Company::default().router(), |server| server).await;
    for id in &ids {
        process.log.wait(id, EventKind::Finished).await;
    }
    let order: Vec<_> = process.log.all().into_iter().filter(|event| event.event == EventKind::Started).collect();
    let places: Vec<_> = (0..order.len()).filter(|at| ids.contains(&order[*at].id)).collect();
    assert!(places[1] > places[0] + 1, "others ran between them: {places:?}");
    drop(process.running);
}

/// Lets a process vanish with whatever job it gets.
async fn crash_any(place: &Place) {
    let victim = Process::start(place, takes(24 * HOUR, "never"), |server| server.concurrency(1)).await;
    victim.log.wait_count(EventKind::Started, 1).await;
    let id = victim.log.all()[0].id.clone();
    let before = place.record(&id).await.crashes;
    victim.line.cut(true);
    place.until(async || place.record(&id).await.crashes == before + 1).await;
    drop(victim.running);
}

async fn a_server_that_makes_room_for_a_suspect_goes_on_when_another_takes_it(place: Place) {
    let janitor = Process::janitor(&place).await;
    let suspect = place.add(job("suspect")).await;
    crash(&place, &suspect, &janitor).await;
    crash(&place, &suspect, &janitor).await;
    janitor.running.shutdown().await;
    // The first server runs something long, so that it could make no room for an hour.
    place.client().pause(&"default".parse_queue()).await.unwrap();
    let first = Process::start(&place, takes(HOUR, "long"), |server| server.queues([("default", 1), ("own", 1)])).await;
    let long = place.add(job("long").with(|options| options.queue("own"))).await;
    first.log.wait(&long, EventKind::Started).await;
    place.client().resume(&"default".parse_queue()).await.unwrap();
    place.env().sleep(10 * SECOND).await;
    assert_eq!(place.record(&suspect).await.state, JobState::Pending, "it waits for the first server");
    let second = Process::start(&place, takes(10 * MINUTE, "suspect"), |server| server).await;
    second.log.wait(&suspect, EventKind::Started).await;
    let begun = place.now();
    let next = place.add(job("next").with(|options| options.queue("own"))).await;
    first.log.wait(&next, EventKind::Started).await;
    assert!(place.now().since(begun) < 5 * SECOND);
    drop((first.running, second.running));
}

trait ParseQueue {
    fn parse_queue(&self) -> windlass::QueueName;
}

impl ParseQueue for str {
    fn parse_queue(&self) -> windlass::QueueName {
        windlass::QueueName::new(self).unwrap()
    }
}

on_every_store! {
    a_job_longer_than_its_lease_runs_once
    a_job_of_a_vanished_process_runs_elsewhere_within_seconds_and_burns_no_attempt
    a_run_that_was_taken_over_is_stale_and_the_other_outcome_stands
    follow_ups_of_a_stale_run_are_not_enqueued
    many_jobs_of_a_hard_stopped_server_run_elsewhere_within_the_lease
    an_outage_longer_than_a_lease_costs_the_living_nothing
    lost_replies_cost_nothing
    a_job_that_takes_three_processes_down_is_poison_and_its_neighbours_are_not
    a_suspect_runs_alone_and_does_not_starve_under_steady_load
    two_suspects_do_not_keep_the_others_waiting_for_both
    a_server_that_makes_room_for_a_suspect_goes_on_when_another_takes_it
}

/// The real world, but for the thread of the keeper: it runs among the handlers.
struct NoThread(windlass::Env);

impl windlass::Host for NoThread {
    fn wall(&self) -> windlass::Timestamp {
        self.0.wall()
    }
    fn monotonic(&self) -> windlass::Monotonic {
        self.0.monotonic()
    }
    fn boot(&self) -> Arc<str> {
        self.0.boot()
    }
    fn random(&self) -> u64 {
        self.0.random()
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        self.0.sleep(duration)
    }
    fn spawn(&self, task: BoxFuture<()>) -> tokio::task::JoinHandle<()> {
        self.0.spawn(task)
    }
    fn spawn_apart(&self, _: &'static str, task: BoxFuture<()>) -> tokio::task::JoinHandle<()> {
        self.0.spawn(task)
    }
}

/// Two handlers keep both threads of their runtime for four leases, while another process looks for lapsed leases.
/// Answers how often each of them crashed.
fn hog(env: windlass::Env) -> Vec<u32> {
    const LEASE: Duration = Duration::from_millis(300);
    let runtime = |threads| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(threads).enable_all().build().unwrap()
    };
    let (hogs, others) = (runtime(2), runtime(1));
    let system = windlass::Env::system();
    let store: Arc<dyn Backend> =
        others.block_on(windlass::store::open("memory:", Default::default(), &system)).unwrap();
    let client = Client::builder().env(system).on(store.clone());
    let router = Router::new().at("hog", |_: RawJob| async {
        let (_open, never) = std::sync::mpsc::channel::<()>();
        let _ = never.recv_timeout(4 * LEASE);
        ok(())
    });
    let hogging = Client::builder().env(env).on(store);
    let running = hogs.block_on(Server::new(&hogging, router).lease(LEASE).start()).unwrap();
    let idle = Router::new().at("nothing", |_: RawJob| async { ok(()) });
    let janitor = others.block_on(Server::new(&client, idle).lease(LEASE).start()).unwrap();
    let crashes = others.block_on(async {
        let mut ids = Vec::new();
        for _ in 0..2 {
            let raw = job("hog").with(|options| options.retention(HOUR));
            ids.push(client.enqueue(raw).await.unwrap().id().clone());
        }
        let mut crashes = Vec::new();
        for id in &ids {
            crashes.push(client.wait(id).await.unwrap().crashes);
        }
        janitor.shutdown().await;
        crashes
    });
    hogs.block_on(running.shutdown());
    crashes
}

#[test]
fn handlers_that_hog_every_thread_do_not_lose_their_leases() {
    assert_eq!(hog(windlass::Env::system()), [0, 0]);
}

#[test]
fn without_a_thread_for_the_keeper_they_would() {
    assert!(hog(windlass::Env::new(NoThread(windlass::Env::system()))).iter().any(|crashes| *crashes > 0));
}
