//! A process of the server is killed: it ends all others and recovers without another start, and what was committed without
//! waiting for the disk is gone.

use std::process::Command;

use windlass::{
    JobState as State, Verdict,
    store::{Create, Finished, Store, postgres::PostgresStore},
    testing::job,
};

use crate::{Place, claim, connect, ended, of, servers::postgres::Server, until_answered};

#[tokio::test]
async fn a_claim_that_a_crash_took_away_is_nobodys_and_no_fence_comes_twice() {
    // Nothing is written before somebody waits for it, but for whole pages of the log, and a claim may be the end of one.
    for _ in 0..5 {
        if a_crash_takes_a_claim_away().await {
            return;
        }
    }
    panic!("no claim was lost with the server's memory");
}

/// Whether the claim was lost; then nobody holds its job.
async fn a_crash_takes_a_claim_away() -> bool {
    let server = tokio::task::spawn_blocking(|| Server::start_with("-c wal_writer_delay=10s")).await.unwrap();
    let place = Place::on(server.port).await;
    let env = &place.env;
    let url = of(server.port, &place.schema);
    let store = PostgresStore::open(&url, Create::IfMissing, env.clone()).await.expect("open");
    store.enqueue(vec![job("x").build(env)]).await.unwrap();
    let first = store.claim(&claim(env.new_server_id(), 1, 1)).await.unwrap().jobs;
    assert_eq!(first.len(), 1);

    let database = connect(server.port, &place.schema).await;
    let process: i32 = database.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let killed = Command::new("kill").args(["-9", &process.to_string()]).status().unwrap();
    assert!(killed.success());

    let again = claim(env.new_server_id(), 1, 1);
    let (second, _) = until_answered(env, async || store.claim(&again).await).await;
    let Some(second) = second.jobs.first() else { return false };
    assert!(second.fence > first[0].fence, "{:?} after {:?}", second.fence, first[0].fence);
    let ends = store.finish(vec![ended(first[0].lease(), Verdict::Complete)]).await.unwrap();
    assert_eq!(ends, [Finished::Stale]);
    let ends = store.finish(vec![ended(second.lease(), Verdict::Complete)]).await.unwrap();
    assert_eq!(ends, [Finished::Applied(State::Completed)]);
    true
}
