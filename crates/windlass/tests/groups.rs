//! Random histories of groups: members come, are edited, cancelled and deleted; two aggregators read, crash between
//! reading and flushing, and flush late or twice. In the end each member is a part of exactly one job, as it last was,
//! or ended otherwise. 64 histories each time on each store; `PROPTEST_CASES=10000 cargo test` raises it.
#![cfg(feature = "testing")]

#[path = "broken/mod.rs"]
#[allow(dead_code, reason = "the conformance controls need more of it")]
mod broken;
#[cfg(any(feature = "redis", feature = "postgres"))]
mod servers;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use windlass::{
    Action, Env, GroupKey, GroupMember, JobFilter, JobId, JobOptions, JobRecord, JobState as State, NewJob, QueueName,
    store::{Backend, Flush, Flushed, PromoteRules, memory::MemoryStore},
    testing::{ManualClock, job},
};

use self::broken::{Broken, Fault};

/// One thing that happens.
#[derive(Clone, Debug)]
enum Op {
    Enqueue {
        delayed: bool,
    },
    Promote,
    /// An aggregator forgets what it had read, as when its process ends, and reads anew.
    Read {
        aggregator: usize,
        limit: u32,
    },
    /// It flushes what it read last, perhaps long ago, perhaps for the second time.
    Flush {
        aggregator: usize,
    },
    Edit {
        member: usize,
    },
    Operate {
        member: usize,
        action: Action,
    },
    DeleteMembers {
        limit: u32,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let member = any::<usize>();
    prop_oneof![
        6 => any::<bool>().prop_map(|delayed| Op::Enqueue { delayed }),
        2 => Just(Op::Promote),
        6 => (0..2usize, 1..6u32).prop_map(|(aggregator, limit)| Op::Read { aggregator, limit }),
        6 => (0..2usize).prop_map(|aggregator| Op::Flush { aggregator }),
        2 => member.prop_map(|member| Op::Edit { member }),
        3 => (any::<usize>(), action()).prop_map(|(member, action)| Op::Operate { member, action }),
        1 => (1..3u32).prop_map(|limit| Op::DeleteMembers { limit }),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Cancel { reason: "x".into() }),
        Just(Action::Redrive),
        Just(Action::Bury),
        Just(Action::RunNow),
        Just(Action::Delete),
    ]
}

fn key() -> GroupKey {
    GroupKey::new(QueueName::new("default").expect("a queue"), "g")
}

/// What an aggregator has read.
#[derive(Clone, Default)]
struct Reading {
    members: Vec<(JobId, i64)>,
    payload: Vec<String>,
}

struct Story {
    store: Arc<dyn Backend>,
    clock: ManualClock,
    env: Env,
    members: Vec<JobId>,
    /// How often a member was edited: its payload is its id and this number.
    edits: BTreeMap<JobId, u32>,
    readings: [Reading; 2],
    /// The jobs that were made, and what they were made of.
    made: BTreeMap<JobId, Vec<String>>,
}

impl Story {
    fn new(store: Arc<dyn Backend>, clock: ManualClock) -> Self {
        let (readings, env) = ([Reading::default(), Reading::default()], clock.env());
        Self { store, clock, env, members: vec![], edits: BTreeMap::new(), readings, made: BTreeMap::new() }
    }

    fn new_job(&self, kind: &str, payload: &str, options: JobOptions) -> NewJob {
        let mut new = job(kind).options(options.retention(Duration::from_secs(3600))).build(&self.env);
        Arc::get_mut(&mut new.spec).expect("a new job").payload = payload.to_owned().into();
        new
    }

    async fn go(&mut self, op: &Op) {
        match op {
            Op::Enqueue { delayed } => {
                let id = format!("member-{}", self.members.len());
                let options = JobOptions::new().id(&*id).group("g");
                let options = if *delayed { options.process_in(Duration::from_secs(1)) } else { options };
                let new = self.new_job("note", &format!("{id}#0"), options);
                self.members.push(new.spec.id.clone());
                self.store.enqueue(vec![new]).await.expect("enqueue");
            }
            Op::Promote => {
                self.clock.advance(Duration::from_secs(1));
                self.store.promote(&PromoteRules::all(100)).await.expect("promote");
            }
            Op::Read { aggregator, limit } => {
                let read = self.store.members(&key(), *limit).await.expect("members");
                let payload = |member: &GroupMember| String::from_utf8_lossy(&member.spec.payload).into_owned();
                self.readings[*aggregator] = Reading {
                    members: read.iter().map(GroupMember::read).collect(),
                    payload: read.iter().map(payload).collect(),
                };
            }
            Op::Flush { aggregator } => self.flush(*aggregator).await,
            Op::Edit { member } => {
                let Some(id) = self.pick(*member) else { return };
                let edits = self.edits.get(&id).map_or(0, |edits| *edits) + 1;
                let edit = Action::Edit { payload: format!("{id}#{edits}").into() };
                if let windlass::store::Operated::Done(_) = self.store.operate(&id, &edit).await.expect("edit") {
                    self.edits.insert(id, edits);
                }
            }
            Op::Operate { member, action } => {
                let Some(id) = self.pick(*member) else { return };
                // What is completed may be removed by hand, and says nothing more then.
                let ended = self.store.get(&id).await.expect("get").is_some_and(|job| job.state == State::Completed);
                if !ended {
                    self.store.operate(&id, action).await.expect("operate");
                }
            }
            Op::DeleteMembers { limit } => drop(self.store.delete_members(&key(), *limit).await.expect("delete")),
        }
    }

    fn pick(&self, at: usize) -> Option<JobId> {
        self.members.get(at % self.members.len().max(1)).cloned()
    }

    async fn flush(&mut self, aggregator: usize) {
        let Reading { members, payload } = self.readings[aggregator].clone();
        if members.is_empty() {
            return;
        }
        let into = self.new_job("digest", &payload.join(","), JobOptions::new());
        let id = into.spec.id.clone();
        let flushed = self.store.flush(&Flush { group: key(), members, into }).await.expect("flush");
        if let Flushed::Into(made) = flushed {
            assert_eq!(made, id);
            self.made.insert(made, payload);
        }
    }

    /// Lets everything come to its end, and says what does not hold.
    async fn judge(mut self) -> Result<(), String> {
        loop {
            self.go(&Op::Promote).await;
            self.go(&Op::Read { aggregator: 0, limit: 3 }).await;
            if self.readings[0].members.is_empty() {
                break;
            }
            self.go(&Op::Flush { aggregator: 0 }).await;
        }
        let page = self.store.list(&JobFilter::default(), None, 1000).await.expect("list");
        let records: BTreeMap<JobId, JobRecord> = page.items.into_iter().map(|job| (job.id().clone(), job)).collect();
        for made in self.made.keys() {
            let there = records.get(made).is_some_and(|job| job.state == State::Pending);
            hold(there, || format!("{made} was made and is not in line"))?;
        }
        let digests = records.values().filter(|job| job.spec.kind.as_str() == "digest").count();
        hold(digests == self.made.len(), || format!("{digests} jobs are there and {} were made", self.made.len()))?;
        self.members.iter().try_for_each(|id| self.judge_member(id, records.get(id)))
    }

    fn judge_member(&self, id: &JobId, record: Option<&JobRecord>) -> Result<(), String> {
        let payload = format!("{id}#{}", self.edits.get(id).map_or(0, |edits| *edits));
        let parts = self.made.iter().flat_map(|(made, parts)| parts.iter().map(move |part| (made, part)));
        let found: Vec<_> = parts.filter(|(_, part)| part.split('#').next() == Some(&id.to_string())).collect();
        let state = record.map(|record| record.state);
        hold(state != Some(State::Aggregating), || format!("{id} still waits"))?;
        if state != Some(State::Completed) {
            return hold(found.is_empty(), || format!("{id} is {state:?} and a part of {found:?}"));
        }
        let into = record.and_then(|record| record.flushed_into.clone());
        let [(made, part)] = found[..] else { return Err(format!("{id} is completed and a part of {found:?}")) };
        hold(into.as_ref() == Some(made), || format!("{id} names {into:?} and is a part of {made}"))?;
        hold(*part == payload, || format!("{id} went in as {part} and was {payload}"))
    }
}

fn hold(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Goes through one history on the store that is opened on the clock.
fn play(history: &[Op], open: impl AsyncFnOnce(ManualClock) -> Arc<dyn Backend>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let clock = ManualClock::new();
        let mut story = Story::new(open(clock.clone()).await, clock);
        for op in history {
            story.go(op).await;
        }
        story.judge().await
    })
}

#[test]
fn each_member_goes_into_one_job_in_memory() {
    let check = |history: Vec<Op>| {
        let open = async |clock: ManualClock| Arc::new(MemoryStore::new(clock.env())) as Arc<dyn Backend>;
        play(&history, open).map_err(TestCaseError::fail)
    };
    if let Err(broken) = TestRunner::new(config()).run(&vec(op(), 1..80), check) {
        panic!("{broken}");
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn each_member_goes_into_one_job_in_sqlite() {
    use windlass::store::{Create, sqlite::SqliteStore};
    let check = |history: Vec<Op>| {
        let place = tempfile::tempdir().expect("a temporary directory");
        let path = format!("{}?synchronous=off", place.path().join("jobs.db").display());
        let open = async |clock: ManualClock| {
            let store = SqliteStore::open(&path, Create::IfMissing, clock.env()).await.expect("open");
            Arc::new(store) as Arc<dyn Backend>
        };
        play(&history, open).map_err(TestCaseError::fail)
    };
    if let Err(broken) = TestRunner::new(config()).run(&vec(op(), 1..80), check) {
        panic!("{broken}");
    }
}

#[cfg(feature = "redis")]
#[test]
fn each_member_goes_into_one_job_in_redis() {
    use windlass::store::redis::RedisStore;
    let check = |history: Vec<Op>| {
        let open = async |clock: ManualClock| {
            let store = RedisStore::open_on_clock_of(&servers::redis_url(), clock.env()).await.expect("open");
            Arc::new(store) as Arc<dyn Backend>
        };
        play(&history, open).map_err(TestCaseError::fail)
    };
    if let Err(broken) = TestRunner::new(config()).run(&vec(op(), 1..80), check) {
        panic!("{broken}");
    }
}

#[cfg(feature = "postgres")]
#[test]
fn each_member_goes_into_one_job_in_postgres() {
    use windlass::store::postgres::PostgresStore;
    let check = |history: Vec<Op>| {
        let open = async |clock: ManualClock| {
            let store = PostgresStore::open_on_clock_of(&servers::postgres::url(), clock.env()).await.expect("open");
            Arc::new(store) as Arc<dyn Backend>
        };
        play(&history, open).map_err(TestCaseError::fail)
    };
    if let Err(broken) = TestRunner::new(config()).run(&vec(op(), 1..80), check) {
        panic!("{broken}");
    }
}

/// Negative control: a flush that does not look again is found by some history.
#[test]
fn a_flush_that_does_not_look_again_is_found() {
    for fault in [Fault::UncheckedFlush, Fault::StaleFlush] {
        let check = |history: Vec<Op>| {
            let broken = |clock: ManualClock| Broken::new(MemoryStore::new(clock.env()), fault);
            play(&history, async |clock| Arc::new(broken(clock)) as Arc<dyn Backend>).map_err(TestCaseError::fail)
        };
        let config = ProptestConfig { cases: 1000, max_shrink_iters: 0, ..config() };
        assert!(TestRunner::new(config).run(&vec(op(), 40..80), check).is_err(), "{fault:?} was not found");
    }
}
