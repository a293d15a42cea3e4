//! Exclusive keys where steps of several processes and transactions of callers meet: nobody holds up others for longer than
//! a step takes, no two run at once, and nobody is left blocked.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use windlass::{
    JobId, JobOptions, JobState as State, NewJob, Verdict,
    conformance::{Bench, Opened, SECOND},
    store::{Finish, Inspect, PromoteRules, Store, StoreError, postgres::PostgresStore},
    testing::job,
};

use crate::{Place, claim, connect, ended, locks::waits_behind_a_lock, soon};

/// A job in a transaction of the caller's, under the key of [`exclusive`].
const THEIRS: &str = r#"SELECT enqueue('work', '{}', '{"id": "late", "exclusive": "key"}')"#;
/// The key as it stands in its column.
const KEY: &str = "default\u{1f}key";

/// How often each process brings in jobs of all keys, and works.
const ROUNDS: u64 = 25;

fn exclusive(id: &str) -> JobOptions {
    JobOptions::new().id(id).exclusive("key")
}

fn id(id: &str) -> JobId {
    id.parse().expect("an id")
}

async fn notes(database: &tokio_postgres::Client) -> i64 {
    database.query_one("SELECT count(*) FROM unsettled", &[]).await.expect("notes").get(0)
}

/// What takes longer than this waits for somebody's transaction.
async fn in_time<T>(what: &str, step: impl Future<Output = T>) -> T {
    tokio::time::timeout(5 * SECOND, step).await.unwrap_or_else(|_| panic!("{what} waits for an open transaction"))
}

pub async fn a_job_of_an_open_transaction_holds_up_no_step(place: &Place, bench: &Bench) {
    bench.add(exclusive("holder")).await;
    let holder = bench.claim_one().await.lease();
    let mut app = place.database().await;
    let open = app.transaction().await.unwrap();
    open.query(THEIRS, &[]).await.unwrap();
    in_time("the end of the holder", bench.finish(holder, Verdict::Complete)).await;
    let other = in_time("who comes in", bench.add(exclusive("other"))).await;
    assert_eq!(bench.state(&other).await, State::Pending, "nobody sees the one of the transaction");
    open.commit().await.unwrap();
    bench.promote().await;
    assert_eq!(bench.state(&id("late")).await, State::Blocked, "the other one holds the key");
    bench.finish(bench.claim_one().await.lease(), Verdict::Complete).await;
    assert_eq!(bench.state(&id("late")).await, State::Pending);
    assert_eq!(notes(&place.database().await).await, 0);
}

#[tokio::test]
async fn a_job_of_a_transaction_that_lasts_keeps_no_finish_and_no_enqueue_waiting() {
    let place = Place::start().await;
    let bench = place.bench("notify=off").await;
    a_job_of_an_open_transaction_holds_up_no_step(&place, &bench).await;
}

#[tokio::test]
async fn a_job_of_a_transaction_comes_in_by_the_next_promotion_of_any_process_and_wakes_whoever_waits() {
    let place = Place::start().await;
    let (bench, other) = (place.bench("notify=off").await, place.open("notify=off").await);
    let database = place.database().await;
    database.query(THEIRS, &[]).await.unwrap();
    assert_eq!(bench.state(&id("late")).await, State::Blocked, "a transaction of a caller's lets nobody in");
    let mut wakeups = other.wakeups();
    wakeups.mark_seen();
    let promoted = other.promote(&PromoteRules::all(10)).await.unwrap();
    assert_eq!(promoted.moved, 0, "it was not due: its key was free");
    soon("a wake-up", wakeups.changed()).await;
    assert_eq!((bench.state(&id("late")).await, notes(&database).await), (State::Pending, 0));
}

#[tokio::test]
async fn a_transaction_that_is_cut_off_leaves_nothing_behind() {
    let place = Place::start().await;
    let bench = place.bench("notify=off").await;
    let (app, database) = (place.database().await, place.database().await);
    let pid: i32 = app.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    app.batch_execute("BEGIN").await.unwrap();
    app.query(THEIRS, &[]).await.unwrap();
    database.query("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
    let new = in_time("who comes in", bench.add(exclusive("new"))).await;
    assert_eq!(bench.state(&new).await, State::Pending);
    assert!(bench.get(&id("late")).await.is_none());
    assert_eq!(notes(&database).await, 0);
}

#[tokio::test]
async fn a_run_that_a_transaction_ends_keeps_its_key_until_that_commits() {
    let place = Place::start().await;
    let bench = place.bench("notify=off").await;
    let (holder, waits) = (bench.add(exclusive("holder")).await, bench.add(exclusive("next")).await);
    let fence = bench.claim_one().await.fence.0 as i64;
    let end = "SELECT finish_jobs(NULL, 1, ARRAY['holder'], ARRAY[$1::bigint], ARRAY[0::smallint], ARRAY[0::bigint], \
               ARRAY[NULL], ARRAY[NULL], ARRAY[NULL], ARRAY[NULL::bytea], ARRAY[0::bigint], ARRAY[false], '[]', NULL, '{}', \
               true)";
    let mut app = place.database().await;
    for commits in [false, true] {
        let open = app.transaction().await.unwrap();
        assert_eq!(open.query(end, &[&fence]).await.unwrap().len(), 1, "the control: it was accepted");
        let new = in_time("who comes in", bench.add(JobOptions::new().exclusive("key"))).await;
        in_time("a promotion", bench.promote()).await;
        assert_eq!((bench.state(&waits).await, bench.state(&new).await), (State::Blocked, State::Blocked));
        if commits {
            open.commit().await.unwrap();
            assert!(bench.get(&holder).await.is_none());
        } else {
            open.rollback().await.unwrap();
            assert_eq!(bench.state(&holder).await, State::Running);
        }
        bench.promote().await;
        let expected = if commits { State::Pending } else { State::Blocked };
        assert_eq!((bench.state(&waits).await, bench.state(&new).await), (expected, State::Blocked));
    }
}

/// One step has come in behind the holder and is about to commit, when another one ends the holder.
pub async fn a_step_that_frees_a_key_sees_who_has_just_come_in(place: &Place, bench: &Bench) {
    bench.add(exclusive("holder")).await;
    let holder = bench.claim_one().await.lease();
    let (mut app, watching) = (place.database().await, place.database().await);
    let step = app.transaction().await.unwrap();
    step.batch_execute(&format!("{THEIRS}; DELETE FROM unsettled; SELECT unblock(0, ARRAY['{KEY}'], NULL)"))
        .await
        .unwrap();
    let ending = {
        let bench = bench.clone();
        tokio::spawn(async move { bench.finish(holder, Verdict::Complete).await })
    };
    soon("it waits for the other step, or has not looked", async {
        while !ending.is_finished() && waits_behind_a_lock(place, &watching).await == 0 {
            place.env.sleep(SECOND / 50).await;
        }
    })
    .await;
    step.commit().await.unwrap();
    ending.await.unwrap();
    assert_eq!(bench.state(&id("late")).await, State::Pending);
}

#[tokio::test]
async fn steps_of_one_key_at_the_same_time_see_each_other() {
    let place = Place::start().await;
    let bench = place.bench("notify=off").await;
    a_step_that_frees_a_key_sees_who_has_just_come_in(&place, &bench).await;
}

pub async fn whoever_was_locked_comes_in_later(place: &Place, bench: &Bench) {
    bench.add(exclusive("holder")).await;
    let next = bench.add(exclusive("next")).await;
    let holder = bench.claim_one().await.lease();
    let mut database = place.database().await;
    let lock = database.transaction().await.unwrap();
    lock.query("SELECT 1 FROM job WHERE id = 'next' FOR UPDATE", &[]).await.unwrap();
    in_time("the end of the holder", bench.finish(holder, Verdict::Complete)).await;
    in_time("a promotion", bench.promote()).await;
    assert_eq!(bench.state(&next).await, State::Blocked, "the control: somebody has locked it");
    lock.rollback().await.unwrap();
    bench.promote().await;
    assert_eq!(bench.state(&next).await, State::Pending);
}

#[tokio::test]
async fn a_blocked_job_that_somebody_has_locked_holds_up_nobody_and_comes_in_once_that_is_over() {
    let place = Place::start().await;
    let bench = place.bench("notify=off").await;
    whoever_was_locked_comes_in_later(&place, &bench).await;
}

/// Where transactions see only what was there when they began, promotions let in.
#[tokio::test]
async fn in_a_database_of_another_isolation_level_nobody_is_left_blocked() {
    let place = Place::start().await;
    let schema = format!("levels_{}", std::process::id());
    let database = connect(place.port, &schema).await;
    database.batch_execute(&format!("CREATE DATABASE {schema}")).await.unwrap();
    for (own, level) in [("second", "repeatable read"), ("third", "serializable")] {
        let set = format!("ALTER DATABASE {schema} SET default_transaction_isolation = '{level}'");
        database.batch_execute(&set).await.unwrap();
        let url = format!("postgres://windlass@127.0.0.1:{}/{schema}?schema={own}&notify=off", place.port);
        let bench =
            Bench::open(async move |env| Opened::new(PostgresStore::open_on_clock_of(&url, env).await.expect("open")))
                .await;
        let jobs =
            [bench.add(JobOptions::new().exclusive("key")).await, bench.add(JobOptions::new().exclusive("key")).await];
        for job in jobs {
            bench.promote().await;
            let claimed = bench.claim(10).await;
            assert_eq!(claimed.iter().map(|claimed| &claimed.spec.id).collect::<Vec<_>>(), [&job], "{level}");
            bench.finish(claimed[0].lease(), Verdict::Complete).await;
        }
    }
}

/// Processes that bring in, run and follow up jobs of the same keys at the same time, each in an order of its own, a few keys or
/// many in a step. Nothing is repeated here, so an answer that somebody waited in a circle is an error; and nothing but the
/// steps themselves lets anybody in.
pub async fn touch_the_same_keys(place: &Place) -> Result<(), StoreError> {
    let running = Arc::new(Mutex::new(BTreeSet::new()));
    let mut workers = Vec::new();
    for number in 0..6 {
        let worker = Worker { store: place.open("notify=off").await, running: running.clone(), number };
        let env = place.env.clone();
        workers.push(tokio::spawn(async move {
            let server = env.new_server_id();
            for round in 1..=ROUNDS {
                worker.store.enqueue(worker.jobs(round)).await?;
                worker.work(server, round).await?;
            }
            Ok::<_, StoreError>(())
        }));
    }
    for worker in workers {
        worker.await.expect("no two of one key run")?;
    }
    let last = Worker { store: place.open("notify=off").await, running, number: 0 };
    let server = place.env.new_server_id();
    let mut round = 0;
    while last.work(server, round).await? > 0 {
        round += 1;
    }
    let left = last.store.census().await?.queues[0].by_state;
    assert_eq!(left, [0; 9], "somebody is left");
    Ok(())
}

struct Worker {
    store: PostgresStore,
    running: Arc<Mutex<BTreeSet<Arc<str>>>>,
    number: usize,
}

impl Worker {
    /// A job of each key, forwards or backwards; now and then of so many that all keys are locked at once.
    fn jobs(&self, round: u64) -> Vec<NewJob> {
        let keys = if round.is_multiple_of(5) && self.number < 2 { 120 } else { 6 };
        let order: Vec<usize> =
            if self.number.is_multiple_of(2) { (0..keys).collect() } else { (0..keys).rev().collect() };
        order.into_iter().map(|key| self.job(key)).collect()
    }

    fn job(&self, key: usize) -> NewJob {
        job("x").with(|options| options.exclusive(format!("key {key}"))).build(&windlass::Env::system())
    }

    /// Runs what is in line; how many that were.
    async fn work(&self, server: windlass::ServerId, round: u64) -> Result<usize, StoreError> {
        let mut claimed = self.store.claim(&claim(server, round, 200)).await?.jobs;
        for job in &claimed {
            let key = job.spec.exclusive.clone().expect("a key");
            assert!(self.running.lock().unwrap().insert(key.clone()), "two of {key} run");
        }
        tokio::task::yield_now().await;
        if self.number % 3 == 1 {
            claimed.reverse();
        }
        let mut ends = Vec::new();
        for (at, job) in claimed.iter().enumerate() {
            self.running.lock().unwrap().remove(job.spec.exclusive.as_ref().expect("a key"));
            let then = if at % 4 == 3 { vec![self.job((at * 5 + self.number) % 6)] } else { Vec::new() };
            ends.push(Finish { then, ..ended(job.lease(), Verdict::Complete) });
        }
        self.store.finish(ends).await?;
        Ok(claimed.len())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_with_the_same_keys_in_any_order_never_wait_in_a_circle_and_leave_nobody_blocked() {
    let place = Place::start().await;
    touch_the_same_keys(&place).await.unwrap_or_else(|error| panic!("{error}"));
}
