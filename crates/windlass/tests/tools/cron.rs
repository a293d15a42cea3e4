//! Cron specs in one process.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use windlass::{Cron, Overlap, ScheduleSpec, Timestamp, testing::World};

use crate::{Counter, HOUR, MINUTE, OnDrop, SECOND, on_simulated_time};

/// The wall's next full hour: simulated time begins somewhere.
async fn at_a_full_hour(world: &World) -> Timestamp {
    let hour = ScheduleSpec::parse("@hourly").unwrap().next(world.env().wall()).unwrap();
    world.env().sleep(hour.since(world.env().wall())).await;
    hour
}

/// Runs that last this long, and the moments after `from` at which they began.
fn noting(
    world: &World,
    from: Timestamp,
    lasts: Duration,
) -> (impl FnMut() -> windlass::BoxFuture<()> + Send + use<>, Arc<Mutex<Vec<Duration>>>) {
    let (seen, env) = (Arc::new(Mutex::new(Vec::new())), world.env());
    let noted = seen.clone();
    let work = move || -> windlass::BoxFuture<()> {
        noted.lock().unwrap().push(env.wall().since(from));
        let env = env.clone();
        Box::pin(async move { env.sleep(lasts).await })
    };
    (work, seen)
}

#[test]
fn it_runs_at_the_ticks_and_not_at_the_start() {
    on_simulated_time(async |world| {
        let from = at_a_full_hour(&world).await;
        let (work, seen) = noting(&world, from, Duration::ZERO);
        let (other, others) = noting(&world, from, Duration::ZERO);
        let cron = Cron::new().add("0 */5 * * * *", work).add("@every 20m", other).env(world.env()).start().unwrap();
        world.env().sleep(MINUTE * 16).await;
        assert_eq!(*seen.lock().unwrap(), [5, 10, 15].map(|minute| MINUTE * minute));
        world.env().sleep(MINUTE * 5).await;
        assert_eq!(*others.lock().unwrap(), [MINUTE * 20]);
        assert_eq!((cron.runs(), cron.missed(), cron.panics()), (5, 0, 0));
        assert_eq!(cron.tickers()[1].runs(), 1);
        cron.stop().await;
        world.env().sleep(HOUR).await;
        assert_eq!(seen.lock().unwrap().len(), 4);
    });
}

#[test]
fn a_bad_spec_or_zone_is_an_error_at_the_start_that_names_the_field() {
    on_simulated_time(async |world| {
        let start = |cron: Cron| cron.env(world.env()).start().unwrap_err().to_string();
        let ran = Counter::default();
        let counted = ran.clone();
        let good = Cron::new().add("* * * * * *", move || {
            counted.add();
            async {}
        });
        let error = start(good.add("0 25 * * *", || async {}));
        assert!(error.starts_with("hour `25`"), "{error}");
        let error = start(Cron::new().timezone("Europe/Atlantis").add("@daily", || async {}));
        assert!(error.starts_with("time zone `Europe/Atlantis`"), "{error}");
        world.env().sleep(MINUTE).await;
        assert_eq!(ran.get(), 0, "nothing runs of what was not started as a whole");
    });
}

/// Ticks each minute, runs of two and a half: the minutes at which they began within ten, and what was left out.
fn overlapping(policy: Overlap) -> (Vec<u64>, u64) {
    let found = Arc::new(Mutex::new((Vec::new(), 0)));
    let result = found.clone();
    on_simulated_time(async move |world| {
        let from = at_a_full_hour(&world).await;
        let (work, seen) = noting(&world, from, SECOND * 150);
        let cron = Cron::new().overlap(policy).add("* * * * *", work).env(world.env()).start().unwrap();
        world.env().sleep(MINUTE * 8 + SECOND).await;
        let minutes = seen.lock().unwrap().iter().map(|began| began.as_secs() / 30).collect();
        *found.lock().unwrap() = (minutes, cron.missed());
        cron.stop().await;
    });
    let found = result.lock().unwrap();
    found.clone()
}

#[test]
fn each_overlap_policy_begins_its_exact_runs() {
    // In half minutes. A run that was begun on a tick ends in the middle of the third minute.
    assert_eq!(overlapping(Overlap::Skip), (vec![2, 8, 14], 5));
    assert_eq!(overlapping(Overlap::Allow), (vec![2, 4, 6, 8, 10, 12, 14, 16], 0));
    assert_eq!(overlapping(Overlap::BufferOne), (vec![2, 7, 12], 4));
    assert_eq!(overlapping(Overlap::CancelRunning), (vec![2, 4, 6, 8, 10, 12, 14, 16], 0));
}

#[test]
fn a_run_that_is_cancelled_is_dropped_and_its_successor_goes_on() {
    on_simulated_time(async |world| {
        at_a_full_hour(&world).await;
        let (dropped, ended) = (Counter::default(), Counter::default());
        let (on_drop, at_end, env, runs) = (dropped.clone(), ended.clone(), world.env(), Counter::default());
        let cron = Cron::new().overlap(Overlap::CancelRunning).add("0 0,1 * * * *", move || {
            let (guard, ended, env) = (OnDrop(on_drop.clone()), at_end.clone(), env.clone());
            let lasts = if runs.add() == 0 { MINUTE * 5 } else { MINUTE * 40 };
            async move {
                env.sleep(lasts).await;
                ended.add();
                drop(guard);
            }
        });
        let cron = cron.env(world.env()).start().unwrap();
        world.env().sleep(HOUR + MINUTE * 2).await;
        // Begun at minutes 1, 60 and 61; the second is dropped at the third.
        assert_eq!((cron.runs(), ended.get(), dropped.get()), (3, 1, 2));
        cron.stop().await;
        assert_eq!((ended.get(), dropped.get()), (2, 3));
    });
}

#[test]
fn a_stop_waits_for_what_runs_and_lets_nothing_begin() {
    on_simulated_time(async |world| {
        let from = at_a_full_hour(&world).await;
        let (work, seen) = noting(&world, from, MINUTE * 10);
        let parent = CancellationToken::new();
        let cron = Cron::new().overlap(Overlap::BufferOne).add("* * * * *", work);
        let cron = cron.cancel_on(parent.clone()).env(world.env()).start().unwrap();
        world.env().sleep(MINUTE * 3).await;
        parent.cancel();
        cron.stop().await;
        assert_eq!(world.env().wall().since(from), MINUTE * 11);
        world.env().sleep(HOUR).await;
        assert_eq!(*seen.lock().unwrap(), [MINUTE], "the tick that waited for its turn is left out");
    });
}

#[test]
fn a_clock_that_steps_neither_repeats_nor_makes_up_for_ticks() {
    on_simulated_time(async |world| {
        let from = at_a_full_hour(&world).await;
        let (work, seen) = noting(&world, from, Duration::ZERO);
        let cron = Cron::new().add("0 0 * * * *", work).env(world.env()).start().unwrap();
        world.env().sleep(HOUR + MINUTE).await;
        world.step_wall(-(HOUR.as_micros() as i64));
        world.env().sleep(HOUR + MINUTE).await;
        assert_eq!(*seen.lock().unwrap(), [HOUR], "the hour that came again is not run again");
        world.step_wall(3 * HOUR.as_micros() as i64);
        world.env().sleep(MINUTE * 2).await;
        assert_eq!((seen.lock().unwrap().len(), cron.missed()), (1, 3));
        world.env().sleep(HOUR).await;
        assert_eq!(seen.lock().unwrap().len(), 2);
        cron.stop().await;
    });
}

#[test]
fn a_panic_ends_its_run_only() {
    on_simulated_time(async |world| {
        let runs = Counter::default();
        let counted = runs.clone();
        let cron = Cron::new().add("* * * * * *", move || {
            let run = counted.add();
            assert!(run != 1, "the call of the second run panics");
            async move { assert!(run != 2, "so does the third run itself") }
        });
        let cron = cron.env(world.env()).start().unwrap();
        world.env().sleep(SECOND * 5).await;
        assert!(runs.get() >= 4);
        assert_eq!(cron.panics(), 2);
        cron.stop().await;
    });
}
