//! The work during which the power goes: jobs come in, are claimed, renewed, ended in each way, cancelled, edited and
//! redriven, groups become jobs, and runs note how far they are; by several callers at once, while the application
//! checkpoints its file and the store is closed and opened again. All of it goes through the store as users have it, on a
//! recorded VFS; what the callers are told is noted among the writes.

use std::{collections::BTreeMap, path::Path, sync::Mutex, time::Duration};

use futures_util::future::join_all;
use rusqlite::{Connection, OpenFlags};
use windlass::{
    Action, DeadReason, GroupKey, GroupMember, JobOptions, JobState, KindFilter, Lease, News, Progress, QueueName,
    ServerId, Verdict,
    decide::queues::QueueShare,
    store::{
        ClaimRequest, Claimed, Create, Enqueued, ExtendRequest, Finish, Finished, Flush, Flushed, Groups, Inspect,
        Operate, Operated, PromoteRules, Report, Reported, RescueRules, Store, sqlite::SqliteStore,
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
    /// A run noted that it had come so far.
    Noted(String, usize),
    /// An operator gave the job this payload.
    Edited(String, String),
    Redriven(String),
}

/// What the work does worse than it could, to see whether the check finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twist {
    None,
    /// Takes for durable what a store need not sync: a report without a checkpoint.
    NotesUnsynced,
    /// Makes a job of a group in two steps.
    FlushesInTwo,
}

/// One job that was to be made of a group.
#[derive(Clone, Debug)]
pub struct Merge {
    pub members: Vec<String>,
    pub into: String,
}

/// All that happened.
pub struct Story {
    pub log: Vec<Op>,
    pub said: Vec<Said>,
    /// The jobs of each enqueue, told of or not.
    pub calls: Vec<Vec<String>>,
    pub merges: Vec<Merge>,
    /// How each job would end; more than once if it is redriven in between.
    pub ends: BTreeMap<String, Vec<End>>,
    /// How often each job is redriven: one that dies again may come back again.
    pub redriven: BTreeMap<String, usize>,
    /// Time at the end.
    pub clock: ManualClock,
}

/// Works for so many rounds at this level of durability.
pub async fn record(synchronous: &str, rounds: usize, twist: Twist) -> Story {
    let place = tempfile::tempdir().unwrap();
    let work = Work {
        recorder: Recorder::register(),
        clock: ManualClock::new(),
        path: place.path().join("jobs.db").display().to_string(),
        synchronous: synchronous.into(),
        twist,
        said: Mutex::default(),
        calls: Mutex::default(),
        merges: Mutex::default(),
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
    let (mut ends, mut redriven) = (BTreeMap::<String, Vec<End>>::new(), BTreeMap::new());
    for said in &said {
        match said {
            Said::Ended(ended) => ended.iter().for_each(|(id, end)| ends.entry(id.clone()).or_default().push(*end)),
            Said::Redriven(id) => *redriven.entry(id.clone()).or_default() += 1,
            _ => {}
        }
    }
    let merges = work.merges.into_inner().unwrap();
    Story { log: work.recorder.log(), ends, redriven, said, calls, merges, clock: work.clock }
}

struct Work {
    recorder: Recorder,
    clock: ManualClock,
    path: String,
    synchronous: String,
    twist: Twist,
    said: Mutex<Vec<Said>>,
    calls: Mutex<Vec<Vec<String>>>,
    merges: Mutex<Vec<Merge>>,
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
        let (ends, more) = futures_util::join!(self.finish(store, first), self.finish(store, second));
        self.note(store, round).await;
        self.merge(store, round).await;
        self.operate(store, round, &[ends, more].concat()).await;
        self.cancel(store, round).await;
        store.promote(&PromoteRules::all(100)).await.unwrap();
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
        let claimed = store.claim(&request(sequence, 7)).await.unwrap().jobs;
        self.tell(Said::Claimed(claimed[0].fence.0));
        claimed
    }

    async fn finish(&self, store: &SqliteStore, jobs: &[Claimed]) -> Vec<(String, End)> {
        let reports = jobs.iter().enumerate().map(|(n, job)| report(job, verdict(n))).collect();
        let answers = store.finish(reports).await.unwrap();
        let end = |(job, answer): (&Claimed, &Finished)| {
            let Finished::Applied(state) = answer else { panic!("nobody else holds it") };
            let gone = *state == JobState::Completed && job.spec.retention.is_zero();
            (job.spec.id.to_string(), if gone { End::Gone } else { End::In(*state) })
        };
        let ends: Vec<_> = jobs.iter().zip(&answers).map(end).collect();
        self.tell(Said::Ended(ends.clone()));
        ends
    }

    /// One of those that run notes how far it is.
    async fn note(&self, store: &SqliteStore, round: usize) {
        let lease = {
            let held = self.held.lock().unwrap();
            let Some(lease) = held.get(round % held.len().max(1)) else { return };
            lease.clone()
        };
        let (id, number) = (lease.id.to_string(), round as u64 + 1);
        let news = match self.twist {
            Twist::NotesUnsynced => {
                News { number, progress: Some(Progress::new(0.5, round.to_string())), ..News::default() }
            }
            _ => News { number, checkpoint: Some(round.to_string().into()), ..News::default() },
        };
        let answer = store.report(vec![Report { lease, news }]).await.unwrap();
        assert_eq!(answer, [Reported::Applied]);
        self.tell(Said::Noted(id, round));
    }

    /// Three jobs come into a group, and are made one.
    async fn merge(&self, store: &SqliteStore, round: usize) {
        let (env, name) = (self.clock.env(), format!("group-{round}"));
        let ids: Vec<String> = (0..3).map(|n| format!("{round}-member-{n}")).collect();
        let kept = |n: usize| if n == 1 { Duration::ZERO } else { HOUR };
        let options = |n: usize| JobOptions::new().id(&ids[n]).retention(kept(n)).group(&name);
        self.calls.lock().unwrap().push(ids.clone());
        store.enqueue((0..3).map(|n| job("member").options(options(n)).build(&env)).collect()).await.unwrap();
        self.tell(Said::Enqueued(ids.clone()));

        let into = job("work").options(JobOptions::new().id(format!("{round}-merged")).retention(HOUR)).build(&env);
        let merge = Merge { members: ids.clone(), into: into.spec.id.to_string() };
        self.merges.lock().unwrap().push(merge.clone());
        let group = GroupKey::new(QueueName::new("default").unwrap(), &*name);
        let members = store.members(&group, 10).await.unwrap().iter().map(GroupMember::read).collect();
        let end = |n: usize| if n == 1 { End::Gone } else { End::In(JobState::Completed) };
        let mut ends: Vec<End> = (0..3).map(end).collect();
        if self.twist == Twist::FlushesInTwo {
            store.enqueue(vec![into]).await.unwrap();
            assert_eq!(store.delete_members(&group, 10).await.unwrap(), 3);
            ends = vec![End::Gone; 3];
        } else {
            let flush = Flush { group, members, into };
            assert!(matches!(store.flush(&flush).await.unwrap(), Flushed::Into(_)));
        }
        self.tell(Said::Enqueued(vec![merge.into]));
        self.tell(Said::Ended(ids.into_iter().zip(ends).collect()));
    }

    /// Edits a job that waits for its retry, and takes a dead one back.
    async fn operate(&self, store: &SqliteStore, round: usize, ends: &[(String, End)]) {
        let one_in = |state| ends.iter().find(|(_, end)| *end == End::In(state)).map(|(id, _)| id.clone());
        if let Some(id) = one_in(JobState::Retrying) {
            let payload = format!("\"edited in {round}\"");
            let action = Action::Edit { payload: payload.clone().into() };
            let answer = store.operate(&id.parse().unwrap(), &action).await.unwrap();
            assert_eq!(answer, Operated::Done(JobState::Retrying));
            self.tell(Said::Edited(id, payload));
        }
        if let Some(id) = one_in(JobState::Dead) {
            let answer = store.operate(&id.parse().unwrap(), &Action::Redrive).await.unwrap();
            assert_eq!(answer, Operated::Done(JobState::Pending));
            self.tell(Said::Redriven(id));
        }
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
