//! What runs say while they go on: progress, checkpoints and log lines, fenced, each once, kept with the job.

use bytes::Bytes;

use super::bench::{Bench, DAY, HOUR, LEASE, SECOND, id, queue, report};
use crate::{
    decide::operate::Action,
    job::{
        DeadReason, JobFilter, JobId, JobOptions, JobRecord, Lease, Line, News, Progress, State, Timestamp, Verdict,
    },
    store::{Claimed, Finish, Finished, Prune, Report, Reported},
};

fn news(number: u64) -> News {
    News { number, ..News::default() }
}

fn progress(number: u64, fraction: f64, message: &str) -> News {
    News { progress: Some(Progress::new(fraction, message)), ..news(number) }
}

fn checkpoint(number: u64, bytes: &'static [u8]) -> News {
    News { checkpoint: Some(Bytes::from_static(bytes)), ..news(number) }
}

fn lines(number: u64, texts: &[&str]) -> News {
    let line = |text: &&str| Line::new(Timestamp::from_micros(1_700_000_000_000_007), *text);
    News { lines: texts.iter().map(line).collect(), ..news(number) }
}

fn texts(record: &JobRecord) -> Vec<&str> {
    record.log.iter().map(|line| &*line.line).collect()
}

/// Claims the one job of the queue `own` again.
async fn again(bench: &Bench) -> Claimed {
    bench.take(&bench.request_from(&["own"], 1)).await.pop().expect("the job is in line again")
}

async fn said(bench: &Bench, lease: &Lease, news: News) {
    assert_eq!(bench.say(lease, news).await, Reported::Applied);
}

pub async fn what_a_run_says_is_seen_while_it_goes_on(bench: Bench) {
    let (job, lease) = bench.start(JobOptions::new()).await;
    let fresh = bench.record(&job).await;
    assert_eq!((fresh.progress, fresh.checkpoint, fresh.log), (None, None, vec![]));
    let all = News {
        progress: Some(Progress::new(0.25, "page 3 of 12")),
        checkpoint: Some(Bytes::from_static(b"{\"page\":3}")),
        ..lines(1, &["one", "two"])
    };
    said(&bench, &lease, all).await;
    let record = bench.record(&job).await;
    assert_eq!(record.progress, Some(Progress::new(0.25, "page 3 of 12")));
    assert_eq!(record.checkpoint.as_deref(), Some(&b"{\"page\":3}"[..]));
    assert_eq!(texts(&record), ["one", "two"]);
    assert_eq!(record.log.iter().map(|line| line.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(record.log[0].at, Timestamp::from_micros(1_700_000_000_000_007), "the run says when");
}

pub async fn what_a_report_leaves_out_stays_as_it_was(bench: Bench) {
    let (job, lease) = bench.start(JobOptions::new()).await;
    said(&bench, &lease, progress(1, 0.5, "half")).await;
    said(&bench, &lease, checkpoint(2, b"5")).await;
    said(&bench, &lease, lines(3, &["a"])).await;
    said(&bench, &lease, news(4)).await;
    let record = bench.record(&job).await;
    assert_eq!(record.progress, Some(Progress::new(0.5, "half")));
    assert_eq!((record.checkpoint.as_deref(), texts(&record)), (Some(&b"5"[..]), vec!["a"]));
}

pub async fn the_latest_progress_wins(bench: Bench) {
    let (job, lease) = bench.start(JobOptions::new()).await;
    for (number, fraction, message) in [(1, 0.9, "almost"), (2, 0.0, "once more"), (3, 1.0, "")] {
        said(&bench, &lease, progress(number, fraction, message)).await;
        assert_eq!(bench.record(&job).await.progress, Some(Progress::new(fraction, message)));
    }
}

pub async fn a_report_moves_neither_the_job_nor_its_lease(bench: Bench) {
    let (job, lease) = bench.start(JobOptions::new()).await;
    let before = bench.record(&job).await;
    bench.clock.advance(SECOND);
    said(&bench, &lease, checkpoint(1, b"5")).await;
    let after = bench.record(&job).await;
    assert_eq!((after.state, after.fence, after.attempt), (State::Running, Some(lease.fence), 1));
    assert_eq!((after.updated_at, after.lease_until), (before.updated_at, before.lease_until));
    bench.pass(LEASE).await;
    assert_eq!(bench.rescue().await.len(), 1, "to say something is no renewal");
}

pub async fn a_lapsed_lease_that_nobody_took_may_still_say_something(bench: Bench) {
    let (job, lease) = bench.start(JobOptions::new()).await;
    bench.lapse().await;
    said(&bench, &lease, checkpoint(1, b"5")).await;
    assert_eq!(bench.rescue().await[0].id, job);
    assert_eq!(again(&bench).await.checkpoint.as_deref(), Some(&b"5"[..]));
}

pub async fn a_stale_report_is_refused_and_changes_nothing(bench: Bench) {
    let (job, old) = bench.start(JobOptions::new().retention(HOUR)).await;
    said(&bench, &old, checkpoint(1, b"mine")).await;
    let late = || News { checkpoint: Some(Bytes::from_static(b"late")), ..lines(9, &["late"]) };
    bench.crash().await;
    assert_eq!(bench.say(&old, late()).await, Reported::Stale, "rescued");
    let new = again(&bench).await.lease();
    assert_eq!(bench.say(&old, late()).await, Reported::Stale, "taken");
    assert_eq!(bench.finish(new.clone(), Verdict::Complete).await, Finished::Applied(State::Completed));
    for lease in [old, new] {
        assert_eq!(bench.say(&lease, late()).await, Reported::Stale, "ended");
    }
    let record = bench.record(&job).await;
    assert_eq!((record.checkpoint.as_deref(), record.log), (Some(&b"mine"[..]), vec![]));
    let nobody = Lease { id: id("unknown"), fence: record.fence.expect("it ran") };
    assert_eq!(bench.say(&nobody, late()).await, Reported::Stale);
}

pub async fn news_that_come_again_or_late_change_nothing(bench: Bench) {
    let (job, lease) = bench.start(JobOptions::new()).await;
    let first = News { checkpoint: Some(Bytes::from_static(b"1")), ..lines(1, &["a"]) };
    let second = News { checkpoint: Some(Bytes::from_static(b"2")), ..lines(2, &["b"]) };
    // The reply to the second was lost, and the first had a long way.
    for news in [first.clone(), second.clone(), second, first] {
        said(&bench, &lease, news).await;
    }
    let record = bench.record(&job).await;
    assert_eq!((record.checkpoint.as_deref(), texts(&record)), (Some(&b"2"[..]), vec!["a", "b"]));
}

pub async fn the_numbers_of_each_run_begin_anew(bench: Bench) {
    let (job, lease) = bench.start(JobOptions::new()).await;
    said(&bench, &lease, checkpoint(7, b"7")).await;
    bench.finish(lease, Verdict::Release).await;
    let lease = again(&bench).await.lease();
    said(&bench, &lease, checkpoint(1, b"8")).await;
    assert_eq!(bench.record(&job).await.checkpoint.as_deref(), Some(&b"8"[..]));
}

pub async fn a_checkpoint_reaches_the_next_run(bench: Bench) {
    let (_, lease) = bench.start(JobOptions::new()).await;
    said(&bench, &lease, checkpoint(1, b"1")).await;
    said(&bench, &lease, checkpoint(2, b"2")).await;
    let mut lease = lease;
    for verdict in [Verdict::RetryIn(SECOND), Verdict::Snooze(SECOND), Verdict::Release] {
        bench.finish(lease, verdict.clone()).await;
        bench.clock.advance(SECOND);
        bench.promote().await;
        let next = again(&bench).await;
        assert_eq!(next.checkpoint.as_deref(), Some(&b"2"[..]), "after {verdict:?}");
        lease = next.lease();
    }
    bench.crash().await;
    assert_eq!(again(&bench).await.checkpoint.as_deref(), Some(&b"2"[..]), "after a crash");
    bench.add(JobOptions::new()).await;
    assert_eq!(bench.claim_one().await.checkpoint, None, "it is another job's");
}

pub async fn a_repeated_claim_gets_the_checkpoint_too(bench: Bench) {
    let (_, lease) = bench.start(JobOptions::new()).await;
    said(&bench, &lease, checkpoint(1, b"1")).await;
    bench.finish(lease, Verdict::Release).await;
    let request = bench.request_from(&["own"], 1);
    for _ in 0..2 {
        assert_eq!(bench.take(&request).await[0].checkpoint.as_deref(), Some(&b"1"[..]));
    }
}

pub async fn a_checkpoint_is_bytes_of_any_length(bench: Bench) {
    let large = (0..256 * 1024).map(|at: u32| (at % 251) as u8).collect::<Vec<u8>>();
    let payload = vec![7; 100_000];
    let new = crate::testing::job("work").payload(payload.clone()).with(|options| options.queue("own"));
    bench.add_job(new.build(&bench.env)).await;
    let mut claimed = again(&bench).await;
    for bytes in [Bytes::from_static(&[0, 0xff, b'"', 0]), Bytes::from(large), Bytes::new()] {
        let lease = claimed.lease();
        said(&bench, &lease, News { checkpoint: Some(bytes.clone()), ..news(1) }).await;
        assert_eq!(bench.record(&lease.id).await.checkpoint, Some(bytes.clone()));
        bench.finish(lease, Verdict::Release).await;
        claimed = again(&bench).await;
        assert_eq!((&claimed.checkpoint, &claimed.spec.payload[..]), (&Some(bytes), &payload[..]));
    }
}

pub async fn the_newest_hundred_lines_are_kept(bench: Bench) {
    let (job, lease) = bench.start(JobOptions::new()).await;
    for number in 0..26 {
        let texts: Vec<_> = (1..=5).map(|line| (number * 5 + line).to_string()).collect();
        said(&bench, &lease, lines(number + 1, &texts.iter().map(|text| &**text).collect::<Vec<_>>())).await;
    }
    let log = bench.record(&job).await.log;
    let expected: Vec<_> = (31..=130).map(|number| (number, number.to_string())).collect();
    assert_eq!(log.into_iter().map(|line| (line.number, line.line.to_string())).collect::<Vec<_>>(), expected);
}

pub async fn lines_name_the_attempt_that_said_them(bench: Bench) {
    let (job, lease) = bench.start(JobOptions::new()).await;
    said(&bench, &lease, lines(1, &["a"])).await;
    bench.finish(lease, Verdict::RetryIn(SECOND)).await;
    bench.clock.advance(SECOND);
    bench.promote().await;
    let lease = again(&bench).await.lease();
    said(&bench, &lease, lines(1, &["b"])).await;
    let log = bench.record(&job).await.log;
    let named: Vec<_> = log.iter().map(|line| (line.number, line.attempt, &*line.line)).collect();
    assert_eq!(named, [(1, 1, "a"), (2, 2, "b")]);
}

pub async fn a_finish_brings_its_news(bench: Bench) {
    for verdict in [Verdict::Complete, Verdict::RetryIn(HOUR), Verdict::Snooze(HOUR), Verdict::Bury(DeadReason::Buried)]
    {
        let (job, lease) = bench.start(JobOptions::new().retention(HOUR)).await;
        let news = vec![lines(1, &["a"]), News { lines: lines(2, &["b"]).lines, ..progress(2, 1.0, "done") }];
        bench.finish_with(Finish { news, ..report(lease, verdict) }).await;
        let record = bench.record(&job).await;
        assert_eq!((record.progress.clone(), texts(&record)), (Some(Progress::new(1.0, "done")), vec!["a", "b"]));
    }
}

pub async fn each_finish_of_a_batch_brings_what_its_own_run_said(bench: Bench) {
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.push(bench.start(JobOptions::new().retention(HOUR)).await);
    }
    bench.finish(runs[1].1.clone(), Verdict::Complete).await;
    let said =
        [vec![], vec![lines(1, &["stale"])], vec![lines(1, &["a"]), lines(2, &["b"])], vec![], vec![lines(1, &["c"])]];
    let finish =
        |((_, lease), news): (&(JobId, Lease), Vec<News>)| Finish { news, ..report(lease.clone(), Verdict::Complete) };
    let answers = bench.store.finish(runs.iter().zip(said).map(finish).collect()).await.expect("finish");
    let stale: Vec<bool> = answers.iter().map(|answer| *answer == Finished::Stale).collect();
    assert_eq!(stale, [false, true, false, false, false]);
    let kept: [&[&str]; 5] = [&[], &[], &["a", "b"], &[], &["c"]];
    for ((job, _), kept) in runs.iter().zip(kept) {
        assert_eq!(texts(&bench.record(job).await), kept);
    }
}

pub async fn news_of_a_stale_finish_are_dropped(bench: Bench) {
    let (job, lease) = bench.start(JobOptions::new().retention(HOUR)).await;
    bench.finish(lease.clone(), Verdict::Complete).await;
    let news = vec![News { checkpoint: Some(Bytes::from_static(b"1")), ..lines(1, &["a"]) }];
    assert_eq!(bench.finish_with(Finish { news, ..report(lease, Verdict::Complete) }).await, Finished::Stale);
    let record = bench.record(&job).await;
    assert_eq!((record.checkpoint, record.log), (None, vec![]));
}

pub async fn news_that_were_reported_are_not_taken_again_with_the_finish(bench: Bench) {
    let (job, lease) = bench.start(JobOptions::new().retention(HOUR)).await;
    said(&bench, &lease, lines(1, &["a"])).await;
    let news = vec![lines(1, &["a"]), lines(2, &["b"])];
    bench.finish_with(Finish { news, ..report(lease, Verdict::Complete) }).await;
    assert_eq!(texts(&bench.record(&job).await), ["a", "b"]);
}

pub async fn what_was_said_stays_for_the_retention_and_goes_with_the_job(bench: Bench) {
    let options = || JobOptions::new().id("again").retention(HOUR);
    let all = || News { progress: Some(Progress::new(0.5, "")), ..News { ..lines(1, &["a"]) } };
    let run = async |verdict: Verdict| {
        let (job, lease) = bench.start(options()).await;
        let fresh = bench.record(&job).await;
        assert_eq!((fresh.progress, fresh.checkpoint, fresh.log), (None, None, vec![]), "of the one before");
        said(&bench, &lease, News { checkpoint: Some(Bytes::from_static(b"1")), ..all() }).await;
        bench.finish(lease, verdict).await;
        job
    };
    let job = run(Verdict::Complete).await;
    bench.clock.advance(HOUR / 2);
    bench.store.prune(&Prune::Expired, 100).await.expect("prune");
    let kept = bench.record(&job).await;
    assert_eq!((kept.progress.is_some(), kept.checkpoint.is_some(), kept.log.len()), (true, true, 1));
    bench.clock.advance(HOUR);
    bench.store.prune(&Prune::Expired, 100).await.expect("prune");
    assert!(bench.get(&job).await.is_none());
    let job: JobId = run(Verdict::Bury(DeadReason::Buried)).await;
    bench.operate(&job, Action::Delete).await;
    run(Verdict::Bury(DeadReason::Buried)).await;
    bench.clock.advance(100 * DAY);
    bench.store.prune(&Prune::Expired, 100).await.expect("prune");
    run(Verdict::Complete).await;
}

pub async fn a_redrive_keeps_the_checkpoint(bench: Bench) {
    let (job, lease) = bench.start(JobOptions::new()).await;
    said(&bench, &lease, News { progress: Some(Progress::new(0.5, "")), ..checkpoint(1, b"5") }).await;
    bench.finish(lease, Verdict::Bury(DeadReason::Exhausted)).await;
    bench.operate(&job, Action::Redrive).await;
    assert_eq!(bench.record(&job).await.progress, Some(Progress::new(0.5, "")));
    assert_eq!(again(&bench).await.checkpoint.as_deref(), Some(&b"5"[..]));
}

pub async fn an_edit_takes_progress_and_checkpoint_away(bench: Bench) {
    for payload in [Bytes::from_static(b"2"), Bytes::from(vec![b'2'; 5000])] {
        let (job, lease) = bench.start(JobOptions::new()).await;
        let all = News { progress: Some(Progress::new(0.5, "")), ..lines(1, &["a"]) };
        said(&bench, &lease, News { checkpoint: Some(Bytes::from_static(b"5")), ..all }).await;
        bench.finish(lease, Verdict::Release).await;
        bench.operate(&job, Action::Edit { payload: payload.clone() }).await;
        let record = bench.record(&job).await;
        assert_eq!((record.progress.clone(), record.checkpoint.clone()), (None, None));
        assert_eq!(texts(&record), ["a"], "what was logged was logged");
        let next = again(&bench).await;
        assert_eq!((&next.checkpoint, &next.spec.payload), (&None, &payload));
        bench.finish(next.lease(), Verdict::Complete).await;
    }
}

pub async fn a_listing_shows_progress_and_leaves_out_checkpoint_and_log(bench: Bench) {
    let (_, lease) = bench.start(JobOptions::new()).await;
    let all = News { progress: Some(Progress::new(0.5, "half")), ..lines(1, &["a"]) };
    said(&bench, &lease, News { checkpoint: Some(Bytes::from_static(b"5")), ..all }).await;
    for filter in [JobFilter::default(), JobFilter::default().state(State::Running)] {
        let page = bench.store.list(&filter, None, 10).await.expect("list");
        let job = &page.items[0];
        assert_eq!(job.progress, Some(Progress::new(0.5, "half")));
        assert_eq!((&job.checkpoint, job.log.len()), (&None, 0));
    }
}

pub async fn answers_of_reports_come_in_their_order(bench: Bench) {
    bench.add_many(3).await;
    let jobs = bench.claim(3).await;
    bench.finish(jobs[1].lease(), Verdict::Complete).await;
    bench.cancel(&jobs[2].spec.id, "a run that is to stop may still say something").await;
    let say = |job: &Claimed, number| Report { lease: job.lease(), news: lines(number, &["a"]) };
    let batch = vec![say(&jobs[2], 1), say(&jobs[1], 1), say(&jobs[0], 1), say(&jobs[2], 2)];
    let answers = bench.store.report(batch).await.expect("report");
    assert_eq!(answers, [Reported::Applied, Reported::Stale, Reported::Applied, Reported::Applied]);
    assert_eq!(bench.record(&jobs[2].spec.id).await.log.len(), 2);
    assert_eq!(bench.store.report(Vec::new()).await.expect("report"), []);
    assert!(bench.census().await.queues.iter().any(|found| found.name == queue("default")));
}
