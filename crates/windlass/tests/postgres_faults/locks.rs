//! Locks of others: a handler with a transaction of its own, an operator at a prompt. Who has locked a job holds it and
//! holds up nobody else; nobody waits without end, and nobody waits in a circle.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use windlass::{
    Action, Client, Env, JobId, JobOptions, Lease, Line, News, RawJob, ServerId, UniqueBy, Verdict,
    conformance::{Bench, HOUR, SECOND},
    store::{
        Cluster, ExtendRequest, Operate, PromoteRules, Prune, Report, RescueRules, ServerInfo, Store, StoreError,
        postgres::PostgresStore,
    },
    testing::job,
};

use crate::{LEASE, Place, claim, ended, soon};

const RULES: RescueRules = RescueRules { poison_after: 3, lease: LEASE, limit: 10, ran_late: false };

/// What is checked while somebody has locked one of several jobs that a sweep or a claim would take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Passes {
    Claim,
    Promote,
    Rescue,
    Prune,
    Extend,
}

/// Locks one of three jobs; whoever takes jobs takes the other two, and does not wait.
pub async fn passes_over_a_locked_job(place: &Place, bench: &Bench, who: Passes) {
    let ids = bring(bench, who).await;
    let leases: Vec<_> = if matches!(who, Passes::Rescue | Passes::Extend) {
        bench.claim(3).await.iter().map(|job| job.lease()).collect()
    } else {
        Vec::new()
    };
    let mut database = place.database().await;
    let lock = database.transaction().await.unwrap();
    for table in ["job", "history"] {
        lock.query(&format!("SELECT 1 FROM {table} WHERE id = $1 FOR UPDATE"), &[&ids[1].to_string()]).await.unwrap();
    }
    let taking = async {
        match who {
            Passes::Claim => bench.claim(3).await.len(),
            Passes::Promote => bench.promote().await as usize,
            Passes::Rescue => {
                bench.lapse().await;
                bench.rescue().await.len()
            }
            Passes::Prune => bench.store.prune(&Prune::Expired, 100).await.expect("prune").removed as usize,
            // Only one of them is named: the others, of which one is locked, go to a lease of their own.
            Passes::Extend => {
                let lost = bench.extend(&leases[..1]).await;
                2 + lost.len()
            }
        }
    };
    let taken = tokio::time::timeout(5 * SECOND, taking).await;
    lock.rollback().await.unwrap();
    assert_eq!(taken, Ok(2), "{who:?} while one of three is locked");
}

/// Three jobs that it could take.
async fn bring(bench: &Bench, who: Passes) -> Vec<JobId> {
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(match who {
            Passes::Promote => bench.add(JobOptions::new().process_in(LEASE)).await,
            Passes::Prune => bench.run(JobOptions::new().retention(LEASE), Verdict::Complete).await,
            _ => bench.add(JobOptions::new()).await,
        });
    }
    if matches!(who, Passes::Promote | Passes::Prune) {
        bench.pass(2 * LEASE).await;
    }
    ids
}

#[tokio::test]
async fn claims_sweeps_and_renewals_pass_over_a_locked_job() {
    for who in [Passes::Claim, Passes::Promote, Passes::Rescue, Passes::Prune, Passes::Extend] {
        let place = Place::start().await;
        let bench = place.bench("notify=off").await;
        passes_over_a_locked_job(&place, &bench, who).await;
    }
}

#[tokio::test]
async fn what_meets_a_lock_answers_in_time_and_nothing_lies_in_wait() {
    let place = Place::start().await;
    let bench = place.bench("notify=off&timeout=500ms").await;
    let (running, lease) = bench.start(JobOptions::new().retention(HOUR)).await;
    let other = bench.start(JobOptions::new().retention(HOUR)).await.1;
    let mut database = place.database().await;
    let lock = database.transaction().await.unwrap();
    lock.query("SELECT 1 FROM job WHERE id = $1 FOR UPDATE", &[&running.to_string()]).await.unwrap();
    let cancel = Action::Cancel { reason: "x".into() };
    for _ in 0..3 {
        let refused = soon("an answer", bench.store.operate(&running, &cancel)).await;
        assert!(refused.as_ref().is_err_and(StoreError::is_retryable), "{refused:?}");
        let report = vec![ended(lease.clone(), Verdict::Complete)];
        let refused = soon("an answer", bench.store.finish(report)).await;
        assert!(refused.as_ref().is_err_and(StoreError::is_retryable), "{refused:?}");
    }
    bench.finish(other, Verdict::Complete).await;
    // Whatever was given up was stopped: behind the lock nobody waits.
    let watching = place.database().await;
    soon("nobody waits", waits_behind_a_lock(&place, &watching, 0)).await;
    lock.rollback().await.unwrap();
    assert!(bench.record(&running).await.cancel_requested.is_none(), "what was given up has not happened later");
    bench.finish(lease, Verdict::Complete).await;
}

/// Who enqueues under a key that somebody's open transaction has taken is told what became of that one.
#[tokio::test]
async fn a_key_that_an_open_transaction_took_is_free_once_that_is_rolled_back() {
    let place = Place::start().await;
    let store = Arc::new(place.open("notify=off").await);
    let client = Client::builder().env(place.env.clone()).on(store.clone());
    let (mut app, watching) = (place.database().await, place.database().await);
    let keyed = |id: &str| RawJob::new("x", "{}").with(|options| options.id(id).unique(UniqueBy::until_done("key")));
    for commits in [false, true] {
        let mut tx = app.transaction().await.unwrap();
        assert!(client.enqueue_in(&mut tx, keyed("first")).await.unwrap().is_new());
        let (other, job) = (client.clone(), keyed("second"));
        let second = tokio::spawn(async move { other.enqueue(job).await });
        soon("it waits for the first", waits_behind_a_lock(&place, &watching, 1)).await;
        if commits {
            tx.commit().await.unwrap()
        } else {
            tx.rollback().await.unwrap()
        }
        let answer = second.await.unwrap().unwrap();
        let expected = if commits { "first" } else { "second" };
        assert_eq!((answer.is_new(), answer.id().to_string()), (!commits, expected.to_owned()));
        store.operate(answer.id(), &Action::Delete).await.unwrap();
    }
}

/// Waits until so many statements on our schema wait for somebody's lock.
async fn waits_behind_a_lock(place: &Place, watching: &tokio_postgres::Client, many: i64) {
    let waits = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{}.%'",
        place.schema
    );
    while watching.query_one(&waits, &[]).await.unwrap().get::<_, i64>(0) != many {
        place.env.sleep(SECOND / 20).await;
    }
}

/// Finishing, reporting, renewing, claiming, sweeping and operating on the same jobs at the same time, in random order.
#[tokio::test]
async fn processes_that_touch_the_same_jobs_in_any_order_never_wait_in_a_circle() {
    let place = Place::start().await;
    touch_the_same_jobs(&place, "notify=off").await.unwrap_or_else(|error| panic!("{error}"));
}

/// Where transactions begin above READ COMMITTED, nobody is told that he lost a race.
#[tokio::test]
async fn nor_do_they_lose_races_whatever_the_default_of_the_server_is() {
    let place = Place::start().await;
    let above = "notify=off&options=-c%20default_transaction_isolation%3Drepeatable%5C%20read";
    touch_the_same_jobs(&place, above).await.unwrap_or_else(|error| panic!("{error}"));
}

/// Nothing is repeated here, so an answer that somebody waited in a circle, or saw too little, is an error.
pub async fn touch_the_same_jobs(place: &Place, parameters: &str) -> Result<(), StoreError> {
    let known = Arc::new(Mutex::new(Vec::new()));
    let end = place.env.monotonic().0 + 4_000_000;
    let mut workers = Vec::new();
    for number in 0..8 {
        let worker = Worker { store: place.open(parameters).await, env: place.env.clone(), known: known.clone() };
        workers.push(tokio::spawn(async move {
            let server = worker.env.new_server_id();
            let mut info = ServerInfo::new(server, worker.env.wall());
            info.kinds = vec!["none of these".into()];
            worker.store.beat(&info).await?;
            let mut rounds = 0;
            while worker.env.monotonic().0 < end {
                rounds += 1;
                worker.round(number, server, rounds).await?;
            }
            Ok::<_, StoreError>(rounds)
        }));
    }
    for worker in workers {
        let rounds = worker.await.unwrap()?;
        assert!(rounds > 3, "the control: it went round {rounds} times");
    }
    Ok(())
}

struct Worker {
    store: PostgresStore,
    env: Env,
    /// The leases that there are, or were, whoever holds them.
    known: Arc<Mutex<Vec<Lease>>>,
}

impl Worker {
    async fn round(&self, number: u64, server: ServerId, round: u64) -> Result<(), StoreError> {
        let kind = format!("x{}", self.env.random() % 5);
        let jobs = (0..20).map(|_| job(&kind).with(|options| options.retention(HOUR)).build(&self.env));
        self.store.enqueue(jobs.collect()).await?;
        let claimed = self.store.claim(&claim(server, round, 30)).await?.jobs;
        self.known.lock().unwrap().extend(claimed.iter().map(|job| job.lease()));
        let some = self.some();
        let renewal = ExtendRequest { server, leases: some.clone(), lease: LEASE, ran_late: false };
        self.store.extend(&renewal).await?;
        let ends =
            |verdict: Verdict| some.iter().map(|lease| ended(lease.clone(), verdict.clone())).collect::<Vec<_>>();
        match number % 4 {
            0 => self.store.finish(ends(Verdict::Complete)).await.map(drop),
            1 => {
                let mut ends = ends(Verdict::Complete);
                ends.iter_mut().step_by(3).for_each(|end| end.verdict = Verdict::RetryIn(Duration::ZERO));
                self.store.finish(ends).await?;
                self.store.promote(&PromoteRules::all(50)).await?;
                self.store.rescue(&RULES).await.map(drop)
            }
            2 => {
                let line = || News { number: round, lines: vec![Line::new(self.env.wall(), "x")], ..News::default() };
                let reports = some.iter().map(|lease| Report { lease: lease.clone(), news: line() });
                self.store.report(reports.collect()).await?;
                self.store.sweep_unknown(HOUR, 10).await.map(drop)
            }
            _ => {
                for lease in some.iter().take(5) {
                    let cancel = Action::Cancel { reason: "x".into() };
                    let edit = Action::Edit { payload: "{}".into() };
                    let action = if round.is_multiple_of(2) { cancel } else { edit };
                    self.store.operate(&lease.id, &action).await?;
                }
                self.store.finish(ends(Verdict::Release)).await.map(drop)
            }
        }
    }

    /// Half of the newest hundred leases, in random order.
    fn some(&self) -> Vec<Lease> {
        let mut known = self.known.lock().unwrap();
        let old = known.len().saturating_sub(100);
        known.drain(..old);
        for at in (1..known.len()).rev() {
            known.swap(at, self.env.random() as usize % (at + 1));
        }
        known[..known.len() / 2].to_vec()
    }
}
