//! The fence against everything that Go can do: random steps of ours beside Go's client, server and inspector, with
//! jobs evicted, ids standing twice and leases that run out. No lease that was lost is ever taken for the newest again.
//!
//! What a lease is worth is known from outside: a newer claim or a rescue has ended it, or Asynq's own lists no longer
//! hold its job. The control takes the fence out of the finish, and must be found out.

use std::{collections::HashMap, time::Duration};

use serde_json::json;
use windlass::{
    Action, Env, JobId, JobOptions, KindFilter, Lease, ServerId, Verdict,
    decide::queues::QueueShare,
    store::{
        ClaimRequest, ExtendRequest, Finish, Finished, Operate, PromoteRules, Report, Reported, RescueRules, Store,
        redis::RedisStore,
    },
    testing::{ManualClock, job},
};

use crate::{Go, queue, servers};

const IDS: u64 = 8;
const LEASE: Duration = Duration::from_secs(10);

/// Whether the finish still asks for the fence.
#[derive(Clone, Copy, PartialEq)]
enum Guard {
    Whole,
    /// As if it were not asked for: the field says what the finish wants to read.
    TakenOut,
}

/// What happened, so that a run in which nothing happens does not pass for a good one.
#[derive(Debug, Default)]
struct Seen {
    claimed: u32,
    finished: u32,
    stale: u32,
    rescued: u32,
    violations: Vec<String>,
}

struct Fight {
    go: Go,
    store: RedisStore,
    redis: redis::Connection,
    clock: ManualClock,
    env: Env,
    servers: [ServerId; 3],
    sequence: u64,
    /// Every lease that was ever given, and whether it may still be the newest.
    leases: Vec<(Lease, bool)>,
    open: HashMap<JobId, usize>,
    random: u64,
    guard: Guard,
    seen: Seen,
}

impl Fight {
    async fn open(seed: u64, guard: Guard) -> Option<Self> {
        let url = servers::database_url();
        let mut go = Go::start(&url)?;
        let clock = ManualClock::seeded(seed);
        let env = clock.env();
        // Go's clock is the host's.
        clock.step_wall_forward(Env::system().wall().since(env.wall()));
        let store = RedisStore::open_on_clock_of(&url, env.clone()).await.expect("open");
        let redis = redis::Client::open(&*url).expect("a URL").get_connection().expect("a connection");
        go.tell(json!({"do": "serve", "queue": "q"}));
        let servers = [env.new_server_id(), env.new_server_id(), env.new_server_id()];
        let (leases, open, seen) = (Vec::new(), HashMap::new(), Seen::default());
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Some(Self { go, store, redis, clock, env, servers, sequence: 0, leases, open, random, guard, seen })
    }

    /// The next of so many.
    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn id(&mut self) -> String {
        format!("job-{}", self.draw(IDS))
    }

    /// One of the leases, the young ones more often.
    fn lease(&mut self) -> Option<usize> {
        let count = self.leases.len() as u64;
        let back = if self.draw(4) == 0 { self.draw(count.max(1)) } else { self.draw(12) };
        count.checked_sub(back + 1).map(|at| at as usize)
    }

    async fn step(&mut self) {
        match self.draw(100) {
            0..=13 => self.enqueue().await,
            14..=27 => self.claim().await,
            28..=45 => self.finish().await,
            46..=53 => self.extend().await,
            54..=58 => self.report().await,
            59..=66 => self.rescue().await,
            67..=70 => drop(self.store.promote(&PromoteRules::all(10)).await.expect("promote")),
            71..=76 => self.clock.advance(Duration::from_millis(700)),
            77..=78 => self.clock.advance(Duration::from_secs(4)),
            79..=84 => self.operate().await,
            85..=98 => self.gos_turn(),
            _ => self.trouble(),
        }
    }

    async fn enqueue(&mut self) {
        let id = self.id();
        let job = job("hold").options(JobOptions::new().id(&*id).queue("q")).build(&self.env);
        self.store.enqueue(vec![job]).await.expect("enqueue");
    }

    async fn claim(&mut self) {
        self.sequence += 1;
        let request = ClaimRequest {
            server: self.servers[self.sequence as usize % 3],
            sequence: self.sequence,
            limit: 2,
            slots: 2,
            quick: Default::default(),
            shares: vec![QueueShare { queue: queue(), quota: 2 }],
            kinds: KindFilter::all(),
            lease: LEASE,
            suspect: self.draw(4) == 0,
        };
        for job in self.store.claim(&request).await.expect("claim").jobs {
            self.seen.claimed += 1;
            let lease = job.lease();
            if self.leases.iter().any(|(old, _)| old.fence >= lease.fence && old.id == lease.id) {
                self.seen.violations.push(format!("{lease:?} does not rise"));
            }
            if let Some(before) = self.open.insert(lease.id.clone(), self.leases.len()) {
                self.leases[before].1 = false;
            }
            self.leases.push((lease, true));
        }
    }

    /// Looks from outside whether a lease may still be the newest; once it is not, it never is again.
    fn look(&mut self, at: usize) -> bool {
        let (lease, open) = self.leases[at].clone();
        if !open {
            return false;
        }
        let id = lease.id.to_string();
        let (place, until, fence): (Option<i64>, Option<f64>, Option<String>) = redis::pipe()
            .cmd("LPOS")
            .arg("asynq:{q}:active")
            .arg(&id)
            .cmd("ZSCORE")
            .arg("asynq:{q}:lease")
            .arg(&id)
            .cmd("HGET")
            .arg(format!("asynq:{{q}}:t:{id}"))
            .arg("pending_since")
            .query(&mut self.redis)
            .expect("a look");
        let held = place.is_some() && until.is_some() && fence == Some(format!("+{}", lease.fence));
        self.leases[at].1 = held;
        held
    }

    /// A lease that was lost before the call must not have been taken for the newest by it.
    fn judge(&mut self, what: &str, at: usize, held: bool, accepted: bool) {
        if accepted && !held {
            let lease = &self.leases[at].0;
            self.seen.violations.push(format!("a {what} of {lease:?} was accepted"));
        }
    }

    async fn finish(&mut self) {
        let Some(at) = self.lease() else { return };
        let held = self.look(at);
        let lease = self.leases[at].0.clone();
        if self.guard == Guard::TakenOut {
            let key = format!("asynq:{{q}}:t:{}", lease.id);
            let put = redis::Script::new(
                "if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'pending_since', ARGV[1]) end",
            );
            put.key(key).arg(format!("+{}", lease.fence)).invoke::<()>(&mut self.redis).expect("a script");
        }
        let verdict = match self.draw(6) {
            0 => Verdict::RetryIn(Duration::from_secs(1)),
            1 => Verdict::Snooze(Duration::from_secs(1)),
            2 => Verdict::Release,
            3 => Verdict::Cancel("no more".into()),
            _ => Verdict::Complete,
        };
        let finish = Finish { lease, verdict, error: None, result: None, then: vec![], ran: LEASE, news: vec![] };
        let applied = self.store.finish(vec![finish]).await.expect("finish").remove(0);
        let accepted = matches!(applied, Finished::Applied(_));
        self.judge("finish", at, held, accepted);
        self.leases[at].1 &= !accepted;
        if accepted { self.seen.finished += 1 } else { self.seen.stale += 1 }
    }

    async fn extend(&mut self) {
        let Some(at) = self.lease() else { return };
        let held = self.look(at);
        let leases = vec![self.leases[at].0.clone()];
        let request = ExtendRequest { server: self.servers[0], leases, lease: LEASE, ran_late: false };
        let lost = self.store.extend(&request).await.expect("extend");
        self.judge("renewal", at, held, lost.is_empty());
    }

    async fn report(&mut self) {
        let Some(at) = self.lease() else { return };
        let held = self.look(at);
        let report = Report { lease: self.leases[at].0.clone(), news: Default::default() };
        let answer = self.store.report(vec![report]).await.expect("report").remove(0);
        self.judge("report", at, held, answer != Reported::Stale);
    }

    async fn rescue(&mut self) {
        let rules = RescueRules { poison_after: 3, lease: LEASE, limit: 10, ran_late: false };
        for job in self.store.rescue(&rules).await.expect("rescue").jobs {
            self.seen.rescued += 1;
            let mut taken = self.leases.iter_mut().filter(|(lease, _)| lease.id == job.id && lease.fence == job.fence);
            if let Some((_, open)) = taken.next() {
                *open = false;
            }
        }
    }

    async fn operate(&mut self) {
        let id: JobId = self.id().parse().expect("an id");
        let action = match self.draw(5) {
            0 => Action::Delete,
            1 => Action::Bury,
            2 => Action::Redrive,
            3 => Action::Cancel { reason: "unwanted".into() },
            _ => Action::RunNow,
        };
        self.store.operate(&id, &action).await.expect("an operation");
    }

    /// What Go answers may be an error: a task that is active can't be deleted, for one.
    fn gos_turn(&mut self) {
        let id = self.id();
        let command = match self.draw(14) {
            0..=1 => json!({"do": "enqueue", "queue": "q", "id": id, "kind": "hold", "payload": "{}"}),
            2 => json!({"do": "enqueue", "queue": "q", "id": id, "kind": "hold", "payload": "{}", "in_ms": 1000}),
            3..=4 => json!({"do": "let_go", "id": id}),
            5 => json!({"do": "let_go", "id": id, "state": "fail"}),
            6 => json!({"do": "let_go", "id": id, "state": "skip"}),
            7 => json!({"do": "cancel", "id": id}),
            8..=9 => json!({"do": "run", "queue": "q", "id": id}),
            10 => json!({"do": "archive", "queue": "q", "id": id}),
            11 => json!({"do": "delete", "queue": "q", "id": id}),
            12 => json!({"do": "task", "queue": "q", "id": id}),
            _ => json!({"do": "queue", "queue": "q"}),
        };
        let _ = self.go.ask(command);
    }

    /// What neither side does on purpose.
    fn trouble(&mut self) {
        let (id, draw) = (self.id(), self.draw(8));
        match draw {
            // Redis evicts a task under whoever runs it.
            0..=1 => redis::cmd("DEL").arg(format!("asynq:{{q}}:t:{id}")).exec(&mut self.redis).expect("DEL"),
            // An id stands twice, as after an eviction and another enqueue.
            2..=3 => redis::cmd("LPUSH").arg("asynq:{q}:pending").arg(&id).exec(&mut self.redis).expect("LPUSH"),
            // Go's lease has run out while its worker goes on: it sleeps, and is a zombie when it wakes.
            4..=6 => {
                redis::cmd("ZADD").arg("asynq:{q}:lease").arg("XX").arg(1).arg(&id).exec(&mut self.redis).expect("ZADD")
            }
            _ if self.draw(20) == 0 => {
                self.go.tell(json!({"do": "stop"}));
                self.go.tell(json!({"do": "serve", "queue": "q"}));
            }
            _ => {}
        }
    }
}

/// Fights so many rounds; none where Go is missing.
async fn fight(steps: u64, seed: u64, guard: Guard) -> Option<Seen> {
    let mut fight = Fight::open(seed, guard).await?;
    for _ in 0..steps {
        fight.step().await;
    }
    Some(fight.seen)
}

fn steps() -> u64 {
    std::env::var("WINDLASS_FENCE_STEPS").ok().and_then(|steps| steps.parse().ok()).unwrap_or(4_000)
}

#[tokio::test]
async fn no_stale_report_is_accepted_whatever_go_does() {
    let Some(seen) = fight(steps(), 1, Guard::Whole).await else { return };
    println!("{seen:?}");
    assert_eq!(seen.violations, Vec::<String>::new());
    assert!(seen.finished > 20 && seen.stale > 100 && seen.rescued > 5, "too little happened: {seen:?}");
}

#[tokio::test]
async fn without_the_fence_stale_reports_are_accepted() {
    let Some(seen) = fight(3_000, 2, Guard::TakenOut).await else { return };
    assert!(!seen.violations.is_empty(), "the test would not find it: {seen:?}");
}
