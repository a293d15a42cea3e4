//! A primary and its standby, which takes over: who named both in the URL goes on with the new one; a server that takes no
//! writes is refused; no fence comes twice.

use tokio_postgres::NoTls;
use windlass::{
    JobState as State, Verdict,
    store::{Create, Finished, Inspect, RescueRules, Store, StoreError, postgres::PostgresStore},
    testing::job,
};

use crate::{LEASE, Place, SECOND, claim, connect, ended, of, servers::postgres::Server, soon, until_answered};

/// A primary, and a standby that has confirmed whatever the primary has acknowledged.
async fn pair() -> (Server, Server) {
    let primary = Server::start();
    let primary_and = tokio::task::spawn_blocking(move || {
        let standby = primary.follow();
        (primary, standby)
    });
    let (primary, standby) = primary_and.await.unwrap();
    let (client, connection) = tokio_postgres::connect(&primary.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    soon("the standby follows", async {
        let follows = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        while client.query_one(follows, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            windlass::Env::system().sleep(SECOND / 50).await;
        }
    })
    .await;
    (primary, standby)
}

fn both(primary: &Server, standby: &Server, schema: &str) -> String {
    let (first, second) = (primary.port, standby.port);
    format!("postgres://windlass@127.0.0.1:{first},127.0.0.1:{second}/postgres?schema={schema}&timeout=5s")
}

#[tokio::test]
async fn after_a_fail_over_work_goes_on_at_the_new_primary_and_no_fence_comes_twice() {
    let (mut primary, standby) = pair().await;
    let place = Place::on(primary.port).await;
    let env = place.env.clone();
    let url = both(&primary, &standby, "jobs");
    let store = PostgresStore::open(&url, Create::IfMissing, env.clone()).await.expect("open");
    let refused = PostgresStore::open(&of(standby.port, "jobs"), Create::IfMissing, env.clone()).await;
    let told = refused.err().map(|error| error.to_string());
    assert!(told.as_ref().is_some_and(|text| text.contains("does not allow writes")), "{told:?}");

    let jobs: Vec<_> = (0..4).map(|_| job("x").build(&env)).collect();
    store.enqueue(jobs).await.unwrap();
    let (server, other) = (env.new_server_id(), env.new_server_id());
    let claimed = store.claim(&claim(server, 1, 2)).await.unwrap().jobs;
    assert_eq!(claimed.len(), 2);
    // This waits for the standby, and so for the claim that was committed before it.
    assert!(matches!(
        store.finish(vec![ended(claimed[0].lease(), Verdict::Complete)]).await.unwrap()[0],
        Finished::Applied(State::Completed)
    ));

    primary.kill();
    let new = connect(standby.port, "jobs").await;
    new.query_one("SELECT pg_promote()", &[]).await.unwrap();
    let again = claim(other, 1, 1);
    let (later, _) = until_answered(&env, async || store.claim(&again).await).await;
    assert_eq!((later.jobs.len(), store.census().await.unwrap().enqueued), (1, 4), "nothing is lost");
    assert!(later.jobs[0].fence > claimed[1].fence, "fences rise over the fail-over");
    // Another start of the server: nobody is rescued for a moment, and who lives may end what it holds.
    let rules = RescueRules { poison_after: 3, lease: LEASE, limit: 10, ran_late: false };
    assert_eq!(store.rescue(&rules).await.unwrap().jobs.len(), 0);
    let ends = store.finish(vec![ended(claimed[1].lease(), Verdict::Complete)]).await.unwrap();
    assert_eq!(ends, [Finished::Applied(State::Completed)]);
    let ends = store.finish(vec![ended(claimed[0].lease(), Verdict::Complete)]).await.unwrap();
    assert_eq!(ends, [Finished::Stale], "what had ended before has ended");
}

/// Some managed servers become a copy without a restart: their connections stay, and refuse to write.
#[tokio::test]
async fn a_connection_to_a_server_that_takes_no_writes_any_more_is_given_up() {
    let (old, new) = tokio::task::spawn_blocking(|| (Server::start(), Server::start())).await.unwrap();
    let place = Place::on(old.port).await;
    let url = both(&old, &new, &place.schema);
    let store = PostgresStore::open(&url, Create::IfMissing, place.env.clone()).await.expect("open");
    // What a standby would have.
    PostgresStore::open(&of(new.port, &place.schema), Create::IfMissing, place.env.clone()).await.expect("open");
    store.census().await.unwrap();
    let (admin, connection) = tokio_postgres::connect(&old.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    admin.batch_execute("ALTER SYSTEM SET default_transaction_read_only = on").await.unwrap();
    admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    soon("it takes no writes", async {
        while admin.query_one("SELECT current_setting('transaction_read_only')", &[]).await.unwrap().get::<_, &str>(0)
            != "on"
        {
            place.env.sleep(SECOND / 50).await;
        }
    })
    .await;
    let jobs = vec![job("x").build(&place.env)];
    let (_, times) = until_answered(&place.env, async || store.enqueue(jobs.clone()).await).await;
    assert!(times <= 2, "it was asked {times} times");
    let there = connect(new.port, &place.schema).await;
    assert_eq!(there.query_one("SELECT count(*) FROM job", &[]).await.unwrap().get::<_, i64>(0), 1);
    // With one host alone there is nowhere to go, which is said.
    let refused = PostgresStore::open(&place.direct_url(), Create::Never, place.env.clone()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))));
}
