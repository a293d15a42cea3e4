//! Exclusive jobs on Redis, when notes of ours are lost and when Go, which knows no keys, has been at a job: nobody is
//! blocked for ever, no two of a key run beside each other here, and nothing is left behind.

use std::{collections::BTreeSet, time::Duration};

use redis::cmd;
use windlass::{
    Action, JobId, JobOptions, JobState as State, NewJob, Verdict,
    store::{Claimed, Inspect, Operate, PromoteRules, Prune, RescueRules, Store, redis::RedisStore},
    testing::job,
};

use crate::{LEASE, Place, claim, ended};

/// A store whose jobs share a key.
struct Row {
    place: Place,
    store: RedisStore,
    redis: redis::Connection,
    claims: u64,
    server: windlass::ServerId,
}

impl Row {
    async fn start() -> Self {
        let place = Place::start().await;
        let (store, redis, server) = (place.open("").await, place.direct(), place.env.new_server_id());
        Self { place, store, redis, claims: 0, server }
    }

    fn job(&self, options: JobOptions) -> NewJob {
        job("x").options(options.queue("q").exclusive("key")).build(&self.place.env)
    }

    async fn add(&self, options: JobOptions) -> JobId {
        let job = self.job(options);
        let id = job.spec.id.clone();
        self.store.enqueue(vec![job]).await.expect("enqueue");
        id
    }

    async fn claim(&mut self) -> Vec<Claimed> {
        self.claims += 1;
        self.store.claim(&claim(self.server, self.claims, &["q"], 10)).await.expect("claim").jobs
    }

    async fn complete(&self, run: &Claimed) {
        self.store.finish(vec![ended(run.lease(), Verdict::Complete)]).await.expect("finish");
    }

    async fn state(&self, id: &JobId) -> State {
        self.store.get(id).await.expect("get").expect("it is there").state
    }

    /// What each server does now and then.
    async fn sweep(&self) {
        let rules = RescueRules { poison_after: 3, lease: LEASE, limit: 10, ran_late: false };
        self.store.rescue(&rules).await.expect("rescue");
        self.store.prune(&Prune::Expired, 10).await.expect("prune");
        self.promote().await;
    }

    async fn promote(&self) {
        self.store.promote(&PromoteRules::all(10)).await.expect("promote");
    }

    /// Runs what there is, and gives the order.
    async fn run_all(&mut self) -> Vec<JobId> {
        let mut ran = Vec::new();
        for _ in 0..50 {
            self.sweep().await;
            let runs = self.claim().await;
            assert!(runs.len() < 2, "two of a key at once");
            for run in runs {
                ran.push(run.spec.id.clone());
                self.complete(&run).await;
            }
        }
        ran
    }

    /// What of ours is about keys.
    fn left(&mut self) -> Vec<String> {
        let names: BTreeSet<String> = cmd("KEYS").arg("asynq:{q}:x:*").query(&mut self.redis).expect("KEYS");
        let of_keys = |name: &&str| ["x:slots", "x:blocked", "x:rows", "x:row:"].iter().any(|part| name.contains(part));
        names.iter().map(String::as_str).filter(of_keys).map(str::to_owned).collect()
    }

    fn task(id: &JobId) -> String {
        format!("asynq:{{q}}:t:{id}")
    }
}

#[tokio::test]
async fn nothing_of_a_key_is_left_once_its_jobs_have_ended() {
    let mut row = Row::start().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(row.add(JobOptions::new()).await);
    }
    assert_eq!(row.left().len(), 4, "the control: {:?}", row.left());
    row.store.operate(&ids[4], &Action::Delete).await.expect("delete");
    row.store.operate(&ids[3], &Action::Cancel { reason: "no".into() }).await.expect("cancel");
    assert_eq!(row.run_all().await, ids[..3]);
    assert_eq!(row.left(), Vec::<String>::new());
}

/// As an eviction or a restore of a part may leave it.
#[tokio::test]
async fn whatever_notes_of_keys_are_lost_everybody_runs_and_nothing_is_left() {
    let lost: [&[&str]; 6] = [
        &["x:slots"],
        &["x:blocked"],
        &["x:rows"],
        &["x:row:key"],
        &["x:row:key", "x:rows"],
        &["x:slots", "x:blocked", "x:rows", "x:row:key", "x:q"],
    ];
    for keys in lost {
        let mut row = Row::start().await;
        let mut ids = BTreeSet::new();
        for _ in 0..4 {
            ids.insert(row.add(JobOptions::new()).await);
        }
        for key in keys {
            let there: u32 = cmd("DEL").arg(format!("asynq:{{q}}:{key}")).query(&mut row.redis).expect("DEL");
            assert_eq!(there, 1, "the control: {key}");
        }
        let ran = row.run_all().await;
        assert_eq!((ran.len(), ran.into_iter().collect::<BTreeSet<_>>()), (4, ids), "without {keys:?}");
        assert_eq!(row.left(), Vec::<String>::new(), "without {keys:?}");
    }
}

#[tokio::test]
async fn a_holder_whose_task_has_vanished_keeps_nobody_out() {
    let mut row = Row::start().await;
    let holder = row.add(JobOptions::new()).await;
    let (second, third) = (row.add(JobOptions::new()).await, row.add(JobOptions::new()).await);
    cmd("DEL").arg(Row::task(&holder)).exec(&mut row.redis).expect("DEL");
    // Whoever comes now does not go first.
    let fourth = row.add(JobOptions::new().priority(-1)).await;
    assert_eq!(row.state(&fourth).await, State::Blocked);
    row.promote().await;
    assert_eq!(row.state(&second).await, State::Pending);
    assert_eq!(row.run_all().await, [second, third, fourth]);
    assert_eq!(row.left(), Vec::<String>::new());
}

#[tokio::test]
async fn a_holder_that_is_no_hash_any_more_keeps_nobody_out() {
    let mut row = Row::start().await;
    let holder = row.add(JobOptions::new()).await;
    let second = row.add(JobOptions::new()).await;
    redis::pipe().del(Row::task(&holder)).set(Row::task(&holder), "no hash").exec(&mut row.redis).expect("SET");
    assert_eq!(row.run_all().await, [second]);
    assert_eq!(row.left(), Vec::<String>::new());
}

/// An id comes again, without the key that it held.
#[tokio::test]
async fn a_holder_that_has_another_life_without_the_key_keeps_nobody_out() {
    let mut row = Row::start().await;
    let holder = row.add(JobOptions::new().id("again")).await;
    let second = row.add(JobOptions::new()).await;
    redis::pipe()
        .del(Row::task(&holder))
        .lrem("asynq:{q}:pending", 0, "again")
        .exec(&mut row.redis)
        .expect("Go's deletion");
    let again = job("x").options(JobOptions::new().queue("q").id("again")).build(&row.place.env);
    row.store.enqueue(vec![again]).await.expect("enqueue");
    row.promote().await;
    assert_eq!(row.claim().await.iter().map(|run| run.spec.id.clone()).collect::<Vec<_>>(), [holder, second]);
}

/// Nobody waits for it, so nobody looks.
#[tokio::test]
async fn the_note_of_a_holder_that_go_has_ended_goes_with_the_slow_sweeps() {
    let mut row = Row::start().await;
    let holder = row.add(JobOptions::new()).await;
    redis::pipe()
        .del(Row::task(&holder))
        .lrem("asynq:{q}:pending", 0, holder.to_string())
        .exec(&mut row.redis)
        .expect("Go's deletion");
    row.promote().await;
    assert_eq!(row.left(), ["asynq:{q}:x:slots"], "the control");
    row.sweep().await;
    assert_eq!(row.left(), Vec::<String>::new());
}

#[tokio::test]
async fn a_holder_that_a_worker_of_gos_lost_lets_the_next_in_when_it_is_taken_over() {
    let mut row = Row::start().await;
    let holder = row.add(JobOptions::new()).await;
    let second = row.add(JobOptions::new()).await;
    let id = holder.to_string();
    redis::pipe()
        .lrem("asynq:{q}:pending", 0, &id)
        .lpush("asynq:{q}:active", &id)
        .zadd("asynq:{q}:lease", &id, 1)
        .hset(Row::task(&holder), "state", "active")
        .hdel(Row::task(&holder), "pending_since")
        .exec(&mut row.redis)
        .expect("Go's claim");
    let rules = RescueRules { poison_after: 3, lease: LEASE, limit: 10, ran_late: false };
    row.store.rescue(&rules).await.expect("rescue");
    assert_eq!((row.state(&holder).await, row.state(&second).await), (State::Retrying, State::Pending));
}

/// Go's forwarder puts a retry back into line, and its `RunTask` a blocked job, without a look at keys.
#[tokio::test]
async fn what_go_puts_into_line_beside_the_holder_of_its_key_is_blocked_instead_of_claimed() {
    let mut row = Row::start().await;
    row.add(JobOptions::new()).await;
    let (second, third) = (row.add(JobOptions::new()).await, row.add(JobOptions::new()).await);
    let held = row.claim().await;
    redis::pipe()
        .zrem("asynq:{q}:x:blocked", third.to_string())
        .lpush("asynq:{q}:pending", third.to_string())
        .hset(Row::task(&third), "state", "pending")
        .exec(&mut row.redis)
        .expect("Go runs it");
    assert_eq!(row.state(&third).await, State::Pending, "the control: it stands in line");
    assert!(row.claim().await.is_empty(), "two of a key at once");
    assert_eq!((row.state(&second).await, row.state(&third).await), (State::Blocked, State::Blocked));
    row.complete(&held[0]).await;
    assert_eq!(row.run_all().await, [second, third]);
    assert_eq!(row.left(), Vec::<String>::new());
}

/// What of a row is no blocked job any more is dropped a hundred at a time.
#[tokio::test]
async fn hundreds_of_blocked_jobs_that_go_has_deleted_hold_up_nobody_for_long() {
    let mut row = Row::start().await;
    row.add(JobOptions::new()).await;
    let many = (0..450).map(|_| row.job(JobOptions::new())).collect();
    let gone = row.store.enqueue(many).await.expect("enqueue");
    let last = row.add(JobOptions::new()).await;
    let mut delete = redis::pipe();
    for added in &gone {
        delete.del(Row::task(added.id())).zrem("asynq:{q}:x:blocked", added.id().to_string());
    }
    delete.exec(&mut row.redis).expect("Go's deletions");
    let held = row.claim().await;
    row.complete(&held[0]).await;
    for _ in 0..4 {
        assert_eq!(row.state(&last).await, State::Blocked);
        row.promote().await;
    }
    assert_eq!(row.state(&last).await, State::Pending);
    assert_eq!(row.run_all().await, [last]);
    assert_eq!(row.left(), Vec::<String>::new());
}

/// Hints come many times a second, and promotions with them.
#[tokio::test]
async fn who_is_blocked_is_looked_after_once_a_second_however_often_a_promotion_is_asked_for() {
    let mut row = Row::start().await;
    row.add(JobOptions::new()).await;
    row.add(JobOptions::new()).await;
    let looks = |redis: &mut redis::Connection| {
        let stats: String = cmd("INFO").arg("commandstats").query(redis).expect("INFO");
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_srandmember:calls="));
        line.map_or(0, |line| line.split(',').next().unwrap_or_default().parse::<u128>().expect("a number"))
    };
    let began = row.place.env.monotonic();
    for _ in 0..30 {
        row.promote().await;
    }
    let took = row.place.env.monotonic().since(began);
    let looked = looks(&mut row.redis);
    assert!((1..=1 + took.as_millis() / 900).contains(&looked), "{looked} looks in {took:?}");
}

/// Of a list of more than ten thousand nothing is taken out: it is marked there.
#[tokio::test]
async fn a_holder_that_is_cancelled_in_a_long_list_lets_the_next_in_and_waits_when_it_is_redriven() {
    let mut row = Row::start().await;
    let first = row.add(JobOptions::new()).await;
    let second = row.add(JobOptions::new()).await;
    let others: Vec<_> =
        (0..10_001).map(|_| job("x").options(JobOptions::new().queue("q")).build(&row.place.env)).collect();
    row.store.enqueue(others).await.expect("enqueue");
    row.store.operate(&first, &Action::Cancel { reason: "no".into() }).await.expect("cancel");
    assert_eq!(cmd("HGET").arg(Row::task(&first)).arg("x:gone").query::<u8>(&mut row.redis).expect("a mark"), 8);
    assert_eq!(row.state(&second).await, State::Pending);
    row.store.operate(&first, &Action::Redrive).await.expect("redrive");
    assert_eq!(row.state(&first).await, State::Blocked);
    let record = row.store.get(&first).await.expect("get").expect("it is there");
    assert_eq!(record.waits_for, Some(second.clone()));
    row.store.operate(&second, &Action::Delete).await.expect("delete");
    assert_eq!(row.state(&first).await, State::Pending);
}

/// Where hundreds of keys have somebody blocked, not all are looked at each time.
#[tokio::test]
async fn hundreds_of_keys_whose_holders_are_gone_are_let_go_on_before_long() {
    let row = Row::start().await;
    let mut redis = row.place.direct();
    let of = |number: usize| JobOptions::new().queue("q").exclusive(format!("key-{number}"));
    let jobs: Vec<_> = (0..900).map(|number| job("x").options(of(number % 450)).build(&row.place.env)).collect();
    let mut gone = redis::pipe();
    for job in &jobs[..450] {
        gone.del(Row::task(&job.spec.id));
    }
    row.store.enqueue(jobs).await.expect("enqueue");
    gone.exec(&mut redis).expect("DEL");
    let mut times = 0;
    while cmd("EXISTS").arg("asynq:{q}:x:rows").query::<bool>(&mut redis).expect("EXISTS") {
        row.promote().await;
        times += 1;
        assert!(times < 100, "somebody is never looked at");
    }
    assert!(times > 1, "the control: one look was enough");
}

/// A retry comes back by our own promotions; a server of Go's in the same queue may be faster.
#[tokio::test]
async fn a_retry_of_a_key_comes_back_behind_those_who_waited() {
    let mut row = Row::start().await;
    let first = row.add(JobOptions::new()).await;
    let second = row.add(JobOptions::new()).await;
    let held = row.claim().await;
    row.store.finish(vec![ended(held[0].lease(), Verdict::RetryIn(Duration::ZERO))]).await.expect("finish");
    assert_eq!(row.run_all().await, [second, first]);
}
