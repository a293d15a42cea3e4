//! Calls whose callers stop waiting, at any await: no transaction stays open, no lock is left, every connection works, and
//! no job is lost or doubled. (`tests/transactions` does the same to calls in the caller's own transactions.)

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use tokio_postgres::Client as Connection;
use windlass::{
    Action, Env, Fence, JobFilter, JobOptions, JobState, KindFilter, LockName, Verdict,
    conformance::{Bench, LEASE, Opened},
    store::{
        Create, Finish, Hold, LockReply, LockRequest, PromoteRules, Prune, ScheduleChange, ScheduleKey,
        postgres::PostgresStore,
    },
};

use super::{application, servers::postgres::url};

/// More polls than any call needs.
const POLLS: u32 = 12;

/// Polls a call so often and drops it where it says that it has to wait; whether it had ended.
async fn dropped_after(polls: u32, call: impl Future) -> bool {
    let (mut call, mut left) = (pin!(call), polls);
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match call.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// The connections of one application, as the server sees them.
struct Seen {
    app: Connection,
    name: String,
}

impl Seen {
    async fn number(&self, sql: &str) -> i64 {
        self.app.query_one(sql, &[&self.name]).await.expect("a number").get(0)
    }

    /// Waits until none of them does anything or holds a lock: what was sent on its way comes to its end, and a notice that
    /// was to be told goes out.
    async fn idle(&self) {
        let busy = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND state <> 'idle'";
        for _ in 0..250 {
            if self.number(busy).await == 0 && self.locks().await == 0 {
                return;
            }
            self.app.batch_execute("SELECT pg_sleep(0.02)").await.expect("it waits");
        }
        panic!("a call or a transaction stays open, or a lock is left");
    }

    async fn locks(&self) -> i64 {
        let held = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE application_name = $1";
        self.number(held).await
    }

    async fn connections(&self) -> i64 {
        self.number("SELECT count(*) FROM pg_stat_activity WHERE application_name = $1").await
    }
}

/// A store with two connections, and how the server sees them.
async fn place() -> (String, Seen) {
    let url = url();
    let (app, schema) = application(&url).await;
    let name = format!("dropped_{schema}");
    (format!("{url}&pool=2&application_name={name}"), Seen { app, name })
}

fn finished(lease: windlass::Lease) -> Finish {
    let (verdict, ran) = (Verdict::RetryIn(LEASE), LEASE / 100);
    Finish { lease, verdict, error: None, result: None, then: Vec::new(), ran, news: Vec::new() }
}

/// Drops one call of each kind after so many polls; how many had ended.
async fn storm(bench: &Bench, polls: u32) -> u32 {
    let (store, mut ended) = (&bench.store, 0);
    let mut dropped = async |call: &mut (dyn Future<Output = ()> + Unpin)| {
        ended += u32::from(dropped_after(polls, call).await);
    };
    macro_rules! drop_calls {
        ($($call:expr),* $(,)?) => {
            $(dropped(&mut Box::pin(async { let _ = $call.await; })).await;)*
        };
    }
    let request = bench.request(2);
    drop_calls![
        store.enqueue(vec![bench.job(JobOptions::new()), bench.job(JobOptions::new())]),
        store.claim(&request),
        store.promote(&PromoteRules::all(10)),
    ];
    let ran = bench.start(JobOptions::new()).await;
    let waits = bench.add(JobOptions::new()).await;
    let renewal = bench.renewal(std::slice::from_ref(&ran.1));
    let cancel = Action::Cancel { reason: "enough".into() };
    let finish = finished(ran.1.clone());
    drop_calls![
        store.extend(&renewal),
        store.finish(vec![finish]),
        store.operate(&waits, &cancel),
        store.get(&waits),
        store.list(&JobFilter::default(), None, 10),
        store.census(),
        store.outstanding(&[], &KindFilter::default(), &[]),
        store.servers(),
        store.cancelled(None),
        store.prune(&Prune::Expired, 10),
        store.rescue(&windlass::conformance::rules()),
    ];
    let (lock, schedule) = (lock_of(bench), schedule_of(bench, polls));
    let hold = Hold { name: lock.name.clone(), token: lock.token, fence: Fence(1) };
    drop_calls![
        store.acquire_lock(&lock),
        store.extend_lock(&hold, LEASE),
        store.locks(None, 10),
        store.release_lock(&lock.name, lock.token, None),
        store.break_lock(&lock.name),
        store.change_schedule(&schedule),
        store.schedules(None, 10),
        store.schedules_named(&schedule.key.name),
        store.schedule_history(&schedule.key, None, 10),
    ];
    ended
}

/// An attempt at a lock that nobody else makes, in line if it is held.
fn lock_of(bench: &Bench) -> LockRequest {
    let (name, token) = (LockName::new("nightly").expect("a name"), bench.env.new_server_id().0);
    LockRequest { name, slots: 1, token, ttl: LEASE, place: Some(LEASE), holder: "somebody".into() }
}

/// A schedule that nobody has added before, with a job.
fn schedule_of(bench: &Bench, number: u32) -> ScheduleChange {
    let job = bench.job(JobOptions::new());
    let key = ScheduleKey::new(job.spec.queue.clone(), format!("schedule-{number}"));
    ScheduleChange { key, from: None, to: Some("text".into()), jobs: vec![job], history: vec!["line".into()] }
}

/// The lock under which each step on a name is alone is the transaction's, and the rows are, too.
#[tokio::test]
async fn an_acquire_that_is_given_up_at_any_await_leaves_no_lock_of_the_server_behind() {
    let (url, seen) = place().await;
    let open = async move |env| Opened::new(PostgresStore::open_on_clock_of(&url, env).await.expect("open"));
    let bench = Bench::open(open).await;
    let mut ended = 0;
    for polls in 0..POLLS {
        let (first, second) = (lock_of(&bench), lock_of(&bench));
        // One that takes it, and one that stands in line.
        for request in [&first, &second] {
            ended += u32::from(dropped_after(polls, bench.store.acquire_lock(request)).await);
            seen.idle().await;
        }
        let hold = Hold { name: first.name.clone(), token: first.token, fence: Fence(1) };
        dropped_after(polls, bench.store.extend_lock(&hold, LEASE)).await;
        dropped_after(polls, bench.store.release_lock(&first.name, first.token, None)).await;
        seen.idle().await;
        // What was taken by calls that nobody waited for lapses.
        bench.pass(2 * LEASE).await;
        let next = lock_of(&bench);
        let reply = bench.store.acquire_lock(&next).await.expect("acquire");
        assert!(matches!(reply, LockReply::Held(_)), "free within its time to live, after {polls} polls: {reply:?}");
        assert!(bench.store.release_lock(&next.name, next.token, None).await.expect("release"));
    }
    assert!(ended > 2 && ended < 2 * POLLS, "the control: {ended} calls ended");
}

/// The control of the above: a lock that is a session's is seen.
#[tokio::test]
async fn a_lock_that_stays_is_noticed() {
    let (url, seen) = place().await;
    let (other, _) = application(&url).await;
    let named = format!("SET application_name = '{}'; SELECT pg_advisory_lock(7090)", seen.name);
    other.batch_execute(&named).await.expect("a lock");
    assert_eq!(seen.locks().await, 1);
}

#[tokio::test]
async fn calls_that_are_given_up_at_any_await_leave_nothing_open_and_lose_nothing() {
    let (url, seen) = place().await;
    let bench = Bench::open({
        let url = url.clone();
        async move |env| Opened::new(PostgresStore::open_on_clock_of(&url, env).await.expect("open"))
    })
    .await;
    let mut ended = Vec::new();
    for polls in 0..POLLS {
        ended.push(storm(&bench, polls).await);
        seen.idle().await;
        assert!(seen.connections().await <= 3, "two for calls and one for hints");
    }
    assert!(ended[0] == 0 && ended[POLLS as usize - 1] > 10, "the control: {ended:?} calls ended");
    // More calls at once than there are connections, all of which answer.
    let calls = (0..8).map(|_| bench.store.census());
    let census = futures_util::future::try_join_all(calls).await.expect("the pool works").pop().unwrap();
    let there: u64 = census.queues.iter().flat_map(|queue| queue.by_state).sum();
    assert_eq!(census.enqueued, there + census.removed);
    // Whoever was claimed by a dropped call is still held, and is back when its lease has lapsed.
    bench.lapse().await;
    bench.rescue().await;
    let census = bench.census().await;
    assert!(census.queues.iter().all(|queue| queue.by_state[usize::from(JobState::Running.code())] == 0));
}

#[tokio::test]
async fn an_open_that_is_given_up_leaves_no_connection_and_a_place_that_can_be_opened() {
    let (url, seen) = place().await;
    let mut ended = 0;
    for polls in 0..POLLS {
        let open = PostgresStore::open(&url, Create::IfMissing, Env::system());
        ended += u32::from(dropped_after(polls, open).await);
    }
    assert!(ended > 0, "the control");
    let gone = async || {
        for _ in 0..250 {
            if seen.connections().await == 0 {
                return true;
            }
            seen.app.batch_execute("SELECT pg_sleep(0.02)").await.expect("it waits");
        }
        false
    };
    assert!(gone().await, "connections stay open");
    PostgresStore::open(&url, Create::IfMissing, Env::system()).await.expect("it can be opened");
}
