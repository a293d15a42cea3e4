//! What a step of exclusive jobs looks at while very many are blocked.

use tokio_postgres::Client;
use windlass::{JobFilter, JobOptions, JobState};

use super::{application, bench, url};

/// Blocked behind one key, and behind as many keys, each with a holder in line.
const MANY: i64 = 50_000;

async fn fill(app: &Client, schema: &str) {
    let sql = format!(
        "INSERT INTO {schema}.job (seq, ord, created_at, updated_at, pending_at, timeout_us, retention_us, max_retry, line, state,
            priority, id, exclusive, payload)
        SELECT nextval('{schema}.place'), nextval('{schema}.place'), 0, 0, 0, 1000000, 0, 0, 1, state, n % 3, state || ' ' || key || n,
            E'default\\x1f' || key, ''
        FROM generate_series(1, {MANY}) AS n,
            LATERAL (VALUES (2, 'long'), (2, 'k' || n), (0, 'k' || n)) AS v (state, key)"
    );
    app.batch_execute(&sql).await.unwrap();
}

/// How many rows of the table, and entries of its indexes, this statement looks at.
async fn looked_at(app: &mut Client, schema: &str, sql: &str) -> i64 {
    let many = format!(
        "SELECT (coalesce(pg_stat_get_xact_tuples_returned('{schema}.job'::regclass), 0)
            + coalesce(sum(pg_stat_get_xact_tuples_returned(indexrelid)), 0))::bigint
        FROM pg_index WHERE indrelid = '{schema}.job'::regclass"
    );
    let tx = app.transaction().await.unwrap();
    let before: i64 = tx.query_one(&many, &[]).await.unwrap().get(0);
    tx.batch_execute(sql).await.unwrap();
    let after: i64 = tx.query_one(&many, &[]).await.unwrap().get(0);
    tx.rollback().await.unwrap();
    after - before
}

/// Whether or not the server knows how much there is.
#[tokio::test]
async fn who_is_next_is_found_without_walking_over_those_who_are_blocked() {
    let url = url();
    let bench = bench(&url).await;
    bench.add(JobOptions::new().exclusive("first")).await;
    let (mut app, schema) = application(&url).await;
    // Nobody's statistics come in between, and what other processes look at would not be counted.
    let alone =
        format!("ALTER TABLE {schema}.job SET (autovacuum_enabled = off); SET max_parallel_workers_per_gather = 0");
    app.batch_execute(&alone).await.unwrap();
    fill(&app, &schema).await;
    for analyzed in [false, true] {
        if analyzed {
            app.batch_execute(&format!("ANALYZE {schema}.job")).await.unwrap();
        }
        let next = format!(
            "SELECT {schema}.unblock(0, ARRAY['default\u{1f}long'] || ARRAY(SELECT E'default\\x1fk' || n FROM generate_series(1, 9) AS n), NULL)"
        );
        // Often enough that the server settles for one plan.
        let often = format!("DO $$ BEGIN FOR turn IN 1..9 LOOP PERFORM ({next}); END LOOP; END $$");
        let many = looked_at(&mut app, &schema, &often).await;
        assert!(many < 9 * 60, "{many} to find who is next, analyzed: {analyzed}");
        let behind = format!("SELECT {schema}.unblock(0, ARRAY['default\u{1f}k7'], ARRAY[1::bigint])");
        let many = looked_at(&mut app, &schema, &behind).await;
        assert!(many < 20, "{many} behind a holder, analyzed: {analyzed}");
        let read = format!("SELECT {schema}.read_job(NULL, NULL, NULL, NULL, '2 k77')");
        let many = looked_at(&mut app, &schema, &read).await;
        assert!(many < 20, "{many} to read for whom it waits, analyzed: {analyzed}");
        let page = format!("SELECT * FROM {schema}.look(ARRAY[2::smallint], 1000, 100)");
        let many = looked_at(&mut app, &schema, &page).await;
        assert!(many < 400, "{many} for a page of blocked jobs, analyzed: {analyzed}");
    }
    let all = looked_at(&mut app, &schema, &format!("SELECT count(*) FROM {schema}.job WHERE reason IS NULL")).await;
    assert!(all > 3 * MANY, "the control: it counts what is looked at");
    let filter = JobFilter::default().state(JobState::Blocked);
    assert_eq!(bench.store.list(&filter, None, 100).await.unwrap().items.len(), 100);
}
