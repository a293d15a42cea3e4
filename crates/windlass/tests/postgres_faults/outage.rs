//! A server goes on by itself through half-open connections, cuts, terminated backends, a server without room and
//! outages; nothing is lost, nothing runs twice and nothing is stuck.

use windlass::{
    EventKind, Health, JobState as State,
    store::{Create, Inspect, Operate, Store, StoreError, postgres::PostgresStore},
    testing::job,
};

use crate::{
    Place, SECOND, connect, of, open,
    proxy::Lose,
    servers::postgres::Server,
    soon, until_answered,
    work::{Work, add},
};

#[tokio::test]
async fn half_open_connections_are_given_up_in_time_and_the_next_call_works() {
    let place = Place::start().await;
    let store = place.open("notify=off&timeout=400ms").await;
    // As many as the pool holds.
    let looks = (0..5).map(|_| store.census());
    futures_util::future::join_all(looks).await.into_iter().for_each(|look| drop(look.expect("census")));
    let jobs = vec![job("x").build(&place.env)];
    place.proxy.leave_half_open();
    let refused = soon("an answer", store.enqueue(jobs.clone())).await.expect_err("nobody can know");
    assert!(refused.is_retryable(), "{refused}");
    let (_, times) = until_answered(&place.env, async || store.enqueue(jobs.clone()).await).await;
    assert_eq!((times, store.census().await.unwrap().enqueued), (1, 1));
}

/// The control: what ends the wait is our own limit, and nothing else would.
#[tokio::test]
async fn without_a_limit_of_our_own_a_half_open_connection_would_be_waited_for() {
    let place = Place::start().await;
    let store = place.open("notify=off&timeout=1h").await;
    place.proxy.leave_half_open();
    let waited = tokio::time::timeout(2 * SECOND, store.census()).await;
    assert!(waited.is_err(), "it ended without an answer: {waited:?}");
}

/// The connection for hints says nothing when nothing happens, so it must be asked.
#[tokio::test]
async fn hints_come_again_after_their_half_open_connection_was_given_up() {
    let place = Place::start().await;
    let store = place.open("timeout=300ms").await;
    let other = open(&place.direct_url()).await;
    soon("it listens", hears(&place, &store, &other)).await;
    let mut wakeups = store.wakeups();
    wakeups.mark_seen();
    place.proxy.deafen();
    // The end of the old connection wakes, and so does the new one when it is there.
    soon("the connection is given up", wakeups.changed()).await;
    for _ in 0..2 {
        // The new one wakes for being there; the next is a hint.
        soon("there is a new one", hears(&place, &store, &other)).await;
    }
}

/// Waits until a hint of the other store's comes in time.
async fn hears(place: &Place, store: &PostgresStore, other: &PostgresStore) {
    let mut wakeups = store.wakeups();
    loop {
        wakeups.mark_seen();
        other.enqueue(vec![job("x").build(&place.env)]).await.unwrap();
        // Less than the time after which a silent connection is asked.
        if tokio::time::timeout(SECOND / 5, wakeups.changed()).await.is_ok() {
            break;
        }
    }
}

#[tokio::test]
async fn while_the_connection_for_hints_is_deaf_polling_finds_the_jobs() {
    let place = Place::start().await;
    let work = Work::with(place.open("timeout=1h").await, |server| server.poll_interval(SECOND / 5)).await;
    soon("the first have ended", async {
        work.add(1, 1).await;
        work.log.wait_count(EventKind::Finished, 1).await;
    })
    .await;
    place.proxy.deafen();
    let direct = open(&place.direct_url()).await;
    let late = job("x").with(|options| options.retention(100 * SECOND)).build(&place.env);
    let id = late.spec.id.clone();
    direct.enqueue(vec![late]).await.unwrap();
    soon("it is found", work.log.wait(&id, EventKind::Finished)).await;
    work.exact(2, false).await;
    work.server.shutdown().await;
}

#[tokio::test]
async fn a_server_goes_on_over_connections_that_are_cut_at_every_kind_of_call() {
    let place = Place::start().await;
    let work = Work::on(place.open("timeout=5s").await).await;
    let mut lost = place.proxy.lost();
    let client = work.client.clone();
    let adding = add(&client, 300, 1);
    tokio::pin!(adding);
    let mut losses = 0;
    loop {
        let point = losses * 5 % 17;
        place.proxy.lose(if losses % 3 == 0 { Lose::Request(point) } else { Lose::Reply(point) });
        tokio::select! {
            () = &mut adding => break,
            _ = lost.changed() => losses += 1,
        }
    }
    place.proxy.keep();
    assert!(losses > 5, "the control: {losses} were lost");
    work.exact(300, false).await;
    work.server.shutdown().await;
}

#[tokio::test]
async fn a_storm_that_terminates_all_backends_costs_a_working_server_nothing() {
    let place = Place::start().await;
    let name = format!("victim_{}", place.schema);
    let work = Work::on(place.open(&format!("application_name={name}")).await).await;
    let database = place.database().await;
    let storm =
        format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = '{name}'");
    let client = work.client.clone();
    let adding = add(&client, 2000, 10);
    tokio::pin!(adding);
    let mut terminated = 0;
    loop {
        tokio::select! {
            () = &mut adding => break,
            () = place.env.sleep(SECOND / 10) => {
                terminated += database.query_one(&storm, &[]).await.unwrap().get::<_, i64>(0);
            }
        }
    }
    assert!(terminated > 5, "the control: {terminated} were terminated");
    work.exact(2000, false).await;
    work.server.shutdown().await;
}

#[tokio::test]
async fn calls_wait_for_a_busy_pool_say_so_in_the_end_and_work_again() {
    let place = Place::start().await;
    let store = place.open("notify=off&pool=1&timeout=1s").await;
    let waits = vec![job("x").build(&place.env)];
    let id = waits[0].spec.id.clone();
    store.enqueue(waits).await.unwrap();
    let mut database = place.database().await;
    let lock = database.transaction().await.unwrap();
    lock.query("SELECT 1 FROM job FOR UPDATE", &[]).await.unwrap();
    let (held, behind) = tokio::join!(store.operate(&id, &windlass::Action::Delete), async {
        place.env.sleep(SECOND / 10).await;
        // It waits as long for the connection as the other one for its answer, less what that one began earlier.
        store.census().await
    });
    assert!(held.as_ref().is_err_and(StoreError::is_retryable), "{held:?}");
    assert!(
        behind.as_ref().is_ok_and(|census| census.enqueued == 1) || behind.is_err_and(|error| error.is_retryable())
    );
    lock.rollback().await.unwrap();
    until_answered(&place.env, async || store.operate(&id, &windlass::Action::Delete).await).await;
    assert_eq!(store.get(&id).await.unwrap().map(|job| job.state), None);
}

#[tokio::test]
async fn a_server_without_room_for_connections_is_named_and_used_once_it_has_some() {
    let arguments = "-c max_connections=12 -c superuser_reserved_connections=0 -c max_wal_senders=0";
    let server = Server::start_with(arguments);
    let place = Place::on(server.port).await;
    let work = Work::on(place.open("pool=2&timeout=2s").await).await;
    work.add(1, 1).await;
    soon("it works", work.log.wait_count(EventKind::Finished, 1)).await;
    place.proxy.away(true);
    let mut others = Vec::new();
    while let Ok((client, connection)) = tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await {
        tokio::spawn(connection);
        others.push(client);
    }
    place.proxy.away(false);
    let refused = PostgresStore::open(&place.url(""), Create::Never, place.env.clone()).await;
    let told = refused.err().map(|error| (error.is_retryable(), error.to_string()));
    assert!(matches!(&told, Some((true, text)) if text.contains("too many clients")), "{told:?}");
    assert_eq!(work.log.count(EventKind::Finished), 1);
    drop(others);
    work.add(10, 1).await;
    work.exact(11, false).await;
    work.server.shutdown().await;
}

/// A few seconds; `WINDLASS_OUTAGE_SECONDS` says how many.
#[tokio::test]
async fn a_server_goes_on_by_itself_after_an_outage_of_postgres() {
    let seconds = std::env::var("WINDLASS_OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let mut server = Server::start();
    let place = Place::on(server.port).await;
    let work = Work::on(place.open("timeout=2s").await).await;
    work.add(20, 1).await;
    soon("the first have ended", work.log.wait_count(EventKind::Finished, 20)).await;
    server.stop();
    let client = work.client.clone();
    let adding = tokio::spawn(async move { add(&client, 1, 1).await });
    place.env.sleep(seconds * SECOND).await;
    assert!(!adding.is_finished() && !work.server.health().store_up, "the control: it is away");
    server.start_again();
    soon("it comes in", adding).await.unwrap();
    work.exact(21, false).await;
    assert!(work.server.health().store_up);
    work.server.shutdown().await;
}

#[tokio::test]
async fn a_process_can_end_while_postgres_is_away() {
    let mut server = Server::start();
    let place = Place::on(server.port).await;
    let limited = |server: windlass::Server| server.shutdown_timeout(SECOND).grace(SECOND);
    let work = Work::with(place.open("timeout=2s").await, limited).await;
    work.add(20, 1).await;
    soon("they have ended", work.log.wait_count(EventKind::Finished, 20)).await;
    server.stop();
    soon("it is known", async {
        while matches!(work.server.health(), Health { store_up: true, .. }) {
            place.env.sleep(SECOND / 20).await;
        }
    })
    .await;
    tokio::time::timeout(10 * SECOND, work.server.shutdown()).await.expect("it ends");
    server.start_again();
    let database = connect(server.port, &place.schema).await;
    let left = database.query_one("SELECT count(*) FROM job", &[]).await.unwrap();
    assert_eq!(left.get::<_, i64>(0), 0);
    let store = open(&of(server.port, &place.schema)).await;
    let completed = store.census().await.unwrap().queues[0].by_state[State::Completed.code() as usize];
    assert_eq!(completed, 20);
}
