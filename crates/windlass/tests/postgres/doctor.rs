//! What the doctor finds wrong with tables, and that it finds nothing in a healthy store.

use std::time::Duration;

use tokio_postgres::IsolationLevel;
use windlass::{
    Client,
    store::{Check, Level},
};

use crate::{application, job, open, servers::postgres::url};

async fn found(client: &Client, name: &str) -> Check {
    let checks = client.checkup().await;
    checks.into_iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no check `{name}`"))
}

#[tokio::test]
async fn a_healthy_store_has_nothing_that_fails_and_each_fault_of_its_tables_is_found() {
    let url = url();
    let client = open(&url).await;
    let (sql, schema) = application(&url).await;
    client.enqueue(job("a")).await.unwrap();
    let names =
        ["version", "role", "encoding", "schema", "connections", "autovacuum", "vacuum", "indexes", "fold", "counters"];
    for check in client.checkup().await {
        // Nobody works here.
        assert!(check.level < Level::Fail || check.name == "servers", "{check:?}");
        assert!(check.level == Level::Ok || !names.contains(&check.name), "{check:?}");
    }
    for (name, level, fault, cure, word) in [
        ("indexes", Level::Fail, "DROP INDEX S.job_due", None, "CREATE INDEX job_due"),
        (
            "counters",
            Level::Fail,
            "UPDATE S.line SET pending = pending + 1",
            Some("UPDATE S.line SET pending = pending - 1"),
            "windlass",
        ),
        (
            "autovacuum",
            Level::Warn,
            "ALTER TABLE S.job SET (autovacuum_enabled = off)",
            Some("ALTER TABLE S.job RESET (autovacuum_enabled)"),
            "our tables",
        ),
        (
            "schema",
            Level::Warn,
            "INSERT INTO S.migration (version, min_compatible) VALUES (9, 1)",
            Some("DELETE FROM S.migration WHERE version = 9"),
            "upgrade",
        ),
    ] {
        sql.batch_execute(&fault.replace("S.", &format!("{schema}."))).await.unwrap();
        let check = found(&client, name).await;
        assert_eq!(check.level, level, "{check:?}");
        let advice = check.advice.unwrap_or_default().to_string();
        assert!(advice.contains(word), "{advice}");
        // An index is made again by the advice itself.
        let cure = cure.map_or_else(
            || advice[advice.find("CREATE").unwrap()..].to_owned(),
            |cure| cure.replace("S.", &format!("{schema}.")),
        );
        sql.batch_execute(&cure).await.unwrap();
        assert_eq!(found(&client, name).await.level, Level::Ok);
    }
}

/// In a database of its own, since nobody else's transactions count there.
#[tokio::test]
async fn whoever_keeps_dead_rows_is_named() {
    let url = url();
    let (admin, name) = application(&url).await;
    admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let (place, schema) = url.split_once('?').unwrap();
    let url = format!("{}/{name}?{schema}", place.rsplit_once('/').unwrap().0);
    let client = open(&url).await;
    let (mut sql, schema) = application(&url).await;
    assert_eq!(found(&client, "horizon").await.found, "nobody keeps dead rows");
    sql.batch_execute("SET application_name = 'long report'").await.unwrap();
    let tx = sql.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await.unwrap();
    tx.batch_execute(&format!("SELECT 1 FROM {schema}.job")).await.unwrap();
    let horizon = found(&client, "horizon").await;
    assert!(
        horizon.found.contains("(long report, user ") && horizon.found.contains("keeps dead rows for "),
        "{horizon:?}"
    );
    assert_eq!(horizon.level, Level::Ok, "not for long yet");
    tx.rollback().await.unwrap();
    assert_eq!(found(&client, "horizon").await.found, "nobody keeps dead rows");
}

#[tokio::test]
async fn dead_rows_that_nobody_removes_are_found() {
    let url = url();
    let client = open(&url).await;
    let (sql, schema) = application(&url).await;
    assert_eq!(found(&client, "vacuum").await.level, Level::Ok);
    let dead = format!(
        "ALTER TABLE {schema}.flush SET (autovacuum_enabled = off);
        INSERT INTO {schema}.flush SELECT n::text, 0 FROM generate_series(1, 20000) AS n;
        DELETE FROM {schema}.flush"
    );
    sql.batch_execute(&dead).await.unwrap();
    // The server tells of it a little later.
    let told = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let check = found(&client, "vacuum").await;
            if check.level == Level::Warn {
                return check;
            }
            sql.batch_execute("SELECT pg_sleep(0.05)").await.unwrap();
        }
    });
    let check = told.await.expect("it is told of");
    assert!(check.found.contains("flush: 20000 dead rows beside 0 live, never vacuumed"), "{check:?}");
    assert!(check.advice.unwrap().contains(&format!("VACUUM {schema}.flush")));
}
