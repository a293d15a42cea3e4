//! What steps on locks and schedules read: by their names, however many others there are.

use tokio_postgres::Client;
use windlass::{
    Env,
    store::{Create, postgres::PostgresStore},
};

use super::{application, servers::postgres::url};

/// How many locks and schedules there are, and lines and waiters of each.
const MANY: i64 = 4000;

/// The statements that are no functions, with what they are asked.
const LIST: &str = include_str!("../../src/store/postgres/sql/schedule_list.sql");
const NAMED: &str = include_str!("../../src/store/postgres/sql/schedule_named.sql");
const HISTORY: &str = include_str!("../../src/store/postgres/sql/schedule_history.sql");

const FILL: &str = "
    INSERT INTO windlass.lock (name, token, fence, slots, holder, since, ttl, until_mono, start)
    SELECT 'lock ' || n, gen_random_uuid(), n, 1, 'somebody', 0, 1000000, 9000000000000000, windlass.start_of_server()
    FROM generate_series(1, 4000) AS n;
    INSERT INTO windlass.lock_line (name, place, token, slots, until_mono)
    SELECT 'lock ' || n, n, gen_random_uuid(), 1, 9000000000000000 FROM generate_series(1, 4000) AS n;
    INSERT INTO windlass.schedule (queue, name, revision, lines, says)
    SELECT 'q', 'schedule ' || n, n, 1, '\\x00' FROM generate_series(1, 4000) AS n;
    INSERT INTO windlass.schedule_line (schedule, number, says) SELECT id, 1, '\\x00' FROM windlass.schedule;
    ANALYZE windlass.lock; ANALYZE windlass.lock_line; ANALYZE windlass.schedule; ANALYZE windlass.schedule_line;";

/// A change of a schedule without jobs: `from` and `to` are filled in.
fn change(name: &str, from: &str, to: &str) -> String {
    let no_jobs = ["'{}'"; 19].join(", ");
    format!(
        "SELECT windlass.change_schedule(NULL, {no_jobs}, 'q', '{name}', {from}, {to}, ARRAY['\\x00']::bytea[], 1000)"
    )
}

/// The steps, each with what it is.
fn steps() -> Vec<(&'static str, String)> {
    let token = "'00000000-0000-0000-0000-000000000007'";
    let clock = "NULL, NULL, NULL, NULL";
    let acquire = |name: &str| {
        format!("SELECT * FROM windlass.acquire_lock({clock}, '{name}', {token}, 1, 1000000, 3000000, 'somebody')")
    };
    // As the store asks, in the places of its parameters.
    let filled = |sql: &str, values: &[&str]| {
        values.iter().enumerate().fold(sql.to_owned(), |sql, (at, value)| sql.replace(&format!("${}", at + 1), value))
    };
    let all = "NULL::bigint";
    vec![
        ("a lock that is free", acquire("another")),
        ("a lock that is held", acquire("lock 77")),
        ("a renewal", format!("SELECT * FROM windlass.extend_lock({clock}, 'lock 77', {token}, 7, 1000000)")),
        ("a release", format!("SELECT windlass.release_lock('lock 77', {token}, NULL)")),
        ("a break", format!("SELECT windlass.break_lock({clock}, 'lock 77')")),
        ("a page of locks", format!("SELECT * FROM windlass.list_locks({clock}, 'lock 77', 10, 10)")),
        ("a new schedule", change("another", "NULL", "'\\x00'")),
        ("a change of a schedule", change("schedule 77", "77", "'\\x00'")),
        ("a conflict", change("schedule 77", "78", "'\\x00'")),
        ("a removal", change("schedule 77", "77", "NULL")),
        ("a page of schedules", filled(LIST, &[all, "'q'", "'schedule 77'", "10"])),
        ("the schedules of a name", filled(NAMED, &[all, "'schedule 77'"])),
        ("a history", filled(HISTORY, &["'q'", "'schedule 77'", "9", "10"])),
    ]
}

/// Which rows of locks and schedules a step reads: of each table how many by walking over it, and how many by an index.
async fn read_by(database: &mut Client, before: &str, step: &str) -> Vec<(String, i64, i64)> {
    let read = "SELECT relname::text, seq_tup_read, coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables
        WHERE schemaname = current_schema AND (relname LIKE 'lock%' OR relname LIKE 'schedule%') ORDER BY relname";
    let transaction = database.transaction().await.expect("begin");
    transaction.batch_execute(before).await.expect("settings");
    // What earlier ones have read may still be among it.
    let earlier = transaction.query(read, &[]).await.expect("statistics");
    transaction.batch_execute(step).await.unwrap_or_else(|error| panic!("{step}: {error:?}"));
    let rows = transaction.query(read, &[]).await.expect("statistics");
    transaction.rollback().await.expect("rollback");
    let more = |at: usize, column| rows[at].get::<_, i64>(column) - earlier[at].get::<_, i64>(column);
    rows.iter().enumerate().map(|(at, row)| (row.get(0), more(at, 1), more(at, 2))).collect()
}

#[tokio::test]
async fn steps_on_locks_and_schedules_read_what_is_theirs() {
    let url = url();
    let _store = PostgresStore::open(&url, Create::IfMissing, Env::system()).await.expect("open");
    let (mut database, schema) = application(&url).await;
    let here = |sql: &str| sql.replace("windlass.", &format!("{schema}."));
    database.batch_execute(&format!("SET search_path = {schema}")).await.expect("the schema");
    database.batch_execute(&here(FILL)).await.expect("rows");
    for (what, step) in steps() {
        let read = read_by(&mut database, "", &here(&step)).await;
        let few = read.iter().all(|(_, walked, fetched)| *walked == 0 && *fetched < 100);
        assert!(few, "{what}: by walking and by an index {read:?}");
    }
    // The control: the same without indexes.
    let off =
        "SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_indexonlyscan = off";
    let read = read_by(&mut database, off, &here(&steps()[11].1)).await;
    assert!(read.iter().any(|(_, walked, _)| *walked >= MANY), "{read:?}");
}
