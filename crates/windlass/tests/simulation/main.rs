//! The seeded simulation: production servers on virtual time, a network that fails, processes that die and freeze,
//! and a checker of what windlass promises. Every failure names its seed:
//!
//! - `WINDLASS_SIM_SEED=1234 cargo test -p windlass --features testing --test simulation` runs that one, with its trace.
//! - `WINDLASS_SIM_SEEDS=100000` runs that many.
#![cfg(feature = "testing")]

mod check;
mod corners;
mod disturbed;
mod facts;
mod handlers;
mod history;
mod mutants;
mod plan;
mod rules;
mod run;
mod schedules;

use check::check;
use corners::Corners;
use rules::Violation;
use run::{Beneath, Ran, run};

/// How many seeds a plain `cargo test` runs.
const SEEDS: u64 = 3000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not `{text}`")))
}

/// The store as it is.
fn honest() -> Box<Beneath<'static>> {
    Box::new(|store| store)
}

/// What happened, line by line: all of it, or what has to do with the violation.
fn trace(ran: &Ran, violation: Option<&Violation>) -> String {
    let concerns = |event: &history::Event| match violation.and_then(|violation| violation.job.as_ref()) {
        Some(job) => event.concerns(job),
        None => true,
    };
    let until = violation.map_or(std::time::Duration::MAX, |violation| violation.at);
    let lines: Vec<_> = ran.events.iter().filter(|(at, event)| *at <= until && concerns(event)).collect();
    let tail = if violation.is_some() { lines.len().saturating_sub(60) } else { 0 };
    lines[tail..].iter().map(|(at, event)| format!("{:>10.3} {event:?}\n", at.as_secs_f64())).collect()
}

fn explain(seed: u64, ran: &Ran, violation: &Violation) -> String {
    format!(
        "{}\nseed {seed} ({:?}): {violation}\nreplay: WINDLASS_SIM_SEED={seed}",
        trace(ran, Some(violation)),
        ran.plan.weather
    )
}

#[test]
fn every_promise_holds_on_every_seed() {
    if let Some(seed) = number("WINDLASS_SIM_SEED") {
        let ran = run(seed, &*honest());
        println!("{:#?}\n{}", ran.plan, trace(&ran, None));
        let violation = check(&ran);
        assert!(violation.is_none(), "{}", explain(seed, &ran, &violation.unwrap()));
        return;
    }
    let seeds = number("WINDLASS_SIM_SEEDS").unwrap_or(SEEDS);
    let mut corners = Corners::default();
    for seed in 0..seeds {
        let ran = run(seed, &*honest());
        if let Some(violation) = check(&ran) {
            panic!("{}", explain(seed, &ran, &violation));
        }
        corners.add(&ran);
        if (seed + 1).is_multiple_of(5_000) {
            println!("{} seeds", seed + 1);
        }
    }
    for (corner, times) in corners.each() {
        println!("{times:>8} {corner}");
        // Ten in a thousand seeds is little; none at all is a hole.
        assert!(times >= seeds / 100, "{corner}: only {times} in {seeds} seeds");
    }
}

#[test]
fn the_same_seed_makes_the_same_run() {
    for seed in 0..40 {
        let (one, two) = (run(seed, &*honest()), run(seed, &*honest()));
        assert_eq!(trace(&one, None), trace(&two, None), "seed {seed}");
        assert_eq!(one.pace, two.pace, "seed {seed}: calls without effect came at other times");
    }
    assert_ne!(run(1, &*honest()).pace, run(2, &*honest()).pace);
}
