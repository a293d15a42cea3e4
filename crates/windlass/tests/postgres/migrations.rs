//! The tables' versions: made and taken away by text, shared with newer programs, and who may make them.

use std::time::Duration;

use tokio::sync::mpsc::unbounded_channel;
use tokio_postgres::Client as Sql;
use windlass::{
    Client, Error, JobError, RawJob, Router, Server as Worker, StoreError,
    store::{Check, Level, Prune, Schema},
};

use crate::{
    application, enqueued, job, open,
    servers::postgres::{Server, url},
};

/// All that a schema holds, as the server says it, with the schema's name taken out.
async fn catalog(sql: &Sql, schema: &str) -> Vec<String> {
    let all = "
        SELECT 'function ' || pg_get_functiondef(p.oid) FROM pg_proc AS p WHERE p.pronamespace = to_regnamespace($1)
        UNION ALL SELECT 'relation ' || concat_ws(' ', c.relkind, c.relname, c.reloptions) FROM pg_class AS c
            WHERE c.relnamespace = to_regnamespace($1)
        UNION ALL SELECT 'view ' || pg_get_viewdef(c.oid) FROM pg_class AS c
            WHERE c.relnamespace = to_regnamespace($1) AND c.relkind = 'v'
        UNION ALL SELECT 'column ' || concat_ws(' ', c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod),
            a.attnotnull, pg_get_expr(d.adbin, d.adrelid))
            FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
            LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
            WHERE c.relnamespace = to_regnamespace($1) AND a.attnum > 0
        UNION ALL SELECT 'index ' || pg_get_indexdef(x.indexrelid) FROM pg_index AS x JOIN pg_class AS c ON c.oid = x.indrelid
            WHERE c.relnamespace = to_regnamespace($1)
        UNION ALL SELECT 'constraint ' || concat_ws(' ', k.conname, pg_get_constraintdef(k.oid)) FROM pg_constraint AS k
            WHERE k.connamespace = to_regnamespace($1)
        UNION ALL SELECT 'schema' WHERE to_regnamespace($1) IS NOT NULL
        ORDER BY 1";
    let rows = sql.query(all, &[&schema]).await.expect("the catalog");
    rows.iter().map(|row| row.get::<_, String>(0).replace(schema, "S")).collect()
}

#[tokio::test]
async fn the_text_makes_what_opening_makes_and_takes_all_of_it_away() {
    let (opened, printed) = (url(), url());
    open(&opened).await;
    let (sql, one) = application(&opened).await;
    let (_, other) = application(&printed).await;
    let schema = Schema::look(&printed).await.unwrap();
    assert_eq!((schema.status().version, schema.status().usable), (0, false));
    sql.batch_execute(&schema.sql(schema.status().known, false).unwrap()).await.unwrap();
    let made = catalog(&sql, &one).await;
    assert!(made.len() > 100, "the control: there is a lot");
    assert_eq!(catalog(&sql, &other).await, made);
    // It is a store like any other one, for those who may not make one, too.
    let client = open(&format!("{printed}&migrate=off")).await;
    client.enqueue(job("a")).await.unwrap();
    client.delete(&"a".parse().unwrap()).await.unwrap();
    drop(client);
    // The same text once more finds that it comes too late.
    assert!(sql.batch_execute(&schema.sql(1, false).unwrap()).await.is_err());
    sql.batch_execute("ROLLBACK").await.unwrap();
    let schema = Schema::look(&printed).await.unwrap();
    assert!(schema.status().usable && schema.status().pending.is_empty());
    sql.batch_execute(&schema.sql(0, false).unwrap()).await.unwrap();
    assert!(catalog(&sql, &other).await.is_empty());
    assert_eq!(catalog(&sql, &one).await, made, "the store beside it is as it was");
}

#[tokio::test]
async fn a_store_that_holds_something_is_only_taken_away_by_force_and_never_what_is_not_ours() {
    let url = url();
    let client = open(&url).await;
    let (sql, name) = application(&url).await;
    client.enqueue(job("a")).await.unwrap();
    let schema = Schema::look(&url).await.unwrap();
    assert_eq!(schema.held().await.unwrap().jobs, 1);
    let refused = schema.migrate(0, false).await;
    assert!(matches!(&refused, Err(StoreError::Invalid(text)) if text.contains("holds jobs")), "{refused:?}");
    client.delete(&"a".parse().unwrap()).await.unwrap();
    let router = Router::new().at("work", |_: RawJob| async { Ok::<_, JobError>(()) });
    let worker = Worker::new(&client, router).start().await.unwrap();
    assert_eq!(schema.held().await.unwrap().servers, 1);
    let refused = schema.migrate(0, false).await;
    assert!(matches!(&refused, Err(StoreError::Invalid(text)) if text.contains("servers work")), "{refused:?}");
    worker.shutdown().await;
    sql.batch_execute(&format!("CREATE TABLE {name}.mine (x int)")).await.unwrap();
    let refused = schema.migrate(0, true).await;
    assert!(matches!(&refused, Err(StoreError::Invalid(text)) if text.contains("mine")), "{refused:?}");
    assert_eq!(enqueued(&client).await, 1, "nothing was changed");
    sql.batch_execute(&format!("DROP TABLE {name}.mine")).await.unwrap();
    client.enqueue(job("b")).await.unwrap();
    // A part of history that was taken out and not dropped yet is ours.
    let part = format!(
        "INSERT INTO {name}.day (day, ready, past) VALUES (20000, false, 0);
        CREATE TABLE {name}.history_20241004 (LIKE {name}.history)"
    );
    sql.batch_execute(&part).await.unwrap();
    assert_eq!(schema.migrate(0, true).await.unwrap().version, 0);
    assert!(catalog(&sql, &name).await.is_empty());
}

#[tokio::test]
async fn a_schema_that_was_there_before_stays_with_what_is_in_it() {
    let url = url();
    let (sql, name) = application(&url).await;
    sql.batch_execute(&format!("CREATE SCHEMA {name}; CREATE TABLE {name}.mine (x int)")).await.unwrap();
    let before = catalog(&sql, &name).await;
    open(&url).await.enqueue(job("a")).await.unwrap();
    assert!(catalog(&sql, &name).await.len() > before.len());
    assert_eq!(Schema::look(&url).await.unwrap().migrate(0, true).await.unwrap().version, 0);
    assert_eq!(catalog(&sql, &name).await, before);
}

#[tokio::test]
async fn the_way_back_does_not_wait_for_whoever_has_a_table_open() {
    let url = url();
    let client = open(&url).await;
    let (mut sql, name) = application(&url).await;
    let reader = sql.transaction().await.unwrap();
    reader.batch_execute(&format!("SELECT 1 FROM {name}.job")).await.unwrap();
    let schema = Schema::look(&url).await.unwrap();
    let refused = schema.migrate(0, true).await;
    assert!(
        matches!(&refused, Err(StoreError::Invalid(text)) if text.contains("has a table of ours open")),
        "{refused:?}"
    );
    client.enqueue(job("a")).await.expect("nothing was changed");
    reader.commit().await.unwrap();
    assert_eq!(schema.migrate(0, true).await.unwrap().version, 0);
}

#[tokio::test]
async fn a_store_of_a_newer_program_is_shared_while_that_allows_it() {
    let url = url();
    open(&url).await;
    let (sql, name) = application(&url).await;
    let newer = async |min_compatible: i32| {
        let note = format!(
            "INSERT INTO {name}.migration (version, min_compatible) VALUES (1000, {min_compatible})
            ON CONFLICT (version) DO UPDATE SET min_compatible = excluded.min_compatible"
        );
        sql.batch_execute(&note).await.unwrap();
        Schema::look(&url).await.unwrap()
    };
    let shared = newer(1).await;
    assert!(shared.status().usable && shared.status().pending.is_empty());
    open(&url).await.enqueue(job("a")).await.expect("old and new programs run together");
    assert_eq!(shared.migrate(1000, false).await.unwrap().version, 1000, "nothing to do");
    assert!(matches!(shared.migrate(0, true).await, Err(StoreError::Invalid(_))), "it does not know the way back");
    let foreign = newer(1000).await;
    assert!(!foreign.status().usable);
    assert!(matches!(foreign.migrate(1, true).await, Err(StoreError::Corrupt(_))));
    assert!(Client::open(&url).await.is_err());
}

/// The same store for another user.
fn as_user(url: &str, user: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    format!("{scheme}://{user}@{}", rest.rsplit_once('@').map_or(rest, |(_, place)| place))
}

#[tokio::test]
async fn a_user_who_may_not_create_is_told_what_to_do_and_works_with_what_the_guide_grants() {
    let url = url();
    let (sql, name) = application(&url).await;
    sql.batch_execute(&format!("CREATE ROLE {name} LOGIN")).await.unwrap();
    let app = as_user(&url, &name);
    let refused = Client::open(&app).await.expect_err("it may not create a schema").to_string();
    assert!(refused.contains("windlass migrate up --sql --store"), "{refused}");
    open(&url).await;
    let refused = Client::open(&app).await.expect_err("it may not use the schema").to_string();
    assert!(refused.contains(&name), "{refused}");
    sql.batch_execute(&grants().replace("windlass", &name).replace(" app", &format!(" {name}"))).await.unwrap();
    for parameters in ["", "&migrate=off"] {
        let client = open(&format!("{app}{parameters}")).await;
        let (done, mut heard) = unbounded_channel();
        let handler = move |_: RawJob| {
            let done = done.clone();
            async move {
                done.send(()).unwrap();
                Ok::<_, JobError>(())
            }
        };
        let worker = Worker::new(&client, Router::new().at("work", handler)).start().await.unwrap();
        client.enqueue(RawJob::new("work", "{}").with(|o| o.retention(Duration::from_secs(60)))).await.unwrap();
        heard.recv().await.unwrap();
        worker.shutdown().await;
        client.prune(Prune::Expired).await.unwrap();
        let failed: Vec<Check> = client.checkup().await.into_iter().filter(|c| c.level == Level::Fail).collect();
        assert_eq!(failed, []);
        assert_eq!(client.stats(None, None).await.unwrap().enqueued, client.census().await.unwrap().enqueued);
    }
    sql.batch_execute(&format!("DROP OWNED BY {name}; DROP ROLE {name}")).await.unwrap();
}

/// What the guide grants.
fn grants() -> String {
    let page = include_str!("../../docs/postgres.md");
    let block = page.split("```sql\n").find(|block| block.starts_with("GRANT")).expect("the guide has the grants");
    block.split("```").next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_database_that_is_not_in_utf8_is_refused() {
    let url = url();
    let (sql, name) = application(&url).await;
    for encoding in ["SQL_ASCII", "LATIN1"] {
        let database = format!("{name}_{}", encoding.to_lowercase());
        let make = "LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
        sql.batch_execute(&format!("CREATE DATABASE {database} ENCODING '{encoding}' {make}")).await.unwrap();
        let (server, _) = url.split_once('?').unwrap().0.rsplit_once('/').unwrap();
        let refused = Client::open(&format!("{server}/{database}")).await.expect_err("it is refused").to_string();
        assert!(refused.contains(encoding) && refused.contains("UTF8"), "{refused}");
        sql.batch_execute(&format!("DROP DATABASE {database}")).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_only_reads_is_away_for_now() {
    let server = Server::start_with("-c default_transaction_read_only=on");
    let refused = Client::open(&format!("{}?timeout=2s", server.url())).await;
    let Error::Store(error) = refused.expect_err("it is refused") else { panic!("not by the store") };
    assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("name the primary")), "{error:?}");
}
