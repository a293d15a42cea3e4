//! The ticker.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use windlass::{Ticker, periodic, testing::World};

use crate::{Counter, MINUTE, MS, SECOND, on_simulated_time};

type Seen = Arc<Mutex<Vec<(Duration, Duration)>>>;

/// Runs that last as long as `lasts` says for each, and note from when to when they were there.
fn observed(world: &World, interval: Duration, lasts: impl Fn(u64) -> Duration + Send + 'static) -> (Ticker, Seen) {
    let (seen, count) = (Seen::default(), Counter::default());
    let (noted, clock) = (seen.clone(), world.clone());
    let ticker = periodic(interval, move || {
        let (noted, clock, wait) = (noted.clone(), clock.clone(), lasts(count.add()));
        async move {
            let began = clock.elapsed();
            clock.env().sleep(wait).await;
            noted.lock().unwrap().push((began, clock.elapsed()));
        }
    });
    (ticker.env(world.env()).start(), seen)
}

fn starts(seen: &Seen) -> Vec<Duration> {
    seen.lock().unwrap().iter().map(|(began, _)| *began).collect()
}

#[test]
fn it_runs_at_once_and_then_on_the_interval() {
    on_simulated_time(async |world| {
        let (ticker, seen) = observed(&world, MINUTE, |_| Duration::ZERO);
        world.sleep_until(MINUTE * 3 + SECOND).await;
        assert_eq!(starts(&seen), [Duration::ZERO, MINUTE, 2 * MINUTE, 3 * MINUTE]);
        assert_eq!((ticker.runs(), ticker.missed()), (4, 0));
    });
}

#[test]
fn a_long_run_leaves_its_ticks_out_and_moves_none_that_follow() {
    on_simulated_time(async |world| {
        let (ticker, seen) = observed(&world, SECOND, |run| if run == 1 { MS * 2500 } else { Duration::ZERO });
        world.sleep_until(SECOND * 6 + MS).await;
        assert_eq!(starts(&seen), [0, 1, 4, 5, 6].map(|second| SECOND * second));
        assert_eq!(ticker.missed(), 2, "the ticks of the seconds 2 and 3");
    });
}

#[test]
fn runs_of_any_length_never_overlap_and_start_on_ticks_alone() {
    for seed in 0..200 {
        World::run(seed, async |world| {
            let chance = world.process("chance").env();
            let interval = MS * (1 + chance.random() % 5000) as u32;
            let (ticker, seen) = observed(&world, interval, move |_| MS * (chance.random() % 7000) as u32);
            world.sleep_until(MINUTE * 5).await;
            ticker.stop().await;
            let seen = seen.lock().unwrap();
            assert!(seen.len() > 10, "seed {seed}");
            for pair in seen.windows(2) {
                assert!(pair[0].1 <= pair[1].0, "seed {seed}: {pair:?} overlap");
                assert!(
                    pair[1].0 - pair[0].1 <= interval,
                    "seed {seed}: a tick was left out that need not be: {pair:?}"
                );
            }
            for (began, _) in &*seen {
                assert_eq!(began.as_millis() % interval.as_millis(), 0, "seed {seed}: {began:?} is no tick");
            }
        });
    }
}

#[test]
fn runs_and_missed_ticks_add_up_to_the_time() {
    on_simulated_time(async |world| {
        let (ticker, _) = observed(&world, SECOND, |run| MS * (run % 4) as u32 * 1100);
        world.sleep_until(SECOND * 10_000 + MS).await;
        ticker_adds_up(&ticker, 10_000);
    });
}

fn ticker_adds_up(ticker: &Ticker, last_tick: u64) {
    // The last run may be under way; what it will miss is not known yet.
    let counted = ticker.runs() + ticker.missed();
    assert!(counted <= last_tick + 1 && counted + 4 > last_tick, "{ticker:?}");
}

#[test]
fn ticks_of_a_process_that_stood_still_are_not_made_up_for() {
    on_simulated_time(async |world| {
        let (process, runs) = (world.process("one"), Counter::default());
        let counted = runs.clone();
        let ticker = periodic(SECOND, move || {
            counted.add();
            std::future::ready(())
        });
        let ticker = ticker.env(process.env()).start();
        world.sleep_until(SECOND * 2 + MS).await;
        process.freeze();
        world.sleep_until(SECOND * 60 + MS).await;
        process.thaw();
        world.sleep_until(SECOND * 61 + MS).await;
        assert_eq!(runs.get(), 5, "0, 1, 2; one when it goes on, for the tick it slept through; 61");
        assert_eq!(ticker.missed(), 57);
    });
}

#[test]
fn stop_waits_for_the_run_under_way_and_none_follows() {
    on_simulated_time(async |world| {
        let (ticker, seen) = observed(&world, MINUTE, |_| 10 * SECOND);
        world.sleep_until(MINUTE + SECOND).await;
        ticker.stop().await;
        assert_eq!(world.elapsed(), MINUTE + 10 * SECOND);
        world.sleep_until(10 * MINUTE).await;
        assert_eq!(starts(&seen).len(), 2);
    });
}

#[test]
fn a_ticker_between_two_ticks_stops_at_once() {
    on_simulated_time(async |world| {
        let (ticker, _) = observed(&world, MINUTE, |_| Duration::ZERO);
        world.sleep_until(SECOND).await;
        ticker.stop().await;
        assert_eq!(world.elapsed(), SECOND);
    });
}

#[test]
fn a_cancelled_token_and_a_dropped_handle_stop_it() {
    on_simulated_time(async |world| {
        let (parent, runs) = (CancellationToken::new(), Counter::default());
        let start = |runs: Counter| {
            let ticker = periodic(SECOND, move || {
                runs.add();
                std::future::ready(())
            });
            ticker.env(world.env()).cancel_on(parent.clone()).start()
        };
        let (of_token, of_drop) = (runs.clone(), Counter::default());
        let held = start(of_token);
        let dropped = start(of_drop.clone());
        world.sleep_until(SECOND + MS).await;
        drop(dropped);
        world.sleep_until(SECOND * 2 + MS).await;
        parent.cancel();
        world.sleep_until(MINUTE).await;
        assert_eq!((runs.get(), of_drop.get()), (3, 2));
        held.stop().await;
    });
}

#[test]
fn a_panic_ends_its_run_only() {
    on_simulated_time(async |world| {
        let runs = Counter::default();
        let counted = runs.clone();
        let ticker = periodic(SECOND, move || {
            let run = counted.add();
            assert_ne!(run, 0, "the call itself panics");
            async move { assert_ne!(run, 1, "the future panics") }
        });
        let ticker = ticker.env(world.env()).start();
        world.sleep_until(SECOND * 3 + MS).await;
        assert_eq!((runs.get(), ticker.runs(), ticker.panics(), ticker.missed()), (4, 4, 2, 0));
    });
}
