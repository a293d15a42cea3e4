//! Who waits for a lock: served in order, in time, and gone when it stops to wait.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use windlass::testing::{Call, World};

use crate::{Place, SECOND, TTL};

#[test]
fn waiters_are_served_in_the_order_in_which_they_came() {
    World::run(1, async |world| {
        let place = Place::new(&world);
        let (client, _) = place.client(world.env());
        let guard = client.lock("a", TTL).acquire().await.unwrap();
        let served = Arc::new(Mutex::new(Vec::new()));
        let mut line = Vec::new();
        for number in 0..6 {
            let (client, _) = place.client(world.env());
            let served = served.clone();
            line.push(world.env().spawn(async move {
                let guard = client.lock("a", TTL).acquire().await.unwrap();
                served.lock().unwrap().push(number);
                client.env().sleep(SECOND).await;
                guard.release().await.unwrap();
            }));
            world.env().sleep(SECOND).await;
        }
        assert!(client.lock("a", TTL).try_acquire().await.unwrap().is_none());
        guard.release().await.unwrap();
        for one in line {
            one.await.unwrap();
        }
        assert_eq!(*served.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
    });
}

#[test]
fn a_long_line_has_no_holes_though_everybody_holds_it_for_a_moment_only() {
    World::run(6, async |world| {
        let place = Place::new(&world);
        for held_for in [SECOND / 40, SECOND / 10, SECOND / 2] {
            let (client, _) = place.client(world.env());
            let guard = client.lock("a", TTL).acquire().await.unwrap();
            let times = Arc::new(Mutex::new(Vec::new()));
            let mut line = Vec::new();
            for _ in 0..10 {
                let (client, way) = place.client(world.env());
                let (times, clock, env) = (times.clone(), world.clone(), world.env());
                line.push((
                    way,
                    env.spawn(async move {
                        let guard = client.lock("a", TTL).acquire().await.unwrap();
                        let got = clock.elapsed();
                        client.env().sleep(held_for).await;
                        times.lock().unwrap().push((got, clock.elapsed()));
                        guard.release().await.unwrap();
                    }),
                ));
                world.env().sleep(SECOND / 30).await;
            }
            guard.release().await.unwrap();
            let mut asked = 0;
            for (way, one) in line {
                one.await.unwrap();
                asked += way.calls(Call::AcquireLock);
            }
            let gap = times.lock().unwrap().windows(2).map(|pair| pair[1].0 - pair[0].1).max().unwrap();
            assert!(gap <= SECOND / 20, "nobody held it for {gap:?} where each holds it for {held_for:?}");
            println!("each {held_for:?}: longest gap {gap:?}, {asked} calls");
            assert!(asked < 200, "{asked} calls of ten waiters");
        }
    });
}

#[test]
fn a_lock_goes_from_hand_to_hand_at_a_hint_and_without_one_within_half_a_second() {
    World::run(2, async |world| {
        let place = Place::new(&world);
        for deaf in [false, true] {
            let (holder, _) = place.client(world.env());
            let guard = holder.lock("a", TTL).acquire().await.unwrap();
            let (client, way) = place.client(world.env());
            if deaf {
                way.make_deaf();
            }
            let waits = world.env().spawn(async move { drop(client.lock("a", TTL).acquire().await.unwrap()) });
            world.env().sleep(20 * SECOND).await;
            let polls = way.calls(Call::AcquireLock);
            assert!((40..=120).contains(&polls), "{polls} polls in twenty seconds");
            guard.release().await.unwrap();
            let began = world.elapsed();
            waits.await.unwrap();
            let waited = world.elapsed() - began;
            assert!(waited < if deaf { SECOND / 2 } else { SECOND / 20 }, "deaf {deaf}: {waited:?}");
        }
    });
}

#[test]
fn who_waits_for_so_long_gets_nothing_afterwards_and_leaves_the_line() {
    World::run(3, async |world| {
        let place = Place::new(&world);
        let (client, _) = place.client(world.env());
        let guard = client.lock("a", TTL).acquire().await.unwrap();
        let began = world.elapsed();
        assert!(client.lock("a", TTL).acquire_within(5 * SECOND).await.unwrap().is_none());
        let waited = world.elapsed() - began;
        assert!(waited >= 5 * SECOND && waited < 6 * SECOND, "{waited:?}");
        world.env().sleep(SECOND).await;
        assert_eq!(client.locks(None, 10).await.unwrap().items[0].waiting, 0);
        guard.release().await.unwrap();
        assert!(client.lock("a", TTL).acquire_within(Duration::ZERO).await.unwrap().is_some());
    });
}

#[test]
fn a_waiter_that_is_killed_holds_nobody_up_for_long() {
    World::run(4, async |world| {
        let place = Place::new(&world);
        let (client, _) = place.client(world.env());
        let guard = client.lock("a", TTL).acquire().await.unwrap();
        let process = world.process("first in line");
        let (first, _) = place.client(process.env());
        process.env().spawn(async move { drop(first.lock("a", TTL).acquire().await) });
        world.env().sleep(SECOND).await;
        assert_eq!(client.locks(None, 10).await.unwrap().items[0].waiting, 1);
        process.kill();
        guard.release().await.unwrap();
        let began = world.elapsed();
        drop(client.lock("a", TTL).acquire().await.unwrap());
        let waited = world.elapsed() - began;
        assert!(waited <= 4 * SECOND, "{waited:?}");
    });
}

#[test]
fn a_waiter_outlasts_an_outage_of_the_store() {
    World::run(5, async |world| {
        let place = Place::new(&world);
        let (client, _) = place.client(world.env());
        let guard = client.lock("a", TTL).acquire().await.unwrap();
        let (waiter, _) = place.client(world.env());
        let waits = world.env().spawn(async move {
            waiter.lock("a", TTL).acquire().await.unwrap().release().await.unwrap();
        });
        world.env().sleep(SECOND).await;
        place.network.set_down(true);
        world.env().sleep(20 * SECOND).await;
        place.network.set_down(false);
        assert!(guard.is_lost());
        waits.await.unwrap();
    });
}
