//! A server whose transactions begin above READ COMMITTED unless they say otherwise: calls that wait for others must see
//! what those have done.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio_postgres::error::SqlState;
use windlass::{Client, store::Level};

use crate::{application, open, servers::postgres::url};

/// How many want the lock at once.
const MANY: u32 = 25;

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

/// Each of many reads a number under the lock, and writes it back one higher. What the number is then.
async fn counted(client: &Client) -> u32 {
    let number = Arc::new(AtomicU32::new(0));
    let mut all = Vec::new();
    for _ in 0..MANY {
        let (client, number) = (client.clone(), number.clone());
        all.push(tokio::spawn(async move {
            let lock = client.lock("number", Duration::from_secs(5));
            let guard = lock.acquire_within(Duration::from_secs(60)).await.unwrap().expect("its turn");
            let read = number.load(Ordering::SeqCst);
            client.env().sleep(Duration::from_millis(5)).await;
            number.store(read + 1, Ordering::SeqCst);
            guard.release().await.unwrap();
        }));
    }
    for one in all {
        one.await.unwrap();
    }
    number.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_lock_has_one_holder_whatever_the_default_of_the_database_is() {
    for level in ["repeatable read", "serializable"] {
        let (url, admin, name) = own_database().await;
        set_default(&admin, &name, level).await;
        let client = open(&url).await;
        assert_eq!(counted(&client).await, MANY, "{level}");
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
    assert_eq!(counted(&client).await, MANY);
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
