//! A server whose transactions begin above READ COMMITTED unless they say otherwise: calls that wait for others must see
//! what those have done.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use windlass::{Client, store::Level};

use crate::{application, open, servers::postgres::url};

/// How many want the lock at once: as many as a store has connections.
const MANY: usize = 5;

/// A store in a database of its own, whose default is set by `ALTER DATABASE`.
async fn own_database() -> (String, tokio_postgres::Client, String) {
    let url = url();
    let (admin, name) = application(&url).await;
    admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let (place, schema) = url.split_once('?').unwrap();
    (format!("{}/{name}?{schema}", place.rsplit_once('/').unwrap().0), admin, name)
}

async fn set_default(admin: &tokio_postgres::Client, name: &str, level: &str) {
    let set = format!("ALTER DATABASE {name} SET default_transaction_isolation = '{level}'");
    admin.batch_execute(&set).await.unwrap();
}

/// Has many ask for a lock at the same moment, all of whom looked at what was there before anybody had it. How many got it.
async fn holders(url: &str, client: &Client) -> usize {
    let (sql, schema) = application(url).await;
    let alone = format!("BEGIN ISOLATION LEVEL READ COMMITTED; SELECT {schema}.alone_in_lock('a')");
    sql.batch_execute(&alone).await.unwrap();
    let mut all = Vec::new();
    for _ in 0..MANY {
        let client = client.clone();
        all.push(tokio::spawn(async move { client.lock("a", Duration::from_secs(60)).try_acquire().await.unwrap() }));
    }
    let (watching, _) = application(url).await;
    let wait = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'";
    while watching.query_one(wait, &[]).await.unwrap().get::<_, i64>(0) < MANY as i64 {
        client.env().sleep(Duration::from_millis(10)).await;
    }
    sql.batch_execute("COMMIT").await.unwrap();
    let mut got = Vec::new();
    for one in all {
        got.extend(one.await.unwrap());
    }
    got.len()
}

#[tokio::test]
async fn a_lock_has_one_holder_whatever_the_default_of_the_database_is() {
    for level in ["repeatable read", "serializable"] {
        let (url, admin, name) = own_database().await;
        set_default(&admin, &name, level).await;
        let client = open(&url).await;
        assert_eq!(holders(&url, &client).await, 1, "{level}");
        let check =
            client.checkup().await.into_iter().find(|check| check.name == "isolation").expect("it is looked at");
        assert!(check.level == Level::Ok && check.found.contains(level), "{check:?}");
    }
}

/// Connections that are made from then on have it.
#[tokio::test]
async fn a_default_that_is_changed_while_a_client_works_is_borne_with() {
    let (url, admin, name) = own_database().await;
    let client = open(&url).await;
    set_default(&admin, &name, "repeatable read").await;
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
    admin.query(others, &[&name]).await.unwrap();
    assert_eq!(holders(&url, &client).await, 1);
}

/// The control, and what an application of its own is told.
#[tokio::test]
async fn a_lock_is_refused_in_a_transaction_that_would_not_see_who_has_it() {
    let url = url();
    let _client = open(&url).await;
    let (sql, schema) = application(&url).await;
    sql.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    let error = sql.batch_execute(&format!("SELECT {schema}.alone_in_lock('a')")).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE));
    assert!(error.as_db_error().unwrap().message().contains("READ COMMITTED"), "{error}");
}
