//! Leaders: one acts at a time, whatever is cut off, and another one soon.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use windlass::testing::World;

use crate::{Place, SECOND, TTL};

/// When somebody acted, and with which term.
type Acts = Arc<Mutex<Vec<(Duration, u64, usize)>>>;

#[test]
fn a_leader_that_is_cut_off_stops_before_another_one_starts() {
    for seed in 0..30 {
        World::run(seed, async |world| {
            let (place, acts) = (Place::new(&world), Acts::default());
            let mut ways = Vec::new();
            for candidate in 0..3 {
                let process = world.process(format!("candidate {candidate}"));
                let (client, way) = place.client(process.env());
                let (acts, clock) = (acts.clone(), world.clone());
                ways.push(way);
                process.env().spawn(async move {
                    let env = client.env().clone();
                    let leader = client.leader("a", TTL);
                    let led = leader.while_leading(|term| {
                        let (env, acts, clock) = (env.clone(), acts.clone(), clock.clone());
                        async move {
                            loop {
                                acts.lock().unwrap().push((clock.elapsed(), term.0, candidate));
                                env.sleep(SECOND / 10).await;
                            }
                        }
                    });
                    let led: Result<(), _> = led.await;
                    panic!("the work never ends, and a store that is away is waited for: {led:?}");
                });
            }
            for _ in 0..6 {
                world.env().sleep(2 * TTL + world.env().jittered(SECOND)).await;
                let leader = acts.lock().unwrap().last().expect("somebody leads").2;
                ways[leader].set_cut(true);
                world.env().sleep(3 * TTL).await;
                ways[leader].set_cut(false);
            }
            judge(&acts.lock().unwrap(), 6);
        });
    }
}

/// Terms rise, nobody acts after a later term began, and the gap between two leaders is at most a ttl and a poll.
fn judge(acts: &[(Duration, u64, usize)], least_terms: usize) {
    let mut terms = 1;
    for pair in acts.windows(2) {
        let [(at, term, _), (next_at, next, _)] = pair else { continue };
        assert!(next >= term, "term {term} acted at {at:?}, and the earlier term {next} at {next_at:?}");
        let longest = if next > term { TTL + SECOND } else { SECOND / 5 };
        assert!(*next_at - *at <= longest, "nobody led from {at:?} to {next_at:?}");
        terms += usize::from(next > term);
    }
    assert!(terms > least_terms, "{terms} terms: the leader was not cut off");
}

#[test]
fn work_that_ends_resigns_and_hands_its_answer_over() {
    World::run(1, async |world| {
        let (client, _) = Place::new(&world).client(world.env());
        let leader = client.leader("a", TTL);
        let first = leader.while_leading(|term| async move { term }).await.unwrap();
        let second = leader.while_leading(|term| async move { term }).await.unwrap();
        assert!(second > first);
        assert!(world.elapsed() < SECOND, "nobody waited for a ttl");
        let guard = leader.campaign().await.unwrap();
        assert!(guard.fence() > second);
    });
}
