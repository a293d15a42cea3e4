//! The order in which jobs came in: what it says of jobs that are gone is dropped, whoever ended them, and what it says
//! of those that are there stays. Time is moved by hand; Go's part is played by `DEL`.

use std::time::Duration;

use redis::cmd;
use windlass::{
    Env, JobFilter, JobId, JobOptions,
    store::{Inspect, Operate, Prune, Store, redis::RedisStore},
    testing::{ManualClock, job},
};

use crate::servers::Server;

/// Long enough that a page counts as settled.
const SETTLED: Duration = Duration::from_secs(11);

struct Order {
    _server: Server,
    redis: redis::Connection,
    clock: ManualClock,
    env: Env,
    store: RedisStore,
}

impl Order {
    async fn open() -> Self {
        let server = Server::start();
        let redis = redis::Client::open(server.url(0)).expect("a URL").get_connection().expect("a connection");
        let clock = ManualClock::seeded(1);
        let env = clock.env();
        let store = RedisStore::open_on_clock_of(&server.url(0), env.clone()).await.expect("open");
        Self { _server: server, redis, clock, env, store }
    }

    async fn add(&self, many: usize) -> Vec<JobId> {
        let jobs: Vec<_> = (0..many).map(|_| job("x").options(JobOptions::new()).build(&self.env)).collect();
        let ids = jobs.iter().map(|job| job.spec.id.clone()).collect();
        self.store.enqueue(jobs).await.expect("enqueue");
        ids
    }

    /// What Asynq leaves of jobs that its workers have completed.
    fn complete_as_go(&mut self, ids: &[JobId]) {
        let mut pipe = redis::pipe();
        for id in ids {
            pipe.cmd("DEL").arg(format!("asynq:{{default}}:t:{id}")).ignore();
            pipe.cmd("LREM").arg("asynq:{default}:pending").arg(1).arg(id.to_string()).ignore();
        }
        pipe.exec(&mut self.redis).expect("gone");
    }

    /// Bytes of all pages.
    fn pages(&mut self) -> usize {
        let pages: Vec<Vec<u8>> =
            cmd("ZRANGE").arg("asynq:{default}:x:order").arg(0).arg(-1).query(&mut self.redis).expect("pages");
        pages.iter().map(Vec::len).sum()
    }

    /// All ids that are listed, by pages of three.
    async fn listed(&self) -> Vec<JobId> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.list(&JobFilter::default(), after, 3).await.expect("list");
            all.extend(page.items.into_iter().map(|job| job.spec.id.clone()));
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    }
}

#[tokio::test]
async fn a_sweep_drops_what_is_gone_and_keeps_what_is_there() {
    let mut order = Order::open().await;
    let gone = order.add(1200).await;
    let some = order.add(10).await;
    order.complete_as_go(&gone);
    order.complete_as_go(&some[2..9]);
    assert_eq!(order.listed().await, [&some[..2], &some[9..]].concat(), "what is gone is listed no more");
    let before = order.pages();
    assert!(before > 1200 * 36, "the control: the pages are there");
    order.clock.advance(SETTLED);
    order.store.prune(&Prune::Expired, 500).await.expect("prune");
    let after = order.pages();
    assert!(after < 200, "{before} to {after}");
    assert_eq!(order.listed().await, [&some[..2], &some[9..]].concat());
    order.complete_as_go(&some);
    order.clock.advance(SETTLED * 60);
    order.store.prune(&Prune::Expired, 500).await.expect("prune");
    assert_eq!(order.pages(), 0, "what was there at the first look is looked at again");
}

#[tokio::test]
async fn an_id_that_comes_in_again_is_listed_once_and_last() {
    let mut order = Order::open().await;
    let named = |order: &Order, id: &str| job("x").options(JobOptions::new().id(id)).build(&order.env);
    order.store.enqueue(vec![named(&order, "a"), named(&order, "b")]).await.expect("enqueue");
    let [a, b]: [JobId; 2] = ["a", "b"].map(|id| id.parse().expect("an id"));
    order.complete_as_go(std::slice::from_ref(&a));
    let c = order.add(1).await.remove(0);
    order.store.enqueue(vec![named(&order, "a")]).await.expect("enqueue");
    assert_eq!(order.listed().await, [b, c, a]);
}

#[tokio::test]
async fn what_is_gone_is_dropped_after_the_clock_was_set_back_by_a_day() {
    let mut order = Order::open().await;
    order.clock.step_wall_forward(Duration::from_secs(86_400));
    order.add(1).await;
    order.clock.step_wall_back(Duration::from_secs(86_400));
    let gone = order.add(1200).await;
    order.complete_as_go(&gone);
    order.clock.advance(SETTLED);
    order.store.prune(&Prune::Expired, 500).await.expect("prune");
    assert!(order.pages() < 200, "{} bytes of pages are left", order.pages());
}

/// As after a way back to Asynq, and forth again.
#[tokio::test]
async fn jobs_whose_pages_were_lost_are_listed_again() {
    let mut order = Order::open().await;
    let ids = order.add(5).await;
    cmd("DEL").arg("asynq:{default}:x:order").arg("asynq:{default}:x:q").exec(&mut order.redis).expect("DEL");
    let last = order.add(1).await;
    let listed = order.listed().await;
    assert_eq!(listed[0], last[0], "the others come after what has a page");
    let set = |ids: Vec<JobId>| ids.into_iter().collect::<std::collections::BTreeSet<_>>();
    assert_eq!((listed.len(), set(listed)), (6, set([ids, last].concat())));
}

/// Clients of ours enqueue, Go's workers run, and no server of ours is there to sweep.
#[tokio::test]
async fn clients_drop_what_go_has_completed() {
    let mut order = Order::open().await;
    let host = Env::system();
    let few = 20 * 500 * 40;
    let mut most = 0;
    for second in 0..60 {
        let ids = order.add(500).await;
        order.complete_as_go(&ids);
        order.clock.advance(Duration::from_secs(1));
        most = most.max(order.pages());
        // What a call has started goes on by itself.
        for _ in 0..500 {
            if order.pages() < few {
                break;
            }
            host.sleep(Duration::from_millis(10)).await;
        }
        assert!(order.pages() < few, "{} bytes of pages are left in second {second}", order.pages());
    }
    assert!(most > 8 * 500 * 36, "the control: nothing young is looked at");
}
