//! What servers tell each other, and the burial of kinds that no living server handles.

use std::time::Duration;

use super::bench::{Bench, DAY, HOUR, SECOND, queue};
use crate::{
    job::{DeadReason, ErrorClass, JobId, JobOptions, State},
    store::{ClaimRequest, Prune, SERVER_SILENT_AFTER, ServerInfo},
};

fn server(bench: &Bench, kinds: &[&str]) -> ServerInfo {
    ServerInfo {
        host: "host-1".into(),
        pid: 4711,
        queues: vec![(queue("default"), 3), (queue("low"), 1)],
        kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        slots: 10,
        busy: 4,
        leaked: 1,
        quiet: true,
        ..ServerInfo::new(bench.server, bench.env.wall())
    }
}

async fn beat(bench: &Bench, info: &ServerInfo) {
    bench.store.beat(info).await.expect("beat");
}

async fn servers(bench: &Bench) -> Vec<ServerInfo> {
    bench.store.servers().await.expect("servers")
}

pub async fn a_server_is_listed_as_it_described_itself(bench: Bench) {
    assert_eq!(servers(&bench).await, []);
    let info = server(&bench, &["mail:*", "image", "*"]);
    bench.clock.advance(SECOND);
    beat(&bench, &info).await;
    assert_eq!(servers(&bench).await, [ServerInfo { seen_at: bench.env.wall(), ..info }]);
}

pub async fn a_beat_replaces_the_one_before(bench: Bench) {
    let info = server(&bench, &["a"]);
    beat(&bench, &info).await;
    bench.clock.advance(SECOND);
    let newer = ServerInfo { kinds: vec!["b".into()], busy: 0, quiet: false, ..info };
    beat(&bench, &newer).await;
    assert_eq!(servers(&bench).await, [ServerInfo { seen_at: bench.env.wall(), ..newer }]);
}

pub async fn two_starts_of_a_server_are_two_servers(bench: Bench) {
    let old = server(&bench, &["a"]);
    beat(&bench, &old).await;
    beat(&bench, &ServerInfo { id: bench.other, ..old }).await;
    let mut listed: Vec<_> = servers(&bench).await.into_iter().map(|server| server.id).collect();
    listed.sort();
    let mut expected = [bench.server, bench.other];
    expected.sort();
    assert_eq!(listed, expected);
    bench.store.leave(bench.server).await.expect("leave");
    assert_eq!(servers(&bench).await[0].id, bench.other);
}

pub async fn a_claim_that_arrives_after_its_server_left_gets_nothing(bench: Bench) {
    bench.add_many(2).await;
    let first = bench.request(1);
    let late = bench.request(1);
    assert_eq!(bench.take(&first).await.len(), 1);
    bench.store.leave(bench.server).await.expect("leave");
    assert!(bench.take(&late).await.is_empty() && bench.take(&first).await.is_empty(), "nobody would run them");
    let other = ClaimRequest { server: bench.other, ..bench.request(1) };
    assert_eq!(bench.take(&other).await.len(), 1);
}

pub async fn a_server_that_leaves_is_not_listed(bench: Bench) {
    beat(&bench, &server(&bench, &["a"])).await;
    bench.store.leave(bench.server).await.expect("leave");
    assert_eq!(servers(&bench).await, []);
    bench.store.leave(bench.other).await.expect("leaving twice is no error");
}

pub async fn a_silent_server_is_not_listed_until_it_speaks_again(bench: Bench) {
    let info = server(&bench, &["a"]);
    beat(&bench, &info).await;
    bench.clock.advance(SERVER_SILENT_AFTER - SECOND);
    assert_eq!(servers(&bench).await.len(), 1);
    bench.clock.advance(2 * SECOND);
    assert_eq!(servers(&bench).await, []);
    beat(&bench, &info).await;
    assert_eq!(servers(&bench).await.len(), 1);
    bench.clock.advance(30 * DAY);
    bench.store.prune(&Prune::Expired, 10).await.expect("prune");
    beat(&bench, &info).await;
    assert_eq!(servers(&bench).await.len(), 1, "a forgotten server may come back");
}

/// After so long a kind is unknown, in these facts.
const AFTER: Duration = Duration::from_secs(100);

/// Lets time pass in steps of five seconds with a sweep after each, while this server lives, if there is one.
async fn sweep(bench: &Bench, seconds: u32, live: Option<&ServerInfo>) -> u32 {
    let mut buried = 0;
    for _ in 0..seconds / 5 {
        bench.clock.advance(5 * SECOND);
        if let Some(info) = live {
            beat(bench, info).await;
        }
        buried += bench.store.sweep_unknown(AFTER, 100).await.expect("sweep");
    }
    buried
}

async fn unknown(bench: &Bench) -> JobId {
    bench.add_of("unknown", JobOptions::new()).await
}

pub async fn a_kind_that_no_live_server_handles_is_buried_in_the_end(bench: Bench) {
    let job = unknown(&bench).await;
    let handled = bench.add(JobOptions::new()).await;
    let info = server(&bench, &["work"]);
    beat(&bench, &info).await;
    assert_eq!(sweep(&bench, 90, Some(&info)).await, 0);
    assert_eq!(sweep(&bench, 20, Some(&info)).await, 1);
    let record = bench.record(&job).await;
    assert_eq!((record.state, record.reason.as_deref()), (State::Dead, Some(DeadReason::UnknownKind.as_str())));
    assert_eq!((record.attempt, record.failures, record.crashes), (0, 0, 0));
    assert_eq!(record.errors.last().map(|error| error.class), Some(ErrorClass::UnknownKind));
    assert_eq!(bench.state(&handled).await, State::Pending);
}

pub async fn time_without_live_servers_does_not_count(bench: Bench) {
    let job = unknown(&bench).await;
    assert_eq!(sweep(&bench, 500, None).await, 0);
    let info = server(&bench, &["work"]);
    beat(&bench, &info).await;
    assert_eq!(sweep(&bench, 90, Some(&info)).await, 0);
    assert_eq!(bench.state(&job).await, State::Pending);
    assert_eq!(sweep(&bench, 20, Some(&info)).await, 1);
}

pub async fn a_silent_server_does_not_count_as_live(bench: Bench) {
    let job = unknown(&bench).await;
    beat(&bench, &server(&bench, &["work"])).await;
    assert_eq!(sweep(&bench, 1000, None).await, 0);
    assert_eq!(bench.state(&job).await, State::Pending);
}

pub async fn a_server_that_leaves_after_a_silence_declares_nothing_any_more(bench: Bench) {
    unknown(&bench).await;
    beat(&bench, &ServerInfo { id: bench.other, ..server(&bench, &["unknown"]) }).await;
    bench.clock.advance(SERVER_SILENT_AFTER + SECOND);
    bench.store.leave(bench.other).await.expect("leave");
    let info = server(&bench, &["work"]);
    beat(&bench, &info).await;
    assert_eq!(sweep(&bench, 120, Some(&info)).await, 1);
}

pub async fn a_server_that_declares_the_kind_starts_its_time_again(bench: Bench) {
    let job = unknown(&bench).await;
    let info = server(&bench, &["work"]);
    beat(&bench, &info).await;
    assert_eq!(sweep(&bench, 80, Some(&info)).await, 0);
    let declaring = ServerInfo { kinds: vec!["unk*".into()], ..info.clone() };
    assert_eq!(sweep(&bench, 10, Some(&declaring)).await, 0);
    assert_eq!(sweep(&bench, 90, Some(&info)).await, 0);
    assert_eq!(bench.state(&job).await, State::Pending);
    assert_eq!(sweep(&bench, 20, Some(&info)).await, 1);
}

pub async fn one_live_server_that_declares_a_kind_is_enough(bench: Bench) {
    unknown(&bench).await;
    let other = ServerInfo { id: bench.other, ..server(&bench, &["work"]) };
    let declaring = server(&bench, &["unknown"]);
    beat(&bench, &declaring).await;
    for _ in 0..10 {
        beat(&bench, &other).await;
        assert_eq!(sweep(&bench, 20, Some(&declaring)).await, 0);
    }
}

pub async fn a_job_that_came_late_waits_its_own_time(bench: Bench) {
    let old = unknown(&bench).await;
    let info = server(&bench, &["work"]);
    beat(&bench, &info).await;
    assert_eq!(sweep(&bench, 60, Some(&info)).await, 0);
    let late = unknown(&bench).await;
    assert_eq!(sweep(&bench, 50, Some(&info)).await, 1);
    assert_eq!((bench.state(&old).await, bench.state(&late).await), (State::Dead, State::Pending));
    assert_eq!(sweep(&bench, 60, Some(&info)).await, 1);
    assert_eq!(bench.state(&late).await, State::Dead);
}

pub async fn only_pending_jobs_of_unknown_kinds_are_buried(bench: Bench) {
    let waiting = bench.add_of("unknown", JobOptions::new().process_in(DAY)).await;
    let running = unknown(&bench).await;
    bench.claim_one().await;
    let info = server(&bench, &["work"]);
    beat(&bench, &info).await;
    assert_eq!(sweep(&bench, 300, Some(&info)).await, 0);
    assert_eq!((bench.state(&waiting).await, bench.state(&running).await), (State::Scheduled, State::Running));
}

pub async fn a_sweep_buries_no_more_than_its_limit(bench: Bench) {
    for _ in 0..5 {
        unknown(&bench).await;
    }
    let info = server(&bench, &["work"]);
    for step in 0..50 {
        bench.clock.advance(5 * SECOND);
        beat(&bench, &info).await;
        // No limit stops the time; only the burials are bounded.
        let limit = if step < 40 { 0 } else { 2 };
        let buried = bench.store.sweep_unknown(AFTER, limit).await.expect("sweep");
        let expected = [0, 2, 2, 1, 0][(step.max(39) - 39).min(4)];
        assert_eq!(buried, expected, "step {step}");
    }
    assert_eq!(bench.census().await.queues[0].by_state[State::Dead.code() as usize], 5);
}

pub async fn a_long_pause_between_sweeps_counts_for_little(bench: Bench) {
    let job = unknown(&bench).await;
    let info = server(&bench, &["work"]);
    beat(&bench, &info).await;
    bench.store.sweep_unknown(DAY, 100).await.expect("sweep");
    // Nobody was there to sweep; whether servers lived all the while is not known.
    bench.clock.advance(25 * HOUR);
    beat(&bench, &info).await;
    assert_eq!(bench.store.sweep_unknown(DAY, 100).await.expect("sweep"), 0);
    assert_eq!(bench.state(&job).await, State::Pending);
}
