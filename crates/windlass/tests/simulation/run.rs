//! Runs one plan: the production server, over a faulty network, on a memory store, in virtual time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use windlass::{
    Client, Env, Group, GroupRules, JobFilter, JobId, JobRecord, JobState, QueueName, RawJob, RetryPolicy, Server,
    store::{Backend, Census, QueueCensus, memory::MemoryStore},
    testing::{Faults, FaultyStore, Layered, Network, Process, World},
};

use crate::{
    handlers::{Place, router},
    history::{Event, History, Recorder},
    plan::{Fault, JobPlan, KEPT, LEASE, Plan, QUEUES, Script, ServerPlan, Wish},
};

/// What goes between the recorder and the memory store: nothing, or a mutant.
pub(crate) type Beneath<'b> = dyn Fn(Arc<dyn Backend>) -> Arc<dyn Backend> + 'b;

/// How long after the last fault everything must be settled.
const PATIENCE: Duration = Duration::from_secs(900);

/// What a run left behind.
pub(crate) struct Ran {
    pub(crate) plan: Plan,
    pub(crate) events: Vec<(Duration, Event)>,
    /// A number that two runs share only if they made the same calls at the same times.
    pub(crate) pace: u64,
    pub(crate) settled: bool,
    pub(crate) census: Census,
    pub(crate) records: Vec<JobRecord>,
}

/// A simulation under way.
pub(crate) struct Sim {
    pub(crate) plan: Plan,
    pub(crate) world: World,
    pub(crate) history: History,
    network: Network,
    store: Arc<dyn Backend>,
    /// The process that now stands in each server's place.
    places: Mutex<Vec<Running>>,
    steps: Mutex<(i64, i64)>,
}

#[derive(Clone)]
struct Running {
    process: Process,
    way: FaultyStore,
    leave: Arc<tokio::sync::Notify>,
    starts: u32,
}

/// Runs the plan of this seed.
pub(crate) fn run(seed: u64, beneath: &Beneath<'_>) -> Ran {
    let plan = Plan::new(seed);
    World::run(seed, async |world| {
        let history = History::new(&world);
        let memory: Arc<dyn Backend> = Arc::new(MemoryStore::new(world.env()));
        let inner = beneath(memory);
        let store = Arc::new(Layered(Recorder { store: inner, history: history.clone() }));
        let network = Network::new(world.process("network").env());
        network.set_faults(plan.network);
        let (places, steps) = (Mutex::default(), Mutex::default());
        let sim = Arc::new(Sim { plan, world, history, network, store, places, steps });
        sim.clone().play().await
    })
}

impl Sim {
    async fn play(self: Arc<Self>) -> Ran {
        for place in 0..self.plan.servers.len() {
            self.start(place, 0);
        }
        self.clone().clients();
        self.clone().operators();
        for (at, fault) in self.plan.faults.clone() {
            self.world.sleep_until(at).await;
            self.clone().inflict(fault);
        }
        self.world.sleep_until(self.plan.calm).await;
        self.calm();
        let settled = self.settle().await;
        let records = self.records().await;
        let census = self.store.census().await.expect("the store itself has no faults");
        self.places.lock().iter().for_each(|running| running.process.kill());
        let (events, pace) = (self.history.take(), self.history.pace());
        Ran { plan: self.plan.clone(), events, pace, settled, census, records }
    }

    /// Starts a server in its place, as a new process.
    fn start(self: &Arc<Self>, place: usize, starts: u32) {
        let process = self.world.process(format!("server {place}.{starts}"));
        let way = FaultyStore::around(self.store.clone(), &self.network);
        if self.plan.servers[place].deaf {
            way.make_deaf();
        }
        let leave = Arc::new(tokio::sync::Notify::new());
        let running = Running { process: process.clone(), way: way.clone(), leave: leave.clone(), starts };
        {
            let mut places = self.places.lock();
            if place < places.len() { places[place] = running } else { places.push(running) }
        }
        let client = Client::builder().env(process.env()).on(way.backend());
        let at = Place { sim: self.clone(), place, process: process.clone() };
        process.env().spawn(serve(at, client, leave));
    }

    /// Kills a process, and starts another one in its place after a second.
    pub(crate) fn kill(self: &Arc<Self>, place: usize, process: &Process) {
        self.kill_and_start(place, process, Duration::from_secs(1));
    }

    fn kill_and_start(self: &Arc<Self>, place: usize, process: &Process, back: Duration) {
        if !process.is_alive() {
            return;
        }
        self.history.note(Event::Killed { process: process.name().into() });
        process.kill();
        let current = self.places.lock()[place].clone();
        // One that was replaced and on its way out has its successor already.
        if current.process.name() == process.name() {
            let sim = self.clone();
            self.later(back, move || sim.start(place, current.starts + 1));
        }
    }

    fn later(&self, wait: Duration, act: impl FnOnce() + Send + 'static) {
        let env = self.world.env();
        self.world.env().spawn(async move {
            env.sleep(wait).await;
            act();
        });
    }

    fn inflict(self: Arc<Self>, fault: Fault) {
        let at = |place: usize| self.places.lock()[place].clone();
        match fault {
            Fault::Kill { place, back } => self.kill_and_start(place, &at(place).process, back),
            Fault::Replace { place } => {
                let old = at(place);
                if old.process.is_alive() {
                    old.leave.notify_one();
                    self.start(place, old.starts + 1);
                }
            }
            Fault::Freeze { place, time } => {
                let running = at(place);
                self.freeze(&running.process, true);
                let sim = self.clone();
                self.later(time, move || sim.freeze(&running.process, false));
            }
            Fault::Cut { place, time } => {
                let running = at(place);
                self.cut(&running, true);
                let sim = self.clone();
                self.later(time, move || sim.cut(&running, false));
            }
            Fault::Outage { time } => {
                self.down(true);
                let sim = self.clone();
                self.later(time, move || sim.down(false));
            }
            Fault::Step { micros } => self.step(micros),
        }
    }

    fn freeze(&self, process: &Process, frozen: bool) {
        if process.is_alive() && process.is_frozen() != frozen {
            self.history.note(Event::Frozen { process: process.name().into(), frozen });
            if frozen { process.freeze() } else { process.thaw() }
        }
    }

    fn cut(&self, running: &Running, cut: bool) {
        self.history.note(Event::Cut { process: running.process.name().into(), cut });
        running.way.set_cut(cut);
    }

    fn down(&self, down: bool) {
        self.history.note(Event::Down { down });
        self.network.set_down(down);
    }

    fn step(&self, micros: i64) {
        self.history.note(Event::Stepped { micros });
        self.world.step_wall(micros);
        let mut steps = self.steps.lock();
        steps.0 += micros;
        steps.1 = steps.1.max(steps.0);
    }

    /// Nothing goes wrong from here on, and the clock has been set right: as far forward as it
    /// ever was, so that nothing waits for hours.
    fn calm(&self) {
        self.history.note(Event::Calm);
        let (now, most) = *self.steps.lock();
        if now < most {
            self.step(most - now);
        }
        self.network.set_faults(Faults { delay: Duration::from_millis(2), ..Faults::default() });
        self.down(false);
        for running in self.places.lock().iter() {
            self.freeze(&running.process, false);
            self.cut(running, false);
        }
    }

    async fn settle(&self) -> bool {
        let mut next = self.plan.calm + Duration::from_secs(5);
        while self.world.elapsed() < self.plan.calm + PATIENCE {
            self.world.sleep_until(next).await;
            next += Duration::from_secs(1);
            // Again and again: a wish to pause may still be on its way.
            for queue in QUEUES {
                self.store.pause(&QueueName::trusted(queue), false).await.expect("the store itself has no faults");
            }
            let census = self.store.census().await.expect("the store itself has no faults");
            let open = JobState::ALL.iter().filter(|state| !state.is_terminal());
            let open =
                |queue: &QueueCensus| open.clone().map(|state| queue.by_state[state.code() as usize]).sum::<u64>();
            if census.queues.iter().all(|queue| open(queue) == 0) {
                return true;
            }
        }
        false
    }

    async fn records(&self) -> Vec<JobRecord> {
        let page = self.store.list(&JobFilter::default(), None, 1000).await;
        page.expect("the store itself has no faults").items
    }

    fn client(&self, name: &str) -> (Client, Env) {
        let env = self.world.process(name).env();
        let way = FaultyStore::around(self.store.clone(), &self.network);
        (Client::builder().env(env.clone()).on(way.backend()), env)
    }

    fn clients(self: Arc<Self>) {
        let (client, env) = self.client("client");
        for job in self.plan.jobs.clone() {
            let (client, sim) = (client.clone(), self.clone());
            env.spawn(async move { enqueue(&sim, &client, job).await });
        }
    }

    fn operators(self: Arc<Self>) {
        let (client, env) = self.client("operator");
        for (at, wish) in self.plan.wishes.clone() {
            let (client, sim) = (client.clone(), self.clone());
            env.spawn(async move {
                sim.world.sleep_until(at).await;
                operate(&client, wish).await;
            });
        }
    }
}

/// Runs a server until it is killed or told to leave.
async fn serve(at: Place, client: Client, leave: Arc<tokio::sync::Notify>) {
    let name = at.process.name().to_owned();
    let running = loop {
        match server(&at, &client).start().await {
            Ok(running) => break running,
            Err(_) => client.env().sleep(Duration::from_secs(1)).await,
        }
    };
    at.sim.history.note(Event::Up { process: name.clone(), server: running.id() });
    leave.notified().await;
    running.shutdown().await;
    at.sim.history.note(Event::Left { process: name });
    at.process.kill();
}

fn server(at: &Place, client: &Client) -> Server {
    let ServerPlan { slots, queues, strict, prefetch, killer_limit, .. } = at.sim.plan.servers[at.place].clone();
    let server = Server::new(client, router(at.clone())).concurrency(slots).queues(queues).strict(strict);
    let server = aggregators(server);
    let server = server.prefetch(prefetch).lease(LEASE).retry(RetryPolicy::linear(Duration::from_secs(1)));
    if killer_limit { server.kind_concurrency("sim:*", slots as u32) } else { server }
}

/// Each group becomes a job that runs well; every fifth time the aggregator fails, one way or the other.
fn aggregators(server: Server) -> Server {
    let rules = GroupRules::new().grace(Duration::from_secs(2)).max_delay(Duration::from_secs(6)).max_size(3);
    let times = AtomicU64::new(0);
    server.aggregate("sim:*", rules, move |_: &Group| match times.fetch_add(1, Ordering::Relaxed) % 10 {
        3 => Err("not now".into()),
        8 => std::panic::resume_unwind(Box::new("scripted")),
        _ => {
            let script = serde_json::to_vec(&Script::Runs { ms: 10 })?;
            windlass::Result::<RawJob>::Ok(RawJob::new("sim:digest", script).with(|options| options.retention(KEPT)))
        }
    })
}

/// Enqueues until the store says that it has the job.
async fn enqueue(sim: &Sim, client: &Client, plan: JobPlan) {
    sim.world.sleep_until(plan.at).await;
    let payload = serde_json::to_vec(&plan.script).expect("a script serializes");
    loop {
        let job = RawJob::new("sim:job", payload.clone()).with(|options| {
            let options = options.id(&*plan.id).queue(plan.queue).priority(plan.priority).max_retry(plan.max_retry);
            let options = options.retention(plan.retention).process_in(plan.wait).timeout(plan.timeout);
            let options = if let Some(key) = plan.exclusive { options.exclusive(key) } else { options };
            if let Some(group) = plan.group { options.group(group) } else { options }
        });
        if let Ok(answer) = client.enqueue(job).await {
            sim.history.note(Event::Acknowledged { id: answer.id().clone() });
            return;
        }
        client.env().sleep(Duration::from_secs(1)).await;
    }
}

/// One try; what it did is recorded at the store.
async fn operate(client: &Client, wish: Wish) {
    let id = |id: &str| id.parse::<JobId>().expect("the plan's ids are valid");
    let _ = match wish {
        Wish::Cancel(job) => client.cancel(&id(&job), "an operator's wish").await.map(drop),
        Wish::Redrive(job) => client.redrive(&id(&job)).await.map(drop),
        Wish::Delete(job) => client.delete(&id(&job)).await,
        Wish::RunNow(job) => client.run_now(&id(&job)).await.map(drop),
        Wish::Pause(queue) => client.pause(&QueueName::trusted(queue)).await.map(drop),
        Wish::Resume(queue) => client.resume(&QueueName::trusted(queue)).await.map(drop),
    };
}
