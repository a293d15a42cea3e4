//! One thing that cannot be read or written stops nothing else that is asked for with it.

use bytes::Bytes;
use windlass::{
    ErrorClass, JobFilter, JobOptions, JobState as State, Line, News, Progress, Verdict,
    conformance::HOUR,
    store::{Failure, Finished, Reported},
};

use crate::{Place, ended};

const ODD: &str = "a\0b\u{fffe}\u{1f}\\u0000\u{202e}";

#[tokio::test]
async fn text_that_no_column_takes_is_cleaned_or_kept_and_never_fails_a_batch() {
    let place = Place::start().await;
    let bench = place.bench("notify=off").await;
    let odd_bytes = Bytes::from_static(b"\0\xff\xfe{\"a\": \"\\u0000\"}");
    let kept = || JobOptions::new().retention(HOUR).header("h", ODD);
    let mut jobs: Vec<_> = (0..5).map(|_| bench.job(kept())).collect();
    for job in &mut jobs {
        let mut spec = (*job.spec).clone();
        spec.payload = odd_bytes.clone();
        job.spec = spec.into();
    }
    bench.enqueue(jobs).await;
    let claimed = bench.claim(5).await;
    assert!(claimed.iter().all(|job| job.spec.payload == odd_bytes && job.spec.headers["h"] == ODD));
    let line = || Line::new(bench.env.wall(), ODD);
    let news = |number| News {
        number,
        progress: Some(Progress::new(0.5, ODD)),
        checkpoint: Some(odd_bytes.clone()),
        lines: vec![line()],
    };
    for job in &claimed {
        assert_eq!(bench.say(&job.lease(), news(1)).await, Reported::Applied);
    }
    let verdicts = [
        Verdict::Complete,
        Verdict::RetryIn(HOUR),
        Verdict::Cancel(ODD.into()),
        Verdict::Bury(windlass::DeadReason::Exhausted),
        Verdict::Snooze(HOUR),
    ];
    let mut batch = Vec::new();
    for (job, verdict) in std::iter::zip(&claimed, verdicts) {
        let mut end = ended(job.lease(), verdict);
        end.error = Some(Failure { class: ErrorClass::Error, message: ODD.into() });
        end.result = Some(odd_bytes.clone());
        end.news = vec![news(2)];
        batch.push(end);
    }
    batch[0].then = vec![bench.job(kept().tag("t"))];
    let ends = bench.store.finish(batch).await.expect("finish");
    let states = [State::Completed, State::Retrying, State::Cancelled, State::Dead, State::Scheduled];
    assert_eq!(ends, states.map(Finished::Applied));
    for job in &claimed {
        assert_eq!(bench.record(&job.spec.id).await.result, Some(odd_bytes.clone()));
    }
    // People can look at them all the same.
    let database = place.database().await;
    let seen = database.query("SELECT payload FROM jobs UNION ALL SELECT payload FROM job_history", &[]).await;
    assert_eq!(seen.expect("the views").len(), 6);
}

/// What somebody did by hand to one of three jobs in line, and whether the store can still read that one.
const DAMAGE: &[(&str, bool)] = &[
    ("UPDATE job SET line = 9999 WHERE id = 'bad'", false),
    ("UPDATE job SET state = 77 WHERE id = 'bad'", false),
    ("UPDATE job SET priority = 5000 WHERE id = 'bad'", false),
    ("UPDATE job SET tags = ARRAY[NULL, 'x'] WHERE id = 'bad'", false),
    ("UPDATE job SET unique_key = 'x' WHERE id = 'bad'", false),
    ("UPDATE job SET headers = 'no json' WHERE id = 'bad'", true),
    ("UPDATE job SET errors = '{\"no\": \"list\"}' WHERE id = 'bad'", true),
    ("UPDATE job SET errors = '7' WHERE id = 'bad'", true),
    ("UPDATE job SET attempt = -1, failures = -5, timeout_us = -1, max_retry = -1 WHERE id = 'bad'", true),
];

#[tokio::test]
async fn a_row_that_was_damaged_by_hand_stops_only_itself() {
    for (damage, readable) in DAMAGE {
        let place = Place::start().await;
        let bench = place.bench("notify=off").await;
        for id in ["one", "bad", "two"] {
            bench.add(JobOptions::new().id(id).retention(HOUR)).await;
        }
        place.database().await.batch_execute(damage).await.expect(damage);
        let listed = bench.store.list(&JobFilter::default(), None, 10).await.expect(damage).items.len();
        assert_eq!(listed, if *readable { 3 } else { 2 }, "{damage}");
        let claimed = bench.claim(3).await;
        assert_eq!(claimed.len(), if *readable { 3 } else { 2 }, "{damage}");
        bench.census().await;
        // Whoever held them is gone; then they fail, and then they complete.
        bench.crash().await;
        for verdict in [Verdict::RetryIn(std::time::Duration::ZERO), Verdict::Complete] {
            bench.promote().await;
            let claimed = bench.claim(3).await;
            let ends = claimed.iter().map(|job| {
                let mut end = ended(job.lease(), verdict.clone());
                end.error = Some(Failure { class: ErrorClass::Error, message: "x".into() });
                end
            });
            let ends = bench.store.finish(ends.collect()).await.expect(damage);
            assert!(ends.iter().all(|end| matches!(end, Finished::Applied(_))), "{damage}: {ends:?}");
        }
        for id in ["one", "two"] {
            assert_eq!(bench.state(&id.parse().unwrap()).await, State::Completed, "{damage}");
        }
        bench.crash().await;
        bench.pass(2 * HOUR / 100).await;
    }
}
