//! What goes in comes back unchanged: to the claimer and to the reader, at every limit.

use std::{sync::Arc, time::Duration};

use super::bench::{Bench, DAY, HOUR, MINUTE, failure, report};
use crate::{
    decide::operate::Action,
    job::{DeadReason, JobOptions, JobSpec, State, Timestamp, UniqueBy, Verdict},
    store::Prune,
    testing::job,
};

/// Enqueues the job and checks what a reader and a claimer see of it.
async fn comes_back(bench: &Bench, options: JobOptions, payload: Vec<u8>) {
    let job = job("work").options(options).payload(payload).build(&bench.env);
    let sent = job.spec.clone();
    let id = bench.add_job(job).await;
    same(&bench.record(&id).await.spec, &sent);
    let request = bench.request_from(&[sent.queue.as_str()], 1);
    same(&bench.take(&request).await[0].spec, &sent);
}

fn same(got: &JobSpec, sent: &JobSpec) {
    assert_eq!(got.id, sent.id);
    assert_eq!(got.kind, sent.kind);
    assert_eq!(got.queue, sent.queue);
    assert_eq!(got.payload.len(), sent.payload.len());
    assert!(got.payload == sent.payload, "the payload changed");
    assert_eq!(got.tenant, sent.tenant);
    assert_eq!((got.priority, got.max_retry), (sent.priority, sent.max_retry));
    assert_eq!((got.timeout, got.deadline, got.retention), (sent.timeout, sent.deadline, sent.retention));
    assert_eq!(got.unique, sent.unique);
    assert_eq!(got.group, sent.group);
    assert_eq!(got.tags, sent.tags);
    assert_eq!(got.headers, sent.headers);
}

pub async fn a_plain_job_comes_back_unchanged(bench: Bench) {
    comes_back(&bench, JobOptions::new(), b"{}".to_vec()).await;
}

pub async fn every_option_comes_back_unchanged(bench: Bench) {
    let options = JobOptions::new()
        .id("my own id")
        .queue("critical")
        .tenant("acme")
        .priority(7)
        .max_retry(3)
        .timeout(Duration::from_millis(1500))
        .deadline(bench.env.wall().after(HOUR))
        .retention(DAY)
        .unique(UniqueBy::until_done("x"))
        .tag("zebra")
        .tag("ant")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .header("empty", "");
    comes_back(&bench, options, br#"{"to": "a@b.c"}"#.to_vec()).await;
}

pub async fn an_idempotency_key_comes_back_unchanged(bench: Bench) {
    comes_back(&bench, JobOptions::new().unique(UniqueBy::idempotency("x", MINUTE)), b"1".to_vec()).await;
}

pub async fn the_ends_of_the_numbers_come_back_unchanged(bench: Bench) {
    for (name, priority, max_retry) in [("low", -100, 0), ("high", 100, u32::MAX)] {
        comes_back(&bench, JobOptions::new().queue(name).priority(priority).max_retry(max_retry), vec![]).await;
    }
    for (name, micros) in [("first", i64::MIN), ("before", -1), ("zero", 0), ("last", i64::MAX)] {
        let options = JobOptions::new().queue(name).deadline(Timestamp::from_micros(micros));
        comes_back(&bench, options, vec![]).await;
    }
}

pub async fn the_end_of_time_is_a_moment_like_any_other(bench: Bench) {
    let mut far = bench.job(JobOptions::new());
    far.start = crate::job::Start::At(Timestamp::from_micros(i64::MAX));
    let far = bench.add_job(far).await;
    let mut long_ago = bench.job(JobOptions::new());
    long_ago.start = crate::job::Start::At(Timestamp::from_micros(i64::MIN));
    let long_ago = bench.add_job(long_ago).await;
    assert_eq!(bench.record(&far).await.run_at, Some(Timestamp::from_micros(i64::MAX)));
    assert_eq!(bench.claim_one().await.spec.id, long_ago);
}

pub async fn the_longest_durations_do_not_overflow(bench: Bench) {
    let options = JobOptions::new().timeout(Duration::MAX).retention(Duration::MAX);
    let kept = bench.run(options, Verdict::Complete).await;
    bench.clock.advance(1000 * 365 * DAY);
    bench.store.prune(&Prune::Expired, 100).await.expect("prune");
    assert_eq!(bench.state(&kept).await, State::Completed);
}

pub async fn payloads_are_bytes_not_text(bench: Bench) {
    comes_back(&bench, JobOptions::new().queue("a"), vec![0xff, 0xfe, 0, 0xc3, 0x28, b'\n', 0]).await;
    comes_back(&bench, JobOptions::new().queue("b"), (0..=255).collect()).await;
}

pub async fn an_empty_payload_stays_empty(bench: Bench) {
    comes_back(&bench, JobOptions::new(), Vec::new()).await;
}

pub async fn a_payload_of_a_mebibyte_comes_back_whole(bench: Bench) {
    comes_back(&bench, JobOptions::new(), (0..1 << 20).map(|at: u32| (at.wrapping_mul(31) >> 3) as u8).collect()).await;
}

/// Text that breaks what is put together from strings, compared by code page or cut between bytes.
const ODD: [&str; 8] = [
    "Robert'); DROP TABLE jobs;--",
    "<script>alert(1)</script>",
    "\u{1f469}\u{200d}\u{1f680} e\u{301} \u{e9}",
    "\u{202e}right to left",
    "%_*?[a-z]",
    "a:b/c\\d\"e`f",
    "\u{fffd}\u{feff}\u{10ffff}",
    "ŞIŞLİ straße ꟊ",
];

pub async fn odd_names_come_back_unchanged(bench: Bench) {
    for text in ODD {
        let queue = text.replace(['{', '}'], "");
        let options = JobOptions::new().id(text).queue(queue).tenant(text).tag(text).header(text, text);
        let job = job(text).options(options).build(&bench.env);
        let sent = job.spec.clone();
        let id = bench.add_job(job).await;
        same(&bench.record(&id).await.spec, &sent);
    }
    assert_eq!(bench.census().await.queues.len(), ODD.len());
}

pub async fn names_that_differ_by_case_or_accent_are_other_names(bench: Bench) {
    let names = ["a", "A", "a ", "\u{e9}", "e\u{301}"];
    for name in names {
        bench.add(JobOptions::new().id(name).queue(name).tenant(name)).await;
    }
    for name in names {
        let claimed = bench.take(&bench.request_from(&[name], 10)).await;
        assert_eq!(claimed.len(), 1, "{name:?}");
        assert_eq!(claimed[0].spec.tenant.as_deref(), Some(name));
    }
}

pub async fn a_nul_in_a_header_comes_back_unchanged(bench: Bench) {
    comes_back(&bench, JobOptions::new().header("raw", "a\0b\0"), vec![]).await;
}

pub async fn a_nul_in_a_reason_or_an_error_stops_nothing(bench: Bench) {
    let (id, lease) = bench.start(JobOptions::new()).await;
    let mut finish = report(lease, Verdict::RetryIn(MINUTE));
    finish.error = failure("before\0after");
    bench.finish_with(finish).await;
    let message = bench.record(&id).await.errors[0].message.clone();
    assert!(message.starts_with("before") && message.ends_with("after") && !message.contains('\0'), "{message:?}");
    bench.operate(&id, Action::Cancel { reason: "be\0cause".into() }).await;
    let reason = bench.record(&id).await.reason.expect("a reason");
    assert!(reason.starts_with("be") && reason.ends_with("cause"), "{reason:?}");
}

pub async fn an_odd_reason_comes_back_unchanged(bench: Bench) {
    for text in ODD {
        let id = bench.run(JobOptions::new(), Verdict::Cancel(text.into())).await;
        assert_eq!(bench.record(&id).await.reason, Some(Arc::from(text)));
    }
    let buried = bench.run(JobOptions::new(), Verdict::Bury(DeadReason::Buried)).await;
    assert_eq!(bench.record(&buried).await.reason.as_deref(), Some("buried"));
}
