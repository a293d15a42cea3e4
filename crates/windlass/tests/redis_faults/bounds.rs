//! No script touches more than 500 entries, however much there is. Every call of the contract is made on a store with
//! more than that of everything, while Redis tells (`MONITOR`) what each script does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use redis::cmd;
use uuid::Uuid;
use windlass::{
    Action, Client, DeadReason, GroupKey, JobFilter, JobId, JobOptions, JobState as State, KindFilter, Lease, LockName,
    NewJob, News, Timestamp, UniqueBy, Verdict,
    store::{
        ClaimRequest, Claimed, Cluster, ExtendRequest, Flush, Groups, Hold, Inspect, LockReply, LockRequest, Locks,
        MAX_SLOTS, Operate, PromoteRules, Prune, Report, RescueRules, ScheduleChange, ScheduleChanged, ScheduleKey,
        Schedules, ServerInfo, Store, redis::RedisStore,
    },
    testing::job,
};

use super::{
    LEASE, SECOND, claim, ended, entries,
    monitor::{Monitor, Run, slot_of},
    queue,
    servers::Server,
};

const MANY: usize = 1_200;
const BOUND: usize = 500;
/// So long that no machine is half of it late, after which nobody would be rescued for a while.
const LONG: Duration = Duration::from_secs(3600);

/// A store and what is done to it.
struct Load {
    store: RedisStore,
    env: windlass::Env,
    server: windlass::ServerId,
    sequence: u64,
    redis: redis::Connection,
    /// The same store, as another process sees it.
    another: Arc<RedisStore>,
}

impl Load {
    async fn open(server: &Server) -> Self {
        let env = windlass::Env::system();
        let store = RedisStore::open(&server.url(0), env.clone()).await.expect("open");
        let redis = redis::Client::open(server.url(0)).expect("a URL").get_connection().expect("a connection");
        let another = Arc::new(RedisStore::open(&server.url(0), env.clone()).await.expect("open"));
        Self { store, server: env.new_server_id(), env, sequence: 0, redis, another }
    }

    fn job(&self, kind: &str, options: JobOptions) -> NewJob {
        job(kind).options(options.queue("q")).build(&self.env)
    }

    async fn add(&self, kind: &str, options: impl Fn(usize) -> JobOptions) -> Vec<JobId> {
        let jobs: Vec<_> = (0..MANY).map(|number| self.job(kind, options(number))).collect();
        self.store.enqueue(jobs).await.expect("enqueue").iter().map(|added| added.id().clone()).collect()
    }

    async fn claim(&mut self, suspect: bool) -> Vec<Claimed> {
        self.sequence += 1;
        let request = ClaimRequest { suspect, ..claim(self.server, self.sequence, &["q"], MANY as u32) };
        self.store.claim(&request).await.expect("claim").jobs
    }

    async fn finish(&self, leases: &[Lease], verdict: Verdict) {
        let report = |lease: &Lease| ended(lease.clone(), verdict.clone());
        self.store.finish(leases.iter().map(report).collect()).await.expect("finish");
    }

    async fn act(&self, id: &JobId, action: Action) {
        self.store.operate(id, &action).await.expect("operate");
    }

    /// Lets every due moment and lease of a set be long past.
    fn make_old(&mut self, set: &str) {
        let ids: Vec<String> = cmd("ZRANGE").arg(set).arg(0).arg(-1).query(&mut self.redis).expect("ids");
        let mut put = redis::pipe();
        for id in ids {
            put.cmd("ZADD").arg(set).arg(1).arg(id).ignore();
        }
        assert!(put.cmd_iter().count() > 0, "nothing is in {set}");
        put.exec(&mut self.redis).expect("scores");
    }

    /// Jobs come in, run and end in every way.
    async fn lives(&mut self) {
        let later = self.add("later", |_| JobOptions::new().process_in(SECOND * 3600)).await;
        let once = self
            .add("once", |number| {
                JobOptions::new()
                    .unique(UniqueBy::idempotency(&number, Duration::from_millis(1)))
                    .process_in(SECOND * 7200)
            })
            .await;
        for id in &once[..600] {
            self.act(id, Action::Cancel { reason: "unwanted".into() }).await;
        }
        let plain: BTreeSet<_> = self.add("plain", |_| JobOptions::new()).await.into_iter().collect();
        self.add("mail", |_| JobOptions::new().retention(SECOND * 60)).await;
        self.add("urgent", |_| JobOptions::new().priority(5)).await;
        self.make_old("asynq:{q}:x:due");
        self.make_old("asynq:{q}:scheduled");
        self.store.promote(&PromoteRules::all(1000)).await.expect("promote");
        self.store.promote(&PromoteRules::all(5000)).await.expect("promote");
        let mut held = Vec::new();
        for _ in 0..3 {
            held.extend(self.claim(false).await.iter().map(Claimed::lease));
        }
        let (short, held): (Vec<_>, Vec<_>) = held.into_iter().partition(|lease| plain.contains(&lease.id));
        assert!(held.len() > 3 * BOUND && short.len() > BOUND);
        self.finish(&short, Verdict::Complete).await;
        let request = ExtendRequest { server: self.server, leases: held.clone(), lease: LONG, ran_late: false };
        self.store.extend(&request).await.expect("extend");
        let say = |lease: &Lease| Report { lease: lease.clone(), news: News::default() };
        self.store.report(held.iter().map(say).collect()).await.expect("report");
        // A claim that comes again. It renews what the first one took, so one script's worth is asked for.
        self.sequence += 1;
        let request = claim(self.server, self.sequence, &["q"], BOUND as u32);
        let first = self.store.claim(&request).await.expect("claim").jobs.len();
        assert!(first > 0 && self.store.claim(&request).await.expect("claim").jobs.len() == first);
        for lease in &held[..600] {
            self.act(&lease.id, Action::Cancel { reason: "unwanted".into() }).await;
        }
        self.store.cancelled(Some(0)).await.expect("the log");
        let (over, running) = held.split_at(held.len() / 2);
        let (first, rest) = over.split_at(over.len() / 2);
        self.finish(first, Verdict::Complete).await;
        self.finish(rest, Verdict::Bury(DeadReason::Poison)).await;
        // Three reports with what follows them are more than one script takes.
        let mut follows: Vec<_> = running[..3].iter().map(|lease| ended(lease.clone(), Verdict::Complete)).collect();
        follows[0].then.push(job("next").options(JobOptions::new().queue("other")).build(&self.env));
        for report in &mut follows {
            report.then.extend((0..200).map(|_| self.job("next", JobOptions::new())));
        }
        self.store.finish(follows).await.expect("finish");
        // Go's workers are told to stop one of ours.
        self.tell_go_to_stop(&running[3].id).await;
        self.make_old("asynq:{q}:x:lease");
        let rules = RescueRules { poison_after: 2, lease: LONG, limit: 1000, ran_late: false };
        self.store.rescue(&rules).await.expect("rescue");
        self.store.rescue(&rules).await.expect("rescue");
        self.claim(true).await;
        for action in [Action::RunNow, Action::Bury, Action::Redrive, Action::Delete] {
            self.act(&later[0], action).await;
        }
    }

    async fn tell_go_to_stop(&mut self, id: &JobId) {
        let mut noted = cmd("HEXISTS");
        noted.arg(format!("asynq:{{q}}:t:{id}")).arg("x:gc");
        for _ in 0..500 {
            cmd("PUBLISH").arg("asynq:cancel").arg(id.to_string()).exec(&mut self.redis).expect("PUBLISH");
            self.env.sleep(Duration::from_millis(10)).await;
            if noted.query::<bool>(&mut self.redis).expect("an answer") {
                return;
            }
        }
        panic!("nobody heard of it");
    }

    /// Keys that each have somebody blocked: their holders end in every way, and some are gone without a word.
    async fn exclusive(&mut self) {
        let of = |number: usize| JobOptions::new().priority(6).exclusive(format!("key-{}", number % (MANY / 2)));
        let jobs = self.add("alone", of).await;
        self.add("alone", |number| of(number).process_in(SECOND * 3600)).await;
        self.make_old("asynq:{q}:x:urgent");
        self.make_old("asynq:{q}:x:due");
        self.make_old("asynq:{q}:scheduled");
        self.store.promote(&PromoteRules::all(1000)).await.expect("promote");
        let mut held = Vec::new();
        // Of each line of suspects the first is looked at beside those that are taken.
        for _ in 0..2 {
            self.sequence += 1;
            let request = claim(self.server, self.sequence, &["q"], BOUND as u32 - 20);
            held.extend(self.store.claim(&request).await.expect("claim").jobs);
        }
        let held: Vec<_> = held.iter().filter(|run| run.spec.exclusive.is_some()).map(Claimed::lease).collect();
        assert!(held.len() > BOUND, "{}", held.len());
        self.finish(&held, Verdict::Complete).await;
        self.finish(&held, Verdict::Complete).await;
        let mut redis = redis::pipe();
        for id in &jobs[MANY / 2..] {
            redis.cmd("DEL").arg(format!("asynq:{{q}}:t:{id}")).ignore();
        }
        redis.exec(&mut self.redis).expect("DEL");
        for _ in 0..20 {
            self.store.promote(&PromoteRules::all(0)).await.expect("promote");
        }
    }

    async fn groups(&self) {
        self.add("part", |_| JobOptions::new().group("large")).await;
        self.add("part", |number| JobOptions::new().group(format!("group-{number}"))).await;
        let page = self.store.groups(None, None, 1000).await.expect("groups");
        assert_eq!(page.items.len(), 1000);
        let large = GroupKey::new(queue("q"), "large");
        let members = self.store.members(&large, 1000).await.expect("members");
        assert_eq!(members.len(), BOUND);
        let into = self.job("sum", JobOptions::new());
        let flush = Flush { group: large.clone(), members: members.iter().map(|member| member.read()).collect(), into };
        self.store.flush(&flush).await.expect("flush");
        self.store.ask_flush(&large).await.expect("a wish");
        self.store.delete_members(&large, 600).await.expect("a deletion");
    }

    async fn schedules(&self) {
        let change = |name: &str| ScheduleChange {
            key: ScheduleKey::new(queue("q"), name),
            from: None,
            to: Some("rule".into()),
            jobs: Vec::new(),
            history: Vec::new(),
        };
        for number in 0..MANY {
            self.store.change_schedule(&change(&format!("other-{number}"))).await.expect("a schedule");
        }
        let mut tick = change("busy");
        for _ in 0..3 {
            tick.jobs = (0..BOUND).map(|_| self.job("tick", JobOptions::new())).collect();
            tick.history = (0..BOUND).map(|number| format!("line {number}").into()).collect();
            let ScheduleChanged::Done(revision) = self.store.change_schedule(&tick).await.expect("a tick") else {
                panic!("nobody else changes it");
            };
            tick.from = revision;
        }
        assert_eq!(self.store.schedules(None, 1000).await.expect("schedules").items.len(), 1000);
        assert_eq!(self.store.schedules_named("busy").await.expect("a schedule").items.len(), 1);
        assert_eq!(self.store.schedule_history(&tick.key, None, 1000).await.expect("its history").len(), 1000);
        let removal = ScheduleChange { to: None, jobs: Vec::new(), history: Vec::new(), ..tick };
        self.store.change_schedule(&removal).await.expect("a removal");
    }

    /// A semaphore with as many holders as there may be, and more who wait for it or have stopped to.
    async fn locks(&self) {
        let name = LockName::new("many").expect("a name");
        let request = |number: u128, place: Option<Duration>| LockRequest {
            name: name.clone(),
            slots: MAX_SLOTS,
            token: Uuid::from_u128(number),
            ttl: LEASE,
            place,
            holder: "somebody".into(),
        };
        let mut held = 0;
        for number in 0..MANY as u128 {
            let reply =
                self.store.acquire_lock(&request(number, Some(Duration::from_millis(1)))).await.expect("acquire");
            held += u32::from(matches!(reply, LockReply::Held(_)));
        }
        assert_eq!(held, MAX_SLOTS);
        self.store.acquire_lock(&request(0, None)).await.expect("acquire");
        let listed = self.store.locks(None, 10).await.expect("locks").items;
        assert_eq!((listed.len(), listed[0].held), (1, MAX_SLOTS));
        let fence = listed[0].holders[0].fence;
        let hold = Hold { name: name.clone(), token: Uuid::from_u128(0), fence };
        assert!(self.store.extend_lock(&hold, LEASE).await.expect("extend"));
        // Twice, since Redis does not know a script when it is sent for the first time.
        for there in [true, false] {
            assert_eq!(self.store.release_lock(&name, hold.token, None).await.expect("release"), there);
        }
        for held in [MAX_SLOTS - 1, 0] {
            assert_eq!(self.store.break_lock(&name).await.expect("break"), held);
        }
    }

    async fn looks(&self) {
        let census = self.store.census().await.expect("census");
        assert_eq!(
            census.queues.iter().map(|queue| queue.by_state[State::Aggregating.code() as usize]).max(),
            Some(1300)
        );
        let absent = KindFilter::of(["absent"]).expect("a kind");
        self.store.outstanding(&[queue("q")], &absent, &[]).await.expect("outstanding");
        let page = self.store.list(&JobFilter::default(), None, 1000).await.expect("list");
        self.store.get(&page.items[0].spec.id).await.expect("get");
        self.store.tallies(Timestamp::from_micros(0)).await.expect("tallies");
        // An id of somebody's own is looked for in all queues.
        self.add("own", |number| JobOptions::new().id(format!("own-{number}"))).await;
    }

    /// What others left: Go's tasks, Go's leases, ids without a job, an archive that is too large, a deleted queue.
    async fn sweeps(&mut self) {
        let mut fill = redis::pipe();
        for number in 0..10_000_usize {
            let id = format!("dead-{number}");
            let message = [b"\x0a\x01k\x1a", &[id.len() as u8][..], id.as_bytes(), b"\x22\x01q"].concat();
            let (key, score) = (format!("asynq:{{q}}:t:{id}"), 1_700_000_000 + number);
            fill.cmd("HSET").arg(key).arg("state").arg("archived").arg("msg").arg(message).ignore();
            fill.cmd("ZADD").arg("asynq:{q}:archived").arg(score).arg(&id).ignore();
        }
        for number in 0..MANY {
            let id = format!("ghost-{number}");
            for set in ["scheduled", "lease"] {
                fill.cmd("ZADD").arg(format!("asynq:{{q}}:{set}")).arg(1).arg(&id).ignore();
            }
            for list in ["pending", "active"] {
                fill.cmd("RPUSH").arg(format!("asynq:{{q}}:{list}")).arg(&id).ignore();
            }
            fill.cmd("ZADD").arg("asynq:{gone}:completed").arg(4_000_000_000_u64).arg(&id).ignore();
            fill.cmd("SADD").arg("asynq:{gone}:groups").arg(&id).ignore();
        }
        fill.cmd("SADD").arg("asynq:x:{store}:queues").arg("gone").ignore();
        fill.exec(&mut self.redis).expect("entries");
        self.store.list(&JobFilter::default(), None, 1000).await.expect("list");
        let rules = RescueRules { poison_after: 3, lease: LONG, limit: 1000, ran_late: false };
        self.store.rescue(&rules).await.expect("rescue");
        for set in ["ended:6", "ended:7", "ended:8", "expire", "once:due"] {
            self.make_old(&format!("asynq:{{q}}:x:{set}"));
        }
        self.make_old("asynq:{q}:completed");
        for _ in 0..3 {
            self.store.prune(&Prune::Expired, 1000).await.expect("prune");
        }
        let states = vec![State::Completed, State::Dead, State::Cancelled];
        self.store.prune(&Prune::Older { than: Duration::ZERO, states }, 1000).await.expect("prune");
        // Those that can be read, which the schedules of this store cannot, are shown to Asynq's tools.
        let client = Client::builder().env(self.env.clone()).on(self.another.clone());
        entries::add(&client, "readable", BOUND).await;
        let mut info = ServerInfo::new(self.server, self.env.wall());
        info.queues = vec![(queue("q"), 1)];
        self.store.beat(&info).await.expect("beat");
        entries::until_shown(&mut self.redis, &self.env, BOUND).await;
        self.store.sweep_unknown(Duration::ZERO, 1000).await.expect("a sweep");
        self.store.servers().await.expect("servers");
        self.store.pause(&queue("q"), true).await.expect("pause");
        self.store.leave(self.server).await.expect("leave");
    }
}

/// How many scripts there are: their names in the table of `scripts.rs`.
fn scripts() -> usize {
    let table = include_str!("../../src/store/redis/scripts.rs");
    let is_script = |line: &&str| {
        let name = line.strip_prefix("    ").and_then(|line| line.split(" \"").next()).unwrap_or_default();
        line.contains("\" [")
            && !name.is_empty()
            && name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')
    };
    table.lines().filter(is_script).count()
}

#[tokio::test]
async fn no_script_touches_more_than_five_hundred_entries_or_another_slot() {
    let server = Server::start();
    let monitor = Monitor::of(&server);
    let mut load = Load::open(&server).await;
    load.lives().await;
    load.exclusive().await;
    load.groups().await;
    load.locks().await;
    load.looks().await;
    load.schedules().await;
    load.sweeps().await;
    cmd("ECHO").arg("end").exec(&mut load.redis).expect("ECHO");
    let runs = monitor.runs();
    // A script may look for one more entry than it takes, and make one new job.
    let wide = |run: &&Run| run.jobs.len() > BOUND + 1 || run.widest.0 > BOUND + 1 || run.commands > BOUND * 40;
    let wide: BTreeMap<&String, String> = runs
        .iter()
        .filter(wide)
        .map(|run| (&run.hash, format!("{} jobs, {:?}, {} commands", run.jobs.len(), run.widest, run.commands)))
        .collect();
    assert!(wide.is_empty(), "{wide:#?}");
    let elsewhere: BTreeSet<_> = runs.iter().flat_map(|run| &run.elsewhere).collect();
    assert!(elsewhere.is_empty(), "in other slots than the script's: {elsewhere:?}");
    assert!(runs.iter().all(|run| slot_of(&run.first).is_some()), "a key without a slot");
    assert!(runs.iter().any(|run| run.jobs.len() >= BOUND), "too little was there to do");
    let seen: BTreeSet<_> = runs.iter().map(|run| &run.hash).filter(|hash| !hash.is_empty()).collect();
    assert!(scripts() > 30);
    assert_eq!(seen.len(), scripts(), "each script must be driven here");
}
