//! The work during which the power goes: jobs come in, are claimed, renewed, ended in each way and cancelled, by several
//! callers at once, while the application checkpoints its file and the store is closed and opened again. All of it goes
//! through the store as users have it, on a recorded VFS; what the callers are told is noted among the writes.

use std::{collections::BTreeMap, path::Path, sync::Mutex, time::Duration};

use futures_util::future::join_all;
use rusqlite::{Connection, OpenFlags};
use windlass::{
    Action, DeadReason, JobOptions, JobState, KindFilter, Lease, QueueName, ServerId, Verdict,
    decide::queues::QueueShare,
    store::{
        ClaimRequest, Claimed, Create, Enqueued, ExtendRequest, Finish, Finished, Inspect, Operate, Operated,
        RescueRules, Store, sqlite::SqliteStore,
    },
    testing::{ManualClock, job},
};

use crate::{disk::Op, vfs::Recorder};

pub const LEASE: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);

/// How a job ends for good, as far as this work goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Completed without retention.
    Gone,
    In(JobState),
}

/// What a caller was told.
#[derive(Clone, Debug)]
pub enum Said {
    Enqueued(Vec<String>),
    Ended(Vec<(String, End)>),
    Claimed(u64),
}

/// All that happened.
pub struct Story {
    pub log: Vec<Op>,
    pub said: Vec<Said>,
    /// The jobs of each enqueue, told of or not.
    pub calls: Vec<Vec<String>>,
    /// How each job would end.
    pub ends: BTreeMap<String, End>,
    /// Time at the end.
    pub clock: ManualClock,
}

/// Works for so many rounds at this level of durability.
pub async fn record(synchronous: &str, rounds: usize) -> Story {
    let place = tempfile::tempdir().unwrap();
    let work = Work {
        recorder: Recorder::register(),
        clock: ManualClock::new(),
        path: place.path().join("jobs.db").display().to_string(),
        synchronous: synchronous.into(),
        said: Mutex::default(),
        calls: Mutex::default(),
        held: Mutex::default(),
    };
    for half in [0..rounds / 2, rounds / 2..rounds] {
        let store = work.open().await;
        let app = work.application();
        for round in half {
            work.round(&store, &app, round).await;
        }
    }
    let (said, calls) = (work.said.into_inner().unwrap(), work.calls.into_inner().unwrap());
    let ends = said.iter().flat_map(|said| match said {
        Said::Ended(ends) => ends.clone(),
        _ => Vec::new(),
    });
    Story { log: work.recorder.log(), ends: ends.collect(), said, calls, clock: work.clock }
}

struct Work {
    recorder: Recorder,
    clock: ManualClock,
    path: String,
    synchronous: String,
    said: Mutex<Vec<Said>>,
    calls: Mutex<Vec<Vec<String>>>,
    held: Mutex<Vec<Lease>>,
}

impl Work {
    async fn open(&self) -> SqliteStore {
        let url = format!("{}?synchronous={}&vfs={}", self.path, self.synchronous, self.recorder.name);
        SqliteStore::open(&url, Create::IfMissing, self.clock.env()).await.unwrap()
    }

    /// The application's own connection to its database.
    fn application(&self) -> Connection {
        let (path, flags) = (Path::new(&self.path), OpenFlags::SQLITE_OPEN_READ_WRITE);
        let conn = Connection::open_with_flags_and_vfs(path, flags, self.recorder.name.as_str()).unwrap();
        conn.execute_batch(&format!("PRAGMA synchronous = {}", self.synchronous)).unwrap();
        conn
    }

    fn tell(&self, what: Said) {
        let mut said = self.said.lock().unwrap();
        said.push(what);
        self.recorder.told(said.len() - 1);
    }

    async fn round(&self, store: &SqliteStore, app: &Connection, round: usize) {
        self.clock.advance(Duration::from_secs(1));
        join_all((0..3).map(|caller| self.enqueue(store, round, caller))).await;
        let claimed = self.claim(store, round as u64 + 1).await;
        let (ended, running) = claimed.split_at(claimed.len() - claimed.len() / 4);
        let (first, second) = ended.split_at(ended.len() / 2);
        // Some run until the power goes, and twice those that hold them vanish.
        self.held.lock().unwrap().extend(running.iter().map(Claimed::lease));
        if round == 14 || round == 29 {
            self.held.lock().unwrap().clear();
        }
        let leases = self.held.lock().unwrap().clone();
        let renewal = ExtendRequest { server: server(), leases, lease: LEASE, ran_late: false };
        store.extend(&renewal).await.unwrap();
        futures_util::join!(self.finish(store, first), self.finish(store, second));
        self.cancel(store, round).await;
        store.promote(100).await.unwrap();
        store.rescue(&rules()).await.unwrap();
        if round % 5 == 4 {
            let mode = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"][round / 5 % 4];
            app.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(())).unwrap();
        }
    }

    async fn enqueue(&self, store: &SqliteStore, round: usize, caller: usize) {
        let count = 1 + (round + caller) % 3;
        let ids: Vec<String> = (0..count).map(|n| format!("{round}-{caller}-{n}")).collect();
        self.calls.lock().unwrap().push(ids.clone());
        let new = |(n, id): (usize, &String)| {
            let kept = if n == 1 { Duration::ZERO } else { HOUR };
            let payload = format!("\"{}\"", "x".repeat(10 + (round * 377 + caller * 911 + n * 53) % 3000));
            job("work").options(JobOptions::new().id(id).retention(kept)).payload(payload).build(&self.clock.env())
        };
        let answers = store.enqueue(ids.iter().enumerate().map(new).collect()).await.unwrap();
        assert!(answers.iter().all(Enqueued::is_new));
        self.tell(Said::Enqueued(ids));
    }

    async fn claim(&self, store: &SqliteStore, sequence: u64) -> Vec<Claimed> {
        let claimed = store.claim(&request(sequence, 6)).await.unwrap().jobs;
        self.tell(Said::Claimed(claimed[0].fence.0));
        claimed
    }

    async fn finish(&self, store: &SqliteStore, jobs: &[Claimed]) {
        let reports = jobs.iter().enumerate().map(|(n, job)| report(job, verdict(n))).collect();
        let answers = store.finish(reports).await.unwrap();
        let end = |(job, answer): (&Claimed, &Finished)| {
            let Finished::Applied(state) = answer else { panic!("nobody else holds it") };
            let gone = *state == JobState::Completed && job.spec.retention.is_zero();
            (job.spec.id.to_string(), if gone { End::Gone } else { End::In(*state) })
        };
        self.tell(Said::Ended(jobs.iter().zip(&answers).map(end).collect()));
    }

    /// Cancels a job, if it waits.
    async fn cancel(&self, store: &SqliteStore, round: usize) {
        let id = format!("{round}-2-0");
        if store.get(&id.parse().unwrap()).await.unwrap().is_none_or(|job| job.state != JobState::Pending) {
            return;
        }
        let action = Action::Cancel { reason: "not wanted".into() };
        if store.operate(&id.parse().unwrap(), &action).await.unwrap() == Operated::Done(JobState::Cancelled) {
            self.tell(Said::Ended(vec![(id, End::In(JobState::Cancelled))]));
        }
    }
}

fn verdict(n: usize) -> Verdict {
    match n % 3 {
        0 => Verdict::Complete,
        1 => Verdict::RetryIn(100 * HOUR),
        _ => Verdict::Bury(DeadReason::Buried),
    }
}

fn server() -> ServerId {
    ServerId(uuid::Uuid::from_u128(7))
}

pub fn rules() -> RescueRules {
    RescueRules { poison_after: 3, lease: LEASE, limit: 1000, ran_late: false }
}

pub fn request(sequence: u64, limit: u32) -> ClaimRequest {
    ClaimRequest {
        server: server(),
        sequence,
        limit,
        slots: limit,
        quick: Default::default(),
        shares: vec![QueueShare { queue: QueueName::new("default").unwrap(), quota: limit }],
        kinds: KindFilter::all(),
        lease: LEASE,
        suspect: false,
    }
}

pub fn report(job: &Claimed, verdict: Verdict) -> Finish {
    Finish {
        lease: job.lease(),
        verdict,
        error: None,
        result: None,
        then: Vec::new(),
        news: Vec::new(),
        ran: Duration::from_millis(3),
    }
}
