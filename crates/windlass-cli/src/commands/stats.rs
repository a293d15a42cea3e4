//! `windlass stats`: counts now, and what has ended lately.

use std::time::Duration;

use clap::{Args, ValueEnum};
use windlass::{
    BreakerState, JobState,
    store::{Dimension, GroupStats, Stats},
};

use crate::{
    exit::Exit,
    output::{or_dash, pairs, table},
    store::App,
    units,
};

#[derive(Args, Debug)]
pub(crate) struct Flags {
    /// What ended within this long, by the minute [default: all that is kept, 35 days]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    since: Option<Duration>,
    /// Break it down
    #[arg(long)]
    by: Option<By>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    Queue,
    Kind,
    Tenant,
}

pub(crate) async fn run(app: &App, flags: Flags) -> anyhow::Result<Exit> {
    let client = app.existing().await?;
    let by = flags.by.map(|by| match by {
        By::Queue => Dimension::Queue,
        By::Kind => Dimension::Kind,
        By::Tenant => Dimension::Tenant,
    });
    let stats = client.stats(flags.since, by).await?;
    app.out.document(&stats, || words(&stats, by.is_some()))?;
    Ok(Exit::Ok)
}

fn words(stats: &Stats, groups: bool) -> String {
    let millis = |millis: f64| format!("{millis:.1} ms");
    let times = |times: [f64; 4]| times.map(millis).join(", ");
    let states = JobState::ALL.iter().map(|state| (state, stats.by_state[state.code() as usize]));
    let states: Vec<String> =
        states.filter(|(_, count)| *count > 0).map(|(state, count)| format!("{count} {state}")).collect();
    let mut text = pairs(&[
        ("pending, running now", format!("{}, {}", stats.pending, stats.running)),
        ("completed, failed", format!("{}, {}", stats.completed, stats.failed)),
        ("failed attempts retried", stats.retried.to_string()),
        ("average duration", millis(stats.avg_duration_ms)),
        (
            "wait avg, p50, p95, p99",
            times([stats.avg_wait_ms, stats.p50_wait_ms, stats.p95_wait_ms, stats.p99_wait_ms]),
        ),
        ("run avg, p50, p95, p99", times([stats.avg_run_ms, stats.p50_run_ms, stats.p95_run_ms, stats.p99_run_ms])),
        ("ever enqueued, removed", format!("{}, {}", stats.enqueued, stats.removed)),
        ("in the store", if states.is_empty() { "nothing".into() } else { states.join(", ") }),
    ]);
    if !stats.servers.is_empty() {
        let server = |server: &windlass::store::ServerInfo| {
            let numbers = [server.slots, server.busy, server.leaked].map(|number| number.to_string());
            [server.id.to_string(), server.host.clone(), server.pid.to_string()].into_iter().chain(numbers).collect()
        };
        let rows: Vec<Vec<String>> = stats.servers.iter().map(server).collect();
        text += &format!("\n{}", table(&["SERVER", "HOST", "PID", "SLOTS", "BUSY", "LEAKED"], &rows));
    }
    let breakers = stats.servers.iter().flat_map(|server| server.breakers.iter().map(move |breaker| (server, breaker)));
    for (server, breaker) in breakers.filter(|(_, breaker)| breaker.state != BreakerState::Closed) {
        let until = breaker.until.map_or("trying a job".into(), |until| format!("open until {until}"));
        text += &format!("\nbreaker of {} in server {}: {until}", breaker.kind, server.id);
    }
    if groups {
        let headings =
            ["NAME", "PENDING", "RUNNING", "COMPLETED", "FAILED", "RETRIED", "AVERAGE", "WAIT P99", "RUN P99"];
        let row = |group: &GroupStats| {
            let now = [group.pending, group.running].map(or_dash);
            let counts = [group.completed, group.failed, group.retried].map(|count| count.to_string());
            let times = [Some(group.avg_duration_ms), group.p99_wait_ms, group.p99_run_ms]
                .map(|time| or_dash(time.map(millis)));
            [group.name.clone()].into_iter().chain(now).chain(counts).chain(times).collect()
        };
        let rows: Vec<Vec<String>> = stats.items.iter().map(row).collect();
        text += &format!("\n{}", table(&headings, &rows));
    }
    text
}
