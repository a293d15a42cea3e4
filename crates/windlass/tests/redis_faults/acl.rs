//! Users whom Redis lets do less than everything: hints are no more than hints, and what a user may not do is said in
//! words that name it.

use redis::cmd;
use windlass::{
    Client, DeadReason, Env, JobOptions, JobState as State, NewJob, Verdict,
    store::{
        Cluster, Finished, Inspect, Level, Operate, PromoteRules, Prune, RescueRules, Schedules, ServerInfo, Store,
        StoreError, redis::RedisStore,
    },
    testing::job,
};

use crate::{LEASE, SECOND, claim, ended, entries, servers::Server, soon};

fn admin(server: &Server) -> redis::Connection {
    redis::Client::open(server.url(0)).expect("a URL").get_connection().expect("a connection")
}

/// The URL of a user of this server who has these rights.
fn user(server: &Server, rights: &str) -> String {
    let mut set = cmd("ACL");
    set.arg("SETUSER").arg("w").arg("reset").arg("on").arg(">secret");
    rights.split(' ').for_each(|right| {
        set.arg(right);
    });
    set.exec(&mut admin(server)).expect("ACL SETUSER");
    format!("redis://w:secret@127.0.0.1:{}/0", server.port)
}

fn new(env: &Env, options: JobOptions) -> NewJob {
    job("x").options(options.queue("q")).build(env)
}

/// Jobs that end in each way, and sweeps.
async fn works(store: &RedisStore, env: &Env) {
    let jobs = [JobOptions::new(), JobOptions::new().priority(3), JobOptions::new()];
    store.enqueue(jobs.map(|options| new(env, options)).into()).await.expect("enqueue");
    let jobs = store.claim(&claim(env.new_server_id(), 1, &["q"], 10)).await.expect("claim").jobs;
    assert_eq!(jobs.len(), 3);
    let verdicts = [Verdict::Complete, Verdict::RetryIn(SECOND), Verdict::Bury(DeadReason::Exhausted)];
    let ends = std::iter::zip(&jobs, verdicts).map(|(run, verdict)| ended(run.lease(), verdict)).collect();
    let ends = store.finish(ends).await.expect("finish");
    assert_eq!(ends, [State::Completed, State::Retrying, State::Dead].map(Finished::Applied));
    let exclusive = || new(env, JobOptions::new().exclusive("key"));
    store.enqueue(vec![exclusive(), exclusive()]).await.expect("enqueue");
    store.promote(&PromoteRules::all(10)).await.expect("promote");
    let rules = RescueRules { poison_after: 3, lease: LEASE, limit: 10, ran_late: false };
    store.rescue(&rules).await.expect("rescue");
    store.prune(&Prune::Expired, 10).await.expect("prune");
    store.sweep_unknown(SECOND, 10).await.expect("a sweep");
    store.census().await.expect("census");
}

#[tokio::test]
async fn a_user_who_may_not_publish_works_on_and_is_advised() {
    let server = Server::start();
    let url = user(&server, "~asynq:* +@all resetchannels");
    let env = Env::system();
    let store = RedisStore::open(&url, env.clone()).await.expect("it is only advice");
    works(&store, &env).await;
    let checks = store.checkup().await.expect("checks");
    let hints = checks.iter().find(|check| check.name == "hints").expect("the check");
    assert!(hints.level == Level::Warn && hints.advice.as_deref().unwrap().contains("&asynq:*"), "{hints:?}");
}

/// The guide's line is read here, so it is what was tried.
#[tokio::test]
async fn the_rights_that_the_guide_names_are_enough() {
    let server = Server::start();
    let guide = include_str!("../../docs/asynq.md");
    let line = guide.lines().find_map(|line| line.strip_prefix("ACL SETUSER windlass on >secret "));
    let url = user(&server, line.expect("the guide names the rights"));
    let env = Env::system();
    let store = RedisStore::open(&url, env.clone()).await.expect("open");
    works(&store, &env).await;
    let client = Client::open(&url).await.expect("open");
    entries::add(&client, "nightly", 1).await;
    store.schedules(None, 10).await.expect("schedules");
    store.beat(&ServerInfo::new(env.new_server_id(), env.wall())).await.expect("beat");
    entries::until_shown(&mut admin(&server), &env, 1).await;
    let checks = client.checkup().await;
    assert!(checks.iter().any(|check| check.name == "hints" && check.level == Level::Ok), "{checks:?}");
    let mut wakeups = store.wakeups();
    let other = RedisStore::open(&server.url(0), env.clone()).await.expect("open");
    soon("a hint", async {
        // The first may come before the connection for hints is there.
        loop {
            wakeups.mark_seen();
            other.enqueue(vec![new(&env, JobOptions::new())]).await.expect("enqueue");
            if tokio::time::timeout(SECOND, wakeups.changed()).await.is_ok() {
                break;
            }
        }
    })
    .await;
    let refused: Vec<redis::Value> = cmd("ACL").arg("LOG").query(&mut admin(&server)).expect("ACL LOG");
    assert!(refused.is_empty(), "{refused:?}");
}

#[tokio::test]
async fn what_a_user_may_not_do_is_said_to_be_a_matter_of_the_acl() {
    let server = Server::start();
    let env = Env::system();
    for missing in ["-zadd", "-evalsha"] {
        let store = RedisStore::open(&user(&server, "~asynq:* &asynq:* +@all"), env.clone()).await.expect("open");
        cmd("ACL").arg("SETUSER").arg("w").arg(missing).exec(&mut admin(&server)).expect("ACL SETUSER");
        let refused = store.enqueue(vec![new(&env, JobOptions::new().process_in(LEASE))]).await.expect_err(missing);
        assert!(matches!(&refused, StoreError::Invalid(words) if words.contains("ACL")), "{missing}: {refused:?}");
    }
}
