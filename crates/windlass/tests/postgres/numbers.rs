//! The numbers in SQL, compared with those of the library.

use std::time::Duration;

use tokio_postgres::Client as Sql;
use windlass::{
    DeadReason, JobOptions, Timestamp, Verdict,
    conformance::Bench,
    store::{Dimension, GroupStats, Stats},
};

use crate::{application, bench, servers::postgres::url};

/// A row of `metrics()`, or what Rust knows of the same: the counts, and the times in their order.
#[derive(Debug, PartialEq)]
struct Numbers {
    name: String,
    now: [Option<i64>; 2],
    ended: [i64; 3],
    times: [Option<f64>; 9],
}

async fn by_sql(sql: &Sql, schema: &str, by: Option<&str>) -> Vec<Numbers> {
    let rows = sql.query(&format!("SELECT * FROM {schema}.metrics(by => $1)"), &[&by]).await.unwrap();
    let numbers = |row: &tokio_postgres::Row| {
        let (now, ended) =
            (["pending", "running"].map(|c| row.get(c)), ["completed", "failed", "retried"].map(|c| row.get(c)));
        let sum = now.iter().flatten().sum::<i64>() + ended[0] + ended[1];
        assert_eq!(row.get::<_, i64>("total"), sum);
        let times = [
            "avg_duration_ms",
            "avg_wait_ms",
            "p50_wait_ms",
            "p95_wait_ms",
            "p99_wait_ms",
            "avg_run_ms",
            "p50_run_ms",
            "p95_run_ms",
            "p99_run_ms",
        ];
        let name = row.get::<_, Option<String>>("name").unwrap_or_default();
        Numbers { name, now, ended, times: times.map(|c| row.get(c)) }
    };
    rows.iter().map(numbers).collect()
}

fn of_group(g: &GroupStats) -> Numbers {
    let count = |number: u64| number as i64;
    Numbers {
        name: g.name.clone(),
        now: [g.pending.map(count), g.running.map(count)],
        ended: [g.completed, g.failed, g.retried].map(count),
        times: [
            Some(g.avg_duration_ms),
            g.avg_wait_ms,
            g.p50_wait_ms,
            g.p95_wait_ms,
            g.p99_wait_ms,
            g.avg_run_ms,
            g.p50_run_ms,
            g.p95_run_ms,
            g.p99_run_ms,
        ],
    }
}

fn of_all(s: &Stats) -> Numbers {
    let count = |number: u64| number as i64;
    Numbers {
        name: String::new(),
        now: [Some(count(s.pending)), Some(count(s.running))],
        ended: [s.completed, s.failed, s.retried].map(count),
        times: [
            s.avg_duration_ms,
            s.avg_wait_ms,
            s.p50_wait_ms,
            s.p95_wait_ms,
            s.p99_wait_ms,
            s.avg_run_ms,
            s.p50_run_ms,
            s.p95_run_ms,
            s.p99_run_ms,
        ]
        .map(Some),
    }
}

/// Work of all sorts: of two queues and kinds, by tenants and without, and each in another time.
async fn mixed_work(bench: &Bench) {
    for round in 1..=12_u32 {
        let options =
            JobOptions::new().queue("own").retention(Duration::from_secs(60)).tenant(format!("t{}", round % 3));
        bench.add_of(["a", "b"][round as usize % 2], options).await;
        bench.pass(Duration::from_millis(u64::from(round * round) * 7)).await;
        let lease = bench.take(&bench.request_from(&["own"], 1)).await.remove(0).lease();
        bench.pass(Duration::from_micros(u64::from(round) * 311)).await;
        let verdict = match round % 4 {
            0 => Verdict::Bury(DeadReason::Exhausted),
            1 => Verdict::RetryIn(Duration::from_secs(3600)),
            _ => Verdict::Complete,
        };
        bench.finish(lease, verdict).await;
    }
    bench.add(JobOptions::new().queue("waits")).await;
    bench.start(JobOptions::new()).await;
}

#[tokio::test]
async fn the_numbers_in_sql_are_those_of_the_library() {
    let url = url();
    let bench = bench(&url).await;
    let (sql, schema) = application(&url).await;
    let nothing =
        Stats::new(&bench.census().await, &bench.store.tallies(Timestamp::default()).await.unwrap(), vec![], None);
    assert_eq!(by_sql(&sql, &schema, None).await, [of_all(&nothing)], "of an empty store");
    mixed_work(&bench).await;
    let left = format!("SELECT count(*) FROM {schema}.ledger");
    assert!(sql.query_one(&left, &[]).await.unwrap().get::<_, i64>(0) > 0, "the control: not all is added up");
    for added_up in [false, true] {
        if added_up {
            sql.batch_execute(&format!("SELECT {schema}.fold(5000)")).await.unwrap();
            assert_eq!(sql.query_one(&left, &[]).await.unwrap().get::<_, i64>(0), 0);
        }
        let (census, tallies) = (bench.census().await, bench.store.tallies(Timestamp::default()).await.unwrap());
        let stats = |by| Stats::new(&census, &tallies, Vec::new(), by);
        assert_eq!(by_sql(&sql, &schema, None).await, [of_all(&stats(None))]);
        for (by, name) in [(Dimension::Queue, "queue"), (Dimension::Kind, "kind"), (Dimension::Tenant, "tenant")] {
            let mut rows = by_sql(&sql, &schema, Some(name)).await;
            if by == Dimension::Kind {
                // Kinds are counted as they wait only here, and those of which nothing has ended are left out there.
                assert_eq!(rows.iter().flat_map(|row| row.now).flatten().sum::<i64>(), 5);
                rows.retain(|row| row.ended != [0; 3]);
                rows.iter_mut().for_each(|row| row.now = [None; 2]);
            }
            let items: Vec<_> = stats(Some(by)).items.iter().map(of_group).collect();
            assert!(items.len() >= 2, "{items:?}");
            assert_eq!(rows, items, "by {name}");
        }
    }
    assert!(sql.query(&format!("SELECT {schema}.metrics(by => 'moon')"), &[]).await.is_err());
    let hour = format!("SELECT completed, pending FROM {schema}.metrics(since => '1 hour')");
    let hour = sql.query_one(&hour, &[]).await.unwrap();
    assert_eq!(hour.get::<_, i64>("completed"), 0, "the bench's clock is long past");
}
