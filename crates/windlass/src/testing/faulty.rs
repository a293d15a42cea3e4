//! A network between processes and their store that loses, delays and cuts: outages for all, cuts for one, faults by
//! chance, and faults that a test orders for the next calls (`planned.rs`).
//!
//! Every call travels in a task of the network, so what a process has sent arrives although it was frozen or killed
//! meanwhile; and a call whose caller gave up may still be applied. Chance comes from the network's [`Env`] alone.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    layer::{Layer, Layered},
    planned::{Call, Fault, Plan},
};
use crate::{
    decide::operate::Action,
    env::Env,
    job::{
        Cursor, Fence, GroupKey, GroupMember, JobFilter, JobId, JobPage, JobRecord, KindFilter, Lease, LockName,
        NewJob, Pattern, QueueName, ServerId, Timestamp,
    },
    store::{
        Backend, CancelLog, Census, Claim, ClaimRequest, Enqueued, ExtendRequest, Finish, Finished, Flush, Flushed,
        ForeignSchedule, GroupPage, Hold, LockPage, LockReply, LockRequest, Operated, PromoteRules, Promoted, Prune,
        Pruned, Report, Reported, RescueRules, Rescued, Result, ScheduleChange, ScheduleChanged, ScheduleKey,
        ScheduleLine, ServerInfo, StoreError, StoredSchedules, Tallies, WakeUps, Waker,
    },
};

/// How often what goes wrong. The default: nothing, and no delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Faults {
    /// Of a thousand calls, how many do not arrive. The caller hears `Unavailable` within [`Faults::timeout`].
    pub lost_requests: u32,
    /// Of a thousand calls, how many are applied without their answer coming back. The caller hears `Unavailable`.
    pub lost_replies: u32,
    /// The longest ordinary delay of a request, and of a reply; each takes anything up to it.
    pub delay: Duration,
    /// Of a thousand requests and replies, how many take up to [`Faults::long_delay`] instead.
    pub delayed: u32,
    /// The longest delay of those. One that is longer than the timeout makes ghosts: calls that are applied although
    /// their caller has given up and perhaps tried again.
    pub long_delay: Duration,
    /// How long a caller waits for an answer before it gives up with `Unavailable`, as a driver does. Zero: for ever,
    /// if need be; what is lost is then known at once.
    pub timeout: Duration,
}

/// What lies between all processes and one store. Clones are the same network.
#[derive(Clone)]
pub struct Network(Arc<Shared>);

struct Shared {
    env: Env,
    weather: Mutex<Weather>,
}

#[derive(Default)]
struct Weather {
    faults: Faults,
    down: bool,
}

impl Network {
    /// A network without faults, with the time and the chance of `env`. Give it an [`Env`] of its own: one that is
    /// not frozen with a process.
    pub fn new(env: Env) -> Self {
        Self(Arc::new(Shared { env, weather: Mutex::default() }))
    }

    /// From now on these faults.
    pub fn set_faults(&self, faults: Faults) {
        self.0.weather.lock().faults = faults;
    }

    /// Takes the store away from everybody, or brings it back. What is under way then does not arrive.
    pub fn set_down(&self, down: bool) {
        self.0.weather.lock().down = down;
    }

    fn up_to(&self, longest: Duration) -> Duration {
        let part = (self.0.env.random() >> 11) as f64 / (1u64 << 53) as f64;
        longest.mul_f64(part)
    }

    fn happens(&self, per_mille: u32) -> bool {
        self.0.env.random() % 1000 < u64::from(per_mille)
    }

    fn delay(&self, faults: &Faults) -> Duration {
        if self.happens(faults.delayed) { self.up_to(faults.long_delay) } else { self.up_to(faults.delay) }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weather = self.0.weather.lock();
        f.debug_struct("Network").field("faults", &weather.faults).field("down", &weather.down).finish()
    }
}

/// A store that fails when a test says so, around any other store: how does the program behave when an enqueue fails,
/// when the answer to one is lost, when the store is away for a while?
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), windlass::Error> {
/// use std::sync::Arc;
/// use windlass::{Client, Env, RawJob, store::memory::MemoryStore, testing::{Call, FaultyStore}};
/// let faulty = FaultyStore::new(Arc::new(MemoryStore::new(Env::system())));
/// let client = Client::builder().on(faulty.backend());
///
/// faulty.lose_replies(Call::Enqueue, 1);
/// let queued = client.enqueue(RawJob::new("mail", "{}")).await?; // tries again with the same id
/// assert!(queued.is_new());
/// assert_eq!((faulty.calls(Call::Enqueue), client.census().await?.enqueued), (2, 1)); // nothing is doubled
///
/// faulty.set_cut(true); // until it is joined again
/// assert!(client.get(queued.id()).await.is_err());
/// # Ok(())
/// # }
/// ```
///
/// Faults by chance come from a [`Network`], which any number of these share: one for each process, around the same
/// store. [`new`](Self::new) goes by the time of the outside world, and so do the waits of a client that tries again. For
/// tests that take no time, make everything in a [`World`](super::World), with its `env`.
#[derive(Clone)]
pub struct FaultyStore {
    store: Arc<dyn Backend>,
    network: Network,
    way: Arc<Way>,
}

#[derive(Default)]
struct Way {
    cut: Mutex<bool>,
    plan: Mutex<Plan>,
    deaf: Mutex<Option<Waker>>,
}

/// What happens to one call; drawn before it starts, so that the order of draws is the order of calls.
struct Trip {
    there: Duration,
    back: Duration,
    patience: Duration,
    lost_request: bool,
    lost_reply: bool,
}

impl FaultyStore {
    /// A store around `store` that fails only as it is told to, in the time of the outside world.
    pub fn new(store: Arc<dyn Backend>) -> Self {
        Self::around(store, &Network::new(Env::system()))
    }

    /// A way to `store` over `network`.
    pub fn around(store: Arc<dyn Backend>, network: &Network) -> Self {
        Self { store, network: network.clone(), way: Arc::default() }
    }

    /// The store as this process sees it.
    pub fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(Layered(self.clone()))
    }

    /// The next `times` calls of this kind do not arrive; their callers hear `Unavailable`. Orders for the same kind of
    /// call are carried out one after the other.
    pub fn fail_next(&self, call: Call, times: usize) {
        self.way.plan.lock().order(call, times, Fault::Fail);
    }

    /// The next `times` calls of this kind are applied, and their callers hear `Unavailable` all the same.
    pub fn lose_replies(&self, call: Call, times: usize) {
        self.way.plan.lock().order(call, times, Fault::LoseReply);
    }

    /// The next `times` calls of this kind arrive this much later.
    pub fn delay_next(&self, call: Call, times: usize, by: Duration) {
        self.way.plan.lock().order(call, times, Fault::Delay(by));
    }

    /// How many calls of this kind were made, those that failed among them.
    pub fn calls(&self, call: Call) -> u64 {
        self.way.plan.lock().made(call)
    }

    /// Cuts this process off from the store, or joins it again. What is under way then does not arrive.
    pub fn set_cut(&self, cut: bool) {
        *self.way.cut.lock() = cut;
    }

    /// From now on those who subscribe hear no hints: they have to poll.
    pub fn make_deaf(&self) {
        self.way.deaf.lock().get_or_insert_default();
    }

    fn is_cut(&self) -> bool {
        *self.way.cut.lock() || self.network.0.weather.lock().down
    }

    fn trip(&self, call: Call) -> Trip {
        let (network, faults) = (&self.network, self.network.0.weather.lock().faults);
        let mut trip = Trip {
            lost_request: network.happens(faults.lost_requests),
            lost_reply: network.happens(faults.lost_replies),
            there: network.delay(&faults),
            back: network.delay(&faults),
            patience: network.up_to(faults.timeout),
        };
        match self.way.plan.lock().next(call) {
            Some(Fault::Fail) => trip.lost_request = true,
            Some(Fault::LoseReply) => trip.lost_reply = true,
            Some(Fault::Delay(by)) => trip.there += by,
            None => {}
        }
        trip
    }

    /// Sends a call on its way and waits for what comes back.
    async fn send<T, F>(&self, name: Call, call: impl FnOnce(Arc<dyn Backend>) -> F + Send + 'static) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let (way, trip) = (self.clone(), self.trip(name));
        let timeout = self.network.0.weather.lock().faults.timeout;
        let env = &self.network.0.env;
        env.spawn(async move {
            let _ = answer.send(way.travel(trip, call).await);
        });
        let gone = |_| Err(away("the network is gone"));
        if timeout.is_zero() {
            return answered.await.unwrap_or_else(gone);
        }
        tokio::select! {
            biased;
            answer = answered => answer.unwrap_or_else(gone),
            () = env.sleep(timeout) => Err(away("no answer in time")),
        }
    }

    async fn travel<T, F>(&self, trip: Trip, call: impl FnOnce(Arc<dyn Backend>) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let env = &self.network.0.env;
        let was_cut = self.is_cut();
        if !was_cut && !trip.there.is_zero() {
            env.sleep(trip.there).await;
        }
        if was_cut || trip.lost_request || self.is_cut() {
            env.sleep(trip.patience).await;
            return Err(away("the request did not arrive"));
        }
        let result = call(self.store.clone()).await;
        if !trip.back.is_zero() {
            env.sleep(trip.back).await;
        }
        if trip.lost_reply || self.is_cut() {
            env.sleep(trip.patience).await;
            return Err(away("the answer did not come back"));
        }
        result
    }
}

fn away(what: &str) -> StoreError {
    StoreError::Unavailable(format!("simulated: {what}"))
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("cut", &self.is_cut()).field("network", &self.network).finish()
    }
}

macro_rules! send {
    ($($name:ident($([$by:tt] $arg:ident: $type:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl Layer for FaultyStore {
            fn inner(&self) -> &dyn Backend {
                &*self.store
            }

            fn wakeups(&self) -> WakeUps {
                let deaf = self.way.deaf.lock();
                deaf.as_ref().map_or_else(|| self.store.wakeups(), Waker::subscribe)
            }

            $(async fn $name(&self, $($arg: $type),*) -> Result<$answer> {
                $(let $arg = $arg.to_owned();)*
                self.send(const { Call::of(stringify!($name)) }, move |store| async move { store.$name($(send!(@give $by $arg)),*).await }).await
            })*
        }
    };
    (@give & $arg:ident) => { &$arg };
    (@give = $arg:ident) => { $arg };
}

send! {
    enqueue([=] jobs: Vec<NewJob>) -> Vec<Enqueued>;
    claim([&] request: &ClaimRequest) -> Claim;
    extend([&] request: &ExtendRequest) -> Vec<Lease>;
    finish([=] batch: Vec<Finish>) -> Vec<Finished>;
    report([=] reports: Vec<Report>) -> Vec<Reported>;
    promote([&] rules: &PromoteRules) -> Promoted;
    rescue([&] rules: &RescueRules) -> Rescued;
    cancelled([=] after: Option<u64>) -> CancelLog;
    get([&] id: &JobId) -> Option<JobRecord>;
    list([&] filter: &JobFilter, [=] after: Option<Cursor>, [=] limit: u32) -> JobPage;
    census() -> Census;
    outstanding([&] queues: &[QueueName], [&] kinds: &KindFilter, [&] groups: &[Pattern]) -> u64;
    tallies([=] since: Timestamp) -> Tallies;
    servers() -> Vec<ServerInfo>;
    operate([&] id: &JobId, [&] action: &Action) -> Operated;
    pause([&] queue: &QueueName, [=] paused: bool) -> bool;
    prune([&] what: &Prune, [=] limit: u32) -> Pruned;
    groups([=] queue: Option<QueueName>, [=] after: Option<GroupKey>, [=] limit: u32) -> GroupPage;
    members([&] group: &GroupKey, [=] limit: u32) -> Vec<GroupMember>;
    flush([&] flush: &Flush) -> Flushed;
    ask_flush([&] group: &GroupKey) -> bool;
    delete_members([&] group: &GroupKey, [=] limit: u32) -> u32;
    acquire_lock([&] request: &LockRequest) -> LockReply;
    extend_lock([&] hold: &Hold, [=] ttl: Duration) -> bool;
    release_lock([&] name: &LockName, [=] token: Uuid, [=] fence: Option<Fence>) -> bool;
    locks([=] after: Option<LockName>, [=] limit: u32) -> LockPage;
    break_lock([&] name: &LockName) -> u32;
    change_schedule([&] change: &ScheduleChange) -> ScheduleChanged;
    schedules([=] after: Option<ScheduleKey>, [=] limit: u32) -> StoredSchedules;
    schedules_named([&] name: &str) -> StoredSchedules;
    schedule_history([&] key: &ScheduleKey, [=] before: Option<u64>, [=] limit: u32) -> Vec<ScheduleLine>;
    foreign_schedules() -> Vec<ForeignSchedule>;
    beat([&] server: &ServerInfo) -> ();
    leave([=] server: ServerId) -> ();
    sweep_unknown([=] after: Duration, [=] limit: u32) -> u32;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::memory::MemoryStore,
        testing::{World, job},
    };

    const SECOND: Duration = Duration::from_secs(1);

    /// A way to a new memory store, with these faults.
    fn way(world: &World, faults: Faults) -> (FaultyStore, Arc<dyn Backend>, Network) {
        let network = Network::new(world.env());
        network.set_faults(faults);
        let store: Arc<dyn Backend> = Arc::new(MemoryStore::new(world.env()));
        (FaultyStore::around(store.clone(), &network), store, network)
    }

    async fn enqueue(world: &World, way: &FaultyStore) -> Result<Vec<Enqueued>> {
        way.backend().enqueue(vec![job("a").build(&world.env())]).await
    }

    #[test]
    fn a_lost_request_is_not_applied_and_a_lost_reply_is() {
        World::run(3, async |world| {
            let faults = Faults { lost_requests: 1000, timeout: SECOND, ..Faults::default() };
            let (way, store, network) = way(&world, faults);
            assert!(enqueue(&world, &way).await.unwrap_err().is_retryable());
            assert_eq!(store.census().await.unwrap().enqueued, 0);
            network.set_faults(Faults { lost_replies: 1000, ..Faults::default() });
            assert!(enqueue(&world, &way).await.unwrap_err().is_retryable());
            assert_eq!(store.census().await.unwrap().enqueued, 1);
        });
    }

    #[test]
    fn faults_that_were_ordered_come_in_turn_and_for_one_call_alone() {
        World::run(3, async |world| {
            let (way, store, _) = way(&world, Faults::default());
            way.fail_next(Call::Enqueue, 1);
            way.lose_replies(Call::Enqueue, 1);
            way.delay_next(Call::Enqueue, 1, SECOND);
            assert!(way.backend().census().await.is_ok());
            assert!(enqueue(&world, &way).await.unwrap_err().is_retryable());
            assert_eq!(store.census().await.unwrap().enqueued, 0);
            assert!(enqueue(&world, &way).await.unwrap_err().is_retryable());
            assert_eq!((store.census().await.unwrap().enqueued, world.elapsed()), (1, Duration::ZERO));
            assert!(enqueue(&world, &way).await.is_ok());
            assert_eq!((world.elapsed(), way.calls(Call::Enqueue), way.calls(Call::Census)), (SECOND, 3, 1));
            assert!(enqueue(&world, &way).await.is_ok());
        });
    }

    #[test]
    fn a_caller_gives_up_on_a_late_answer_and_the_call_is_applied_all_the_same() {
        World::run(3, async |world| {
            let faults = Faults { delayed: 1000, long_delay: 60 * SECOND, timeout: SECOND, ..Faults::default() };
            let (way, store, _) = way(&world, faults);
            assert!(enqueue(&world, &way).await.unwrap_err().is_retryable());
            assert_eq!((world.elapsed(), store.census().await.unwrap().enqueued), (SECOND, 0));
            world.sleep_until(60 * SECOND).await;
            assert_eq!(store.census().await.unwrap().enqueued, 1);
        });
    }

    #[test]
    fn a_cut_is_one_processs_and_an_outage_is_everybodys() {
        World::run(3, async |world| {
            let (one, store, network) = way(&world, Faults::default());
            let two = FaultyStore::around(store, &network);
            one.set_cut(true);
            assert!(enqueue(&world, &one).await.is_err());
            assert!(enqueue(&world, &two).await.is_ok());
            one.set_cut(false);
            network.set_down(true);
            assert!(enqueue(&world, &one).await.is_err() && enqueue(&world, &two).await.is_err());
            network.set_down(false);
            assert!(enqueue(&world, &one).await.is_ok());
        });
    }

    #[test]
    fn what_a_killed_process_had_sent_still_arrives() {
        World::run(3, async |world| {
            let (way, store, _) = way(&world, Faults { delay: SECOND, ..Faults::default() });
            let process = world.process("sender");
            let (there, new) = (way.backend(), job("a").build(&world.env()));
            process.env().spawn(async move { drop(there.enqueue(vec![new]).await) });
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            process.kill();
            world.sleep_until(2 * SECOND).await;
            assert_eq!(store.census().await.unwrap().enqueued, 1);
        });
    }

    #[test]
    fn the_deaf_hear_no_hints() {
        World::run(3, async |world| {
            let (way, store, _) = way(&world, Faults::default());
            let hearing = way.backend().wakeups();
            way.make_deaf();
            let deaf = way.backend().wakeups();
            store.enqueue(vec![job("a").build(&world.env())]).await.unwrap();
            let heard = async |mut wakeups: WakeUps| tokio::time::timeout(SECOND, wakeups.changed()).await.is_ok();
            assert!(heard(hearing).await);
            assert!(!heard(deaf).await);
        });
    }
}
