//! A pooler of transactions between a server and Postgres. The whole conformance suite goes through one in
//! `tests/conformance.rs`; here a server works.

use tokio_postgres::NoTls;

use crate::{
    SECOND, open, servers,
    servers::pgbouncer::PgBouncer,
    work::{Work, add},
};

#[tokio::test]
async fn a_server_works_thousands_of_jobs_through_a_pooler_of_transactions() {
    let url = servers::pgbouncer::url();
    let work = Work::with(open(&url).await, |server| server.poll_interval(SECOND / 5)).await;
    work.add(5000, 250).await;
    work.exact(5000, false).await;
    work.server.shutdown().await;
}

/// Each call then says at which level it runs, along with what it asks, and leaves nothing of that to the connection.
#[tokio::test]
async fn so_it_does_where_transactions_begin_above_read_committed() {
    let server = servers::postgres::Server::start();
    let (admin, connection) = tokio_postgres::connect(&server.url(), NoTls).await.expect("connect");
    tokio::spawn(connection);
    admin.batch_execute("ALTER ROLE windlass SET default_transaction_isolation = 'serializable'").await.unwrap();
    let pooler = PgBouncer::before(server.port);
    let url = format!("{}?notify=off&timeout=30s", pooler.url());
    let work = Work::with(open(&url).await, |server| server.poll_interval(SECOND / 5)).await;
    work.add(2000, 250).await;
    work.exact(2000, false).await;
    work.server.shutdown().await;
}

/// Who forgets to say `notify=off` there is told nothing, and loses nothing.
#[tokio::test]
async fn notices_that_a_pooler_swallows_are_only_missed() {
    let url = servers::pgbouncer::url().replace("&notify=off", "");
    let here = open(&url).await;
    let work = Work::with(open(&url).await, |server| server.poll_interval(SECOND / 5)).await;
    let client = windlass::Client::builder().on(std::sync::Arc::new(here));
    add(&client, 200, 10).await;
    work.exact(200, false).await;
    work.server.shutdown().await;
}

/// The control of both, and of the suite: this pooler keeps no session.
#[tokio::test]
async fn what_lives_in_a_session_is_lost_in_this_pooler() {
    let pooler = PgBouncer::before(servers::postgres::own().port);
    let connect = async || {
        let (client, connection) = tokio_postgres::connect(&pooler.url(), NoTls).await.expect("connect");
        tokio::spawn(connection);
        client
    };
    let (one, mut other) = (connect().await, connect().await);
    one.batch_execute("SET work_mem = '77MB'").await.unwrap();
    // It gets the connection that the other one has just left.
    let busy = other.transaction().await.unwrap();
    let shown = async |client: &tokio_postgres::Client| {
        let rows = client.simple_query("SHOW work_mem").await.unwrap();
        rows.iter().find_map(|row| match row {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
    };
    assert_ne!(shown(&one).await.as_deref(), Some("77MB"));
    busy.rollback().await.unwrap();
}
