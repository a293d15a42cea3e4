//! Schedules under faults: five servers that declare the same ones over a network that loses and delays, processes that
//! are killed and frozen, and a clock that steps by hours in both directions. Whatever happens, each tick between the
//! declaration and the end enqueues one job, once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use windlass::{
    CatchUp, Client, JobId, RawJob, Router, Schedule, ScheduleRecord, Server, Timestamp,
    store::{Backend, Result, ScheduleChange, ScheduleChanged, memory::MemoryStore},
    testing::{Faults, FaultyStore, Layer, Layered, Network, Process, World},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// How far apart the ticks are: even some steps of the clock in a row leave out fewer of them than are made up for.
const EVERY: Duration = Duration::from_secs(30);
const SERVERS: usize = 5;
const SCHEDULES: usize = 10;

/// Notes which jobs came in by which changes; `blind`: makes each change whatever was read before it.
struct Noting {
    store: Arc<dyn Backend>,
    blind: bool,
    ticks: Arc<Mutex<BTreeMap<JobId, u32>>>,
}

#[async_trait]
impl Layer for Noting {
    fn inner(&self) -> &dyn Backend {
        &*self.store
    }

    async fn change_schedule(&self, change: &ScheduleChange) -> Result<ScheduleChanged> {
        let mut change = change.clone();
        if self.blind && change.from.is_some() {
            let found = self.store.schedules_named(&change.key.name).await?.items;
            change.from = found.first().map(|stored| stored.revision);
        }
        let changed = self.store.change_schedule(&change).await?;
        if changed != ScheduleChanged::Conflict {
            let mut ticks = self.ticks.lock();
            change.jobs.iter().for_each(|job| *ticks.entry(job.spec.id.clone()).or_default() += 1);
        }
        Ok(changed)
    }
}

/// A fleet under way.
struct Fleet {
    world: World,
    network: Network,
    store: Arc<dyn Backend>,
    ticks: Arc<Mutex<BTreeMap<JobId, u32>>>,
    processes: Vec<Process>,
    starts: u32,
}

impl Fleet {
    fn new(world: &World, blind: bool) -> Self {
        let (network, ticks) = (Network::new(world.env()), Arc::default());
        let memory: Arc<dyn Backend> = Arc::new(MemoryStore::new(world.env()));
        let store = Arc::new(Layered(Noting { store: memory, blind, ticks: Arc::clone(&ticks) }));
        let mut fleet = Self { world: world.clone(), network, store, ticks, processes: Vec::new(), starts: 0 };
        for _ in 0..SERVERS {
            let process = fleet.start();
            fleet.processes.push(process);
        }
        fleet
    }

    fn start(&mut self) -> Process {
        self.starts += 1;
        let process = self.world.process(format!("server {}", self.starts));
        let way = FaultyStore::around(self.store.clone(), &self.network);
        let client = Client::builder().env(process.env()).on(way.backend());
        let env = process.env();
        process.env().spawn(async move {
            let _running = loop {
                match server(&client).start().await {
                    Ok(running) => break running,
                    Err(_) => env.sleep(SECOND).await,
                }
            };
            std::future::pending::<()>().await;
        });
        process
    }

    fn awake(&self) -> usize {
        self.processes.iter().filter(|process| !process.is_frozen()).count()
    }

    /// One thing that goes wrong, by chance.
    fn trouble(&mut self) {
        let env = self.world.env();
        let place = (env.random() % SERVERS as u64) as usize;
        match env.random() % 5 {
            0 => {
                self.processes[place].kill();
                self.processes[place] = self.start();
            }
            // One of them always goes on: a downtime of all is another test's.
            1 | 2 if self.processes[place].is_frozen() || self.awake() < 2 => self.processes[place].thaw(),
            1 | 2 => self.processes[place].freeze(),
            3 => {
                let step = (env.random() % (4 * HOUR.as_micros() as u64)) as i64 - 2 * HOUR.as_micros() as i64;
                self.world.step_wall(step);
            }
            _ => self.network.set_faults(Faults {
                lost_requests: (env.random() % 100) as u32,
                lost_replies: (env.random() % 100) as u32,
                delay: Duration::from_millis(env.random() % 50),
                delayed: (env.random() % 50) as u32,
                long_delay: 40 * SECOND,
                timeout: 10 * SECOND,
            }),
        }
    }

    /// Nothing goes wrong from here on, and the clock is past all it has ever shown.
    async fn settle(&mut self, until: Timestamp) {
        self.network.set_faults(Faults::default());
        self.processes.iter().for_each(Process::thaw);
        let now = self.world.env().wall();
        self.world.step_wall(until.as_micros().max(now.as_micros()) - now.as_micros());
        self.world.env().sleep(2 * MINUTE).await;
    }

    async fn records(&self) -> Vec<ScheduleRecord> {
        let client = Client::builder().env(self.world.env()).on(self.store.clone());
        let page = client.schedules(None, 100).await.expect("the store itself has no faults");
        page.items.into_iter().map(|info| info.record).collect()
    }
}

async fn tick(_: RawJob) -> windlass::Result {
    Ok(())
}

fn server(client: &Client) -> Server {
    let router = Router::new().at("tick", tick);
    let schedule = |number| {
        Schedule::every(format!("s{number}"), EVERY).catch_up(CatchUp::All(1000)).job(RawJob::new("tick", "{}"))
    };
    (0..SCHEDULES).map(schedule).fold(Server::new(client, router).concurrency(2), Server::schedule)
}

/// Goes on until there were so many ticks; answers how often each came in, and what is left in the end.
fn run(seed: u64, ticks: usize, blind: bool) -> (BTreeMap<JobId, u32>, Vec<ScheduleRecord>, Timestamp) {
    World::run(seed, async |world| {
        let mut fleet = Fleet::new(&world, blind);
        let (mut newest, mut troubles) = (world.env().wall(), 0);
        while fleet.ticks.lock().len() < ticks || troubles < ticks / 50 {
            newest = newest.max(world.env().wall());
            fleet.trouble();
            troubles += 1;
            newest = newest.max(world.env().wall());
            world.env().sleep(Duration::from_millis(world.env().random() % 60_000)).await;
        }
        fleet.settle(newest.after(MINUTE)).await;
        let (records, ticks) = (fleet.records().await, fleet.ticks.lock().clone());
        (ticks, records, world.env().wall())
    })
}

/// The ids that must have come in: each tick after the declaration up to the mark.
fn expected(records: &[ScheduleRecord]) -> BTreeMap<JobId, u32> {
    let mut expected = BTreeMap::new();
    for record in records {
        let mut tick = record.epoch.after(EVERY);
        while tick <= record.mark {
            let id = format!("{}/{}/{tick}", record.name, record.generation);
            expected.insert(id.parse().expect("an id"), 1);
            tick = tick.after(EVERY);
        }
    }
    expected
}

#[test]
fn each_of_ten_thousand_ticks_comes_in_once_whatever_dies_freezes_or_steps() {
    let (ticks, records, now) = run(crate::number("WINDLASS_SIM_SEED").unwrap_or(11), 10_000, false);
    assert_eq!(records.len(), SCHEDULES);
    for record in &records {
        assert!(now.since(record.mark) <= EVERY + SECOND, "{}: decided up to {}, now {now}", record.name, record.mark);
        assert!(record.missed.is_empty(), "{}: {:?}", record.name, record.missed);
    }
    let expected = expected(&records);
    assert!(expected.len() >= 10_000);
    let wrong: Vec<_> = ticks.iter().filter(|(id, times)| expected.get(*id) != Some(times)).take(5).collect();
    assert!(wrong.is_empty(), "came in otherwise than once: {wrong:?}");
    assert_eq!(ticks.len(), expected.len(), "some never came in");
}

#[test]
fn without_the_compare_ticks_come_in_twice_and_this_notices() {
    let (ticks, ..) = run(11, 1_000, true);
    assert!(ticks.values().any(|times| *times > 1), "a blind write doubles nothing: the test proves nothing");
}

#[test]
fn the_same_seed_ticks_in_the_same_way() {
    let (one, two) = (run(3, 500, false), run(3, 500, false));
    assert_eq!((one.0, one.1), (two.0, two.1));
}
