//! Who holds a lock: keeps it, gives it back, and knows in time that it is lost.

use std::{future::poll_fn, task::Poll, time::Duration};

use windlass::{
    Error,
    testing::{Call, World},
};

use crate::{Place, SECOND, TTL, polled};

#[test]
fn a_lock_is_kept_for_as_long_as_it_is_held_and_is_free_when_it_is_given_back() {
    World::run(1, async |world| {
        let place = Place::new(&world);
        let (one, way) = place.client(world.env());
        let (other, _) = place.client(world.env());
        let guard = one.lock("a", TTL).acquire().await.unwrap();
        for _ in 0..50 {
            world.env().sleep(TTL / 2).await;
            assert!(other.lock("a", TTL).try_acquire().await.unwrap().is_none());
            assert!(!guard.is_lost());
        }
        assert!(way.calls(Call::ExtendLock) >= 70, "about every third of the ttl");
        let fence = guard.fence();
        guard.release().await.unwrap();
        let next = other.lock("a", TTL).try_acquire().await.unwrap().expect("it is free");
        assert!(next.fence() > fence);
    });
}

#[test]
fn a_guard_that_is_dropped_gives_its_lock_back_in_the_background() {
    World::run(2, async |world| {
        let (client, way) = Place::new(&world).client(world.env());
        drop(client.lock("a", TTL).acquire().await.unwrap());
        let began = world.elapsed();
        drop(client.lock("a", TTL).acquire().await.unwrap());
        assert!(world.elapsed() - began < SECOND);
        // Even if that does not arrive, the lock is free within its ttl.
        way.fail_next(Call::ReleaseLock, 10);
        drop(client.lock("a", TTL).acquire().await.unwrap());
        let began = world.elapsed();
        drop(client.lock("a", TTL).acquire().await.unwrap());
        let waited = world.elapsed() - began;
        assert!(waited > SECOND && waited <= TTL + SECOND, "{waited:?}");
    });
}

#[test]
fn a_holder_that_is_cut_off_knows_that_its_lock_is_lost_before_anybody_has_it() {
    World::run(3, async |world| {
        let place = Place::new(&world);
        let (one, way) = place.client(world.env());
        let (other, _) = place.client(world.env());
        let guard = one.lock("a", TTL).acquire().await.unwrap();
        world.env().sleep(10 * SECOND).await;
        way.set_cut(true);
        let cut = world.elapsed();
        let waits = world.env().spawn(async move {
            let next = other.lock("a", TTL).acquire().await.unwrap();
            next.release().await.unwrap();
        });
        guard.lost().await;
        let lost = world.elapsed() - cut;
        assert!(lost < TTL && lost > TTL / 2, "{lost:?}");
        assert!(!waits.is_finished(), "somebody had it before it was known to be lost");
        assert!(matches!(guard.release().await, Err(Error::LockLost { .. })));
        waits.await.unwrap();
        assert!(world.elapsed() - cut <= TTL + SECOND, "it was free within its ttl");
    });
}

#[test]
fn a_store_that_never_answers_takes_a_lock_away_in_time() {
    World::run(4, async |world| {
        let (client, way) = Place::new(&world).client(world.env());
        let guard = client.lock("a", TTL).acquire().await.unwrap();
        way.delay_next(Call::ExtendLock, 100, Duration::from_secs(3600));
        guard.lost().await;
        assert!(world.elapsed() < TTL, "{:?}", world.elapsed());
    });
}

#[test]
fn a_short_outage_costs_no_lock() {
    World::run(5, async |world| {
        let (client, way) = Place::new(&world).client(world.env());
        let guard = client.lock("a", TTL).acquire().await.unwrap();
        for _ in 0..10 {
            way.fail_next(Call::ExtendLock, 3);
            way.lose_replies(Call::ExtendLock, 2);
            world.env().sleep(2 * TTL).await;
            assert!(!guard.is_lost());
        }
        guard.release().await.unwrap();
    });
}

#[test]
fn the_answer_to_an_acquire_that_is_lost_costs_nothing() {
    World::run(6, async |world| {
        let place = Place::new(&world);
        let (client, way) = place.client(world.env());
        way.lose_replies(Call::AcquireLock, 2);
        let guard = client.lock("a", TTL).try_acquire().await.unwrap().expect("it has it already, and gets it");
        assert_eq!(way.calls(Call::AcquireLock), 3);
        let there = place.store.locks(None, 10).await.unwrap().items;
        assert_eq!((there.len(), there[0].held, there[0].holders[0].fence), (1, 1, guard.fence()));
    });
}

#[test]
fn work_under_a_lock_ends_with_it() {
    World::run(7, async |world| {
        let place = Place::new(&world);
        let (client, _) = place.client(world.env());
        let done = client.run_with_lock("a", TTL, |fence| async move { fence }).await.unwrap();
        assert!(done.0 > 0);
        assert!(client.locks(None, 10).await.unwrap().items.is_empty(), "it was given back");
        let (operator, _) = place.client(world.env());
        let breaks = world.env().spawn(async move {
            while operator.break_lock("a").await.unwrap() == 0 {
                operator.env().sleep(SECOND).await;
            }
        });
        let lost = client.run_with_lock("a", TTL, |_| std::future::pending::<()>()).await;
        assert!(matches!(lost, Err(Error::LockLost { ref name, .. }) if name.as_str() == "a"), "{lost:?}");
        breaks.await.unwrap();
        assert!(world.elapsed() < TTL);
    });
}

#[test]
fn work_whose_lock_was_broken_is_no_success_though_it_ended_before_a_renewal() {
    World::run(10, async |world| {
        let place = Place::new(&world);
        let (client, way) = place.client(world.env());
        let (operator, _) = place.client(world.env());
        let robbed = |_| async {
            assert_eq!(operator.break_lock("a").await.unwrap(), 1);
            assert!(operator.lock("a", TTL).try_acquire().await.unwrap().is_some());
        };
        let lost = client.run_with_lock("a", TTL, robbed).await;
        assert!(matches!(lost, Err(Error::LockLost { .. })), "{lost:?}");
        assert_eq!(way.calls(Call::ExtendLock), 0, "nobody has asked meanwhile");
        // A leader's work is not done twice for that.
        let broken = |_| async { operator.break_lock("b").await.unwrap() };
        assert_eq!(client.leader("b", TTL).while_leading(broken).await.unwrap(), 1);
    });
}

#[test]
fn a_store_whose_answers_outlast_the_ttl_is_an_error_and_keeps_nothing() {
    let ttl = Duration::from_millis(100);
    World::run(11, async |world| {
        let place = Place::new(&world);
        for patience in [Duration::ZERO, 5 * SECOND] {
            let (client, way) = place.client(world.env());
            way.delay_next(Call::AcquireLock, 1_000_000, ttl);
            let began = world.elapsed();
            let slow = client.lock("a", ttl).acquire_within(patience).await;
            assert!(matches!(&slow, Err(Error::Store(error)) if error.to_string().contains("longer")), "{slow:?}");
            assert!(world.elapsed() - began < 6 * SECOND);
            let there = place.store.locks(None, 10).await.unwrap().items;
            assert!(there.is_empty(), "{there:?}");
            // One late answer is nothing to speak of.
            let (client, way) = place.client(world.env());
            way.delay_next(Call::AcquireLock, 1, ttl);
            client.lock("a", ttl).acquire_within(patience).await.unwrap().expect("it is free").release().await.unwrap();
        }
        let (client, way) = place.client(world.env());
        way.delay_next(Call::AcquireLock, 1_000_000, ttl);
        assert!(client.lock("a", ttl).acquire().await.is_err());
    });
}

#[test]
fn an_acquire_that_is_told_to_stop_has_left_nothing_when_it_answers() {
    World::run(12, async |world| {
        let place = Place::new(&world);
        let (other, _) = place.client(world.env());
        let held = other.lock("held", TTL).acquire().await.unwrap();
        for (name, patience) in [("free", Duration::ZERO), ("free", 5 * SECOND), ("held", 5 * SECOND)] {
            for mut polls in 0..8_u32 {
                let (client, way) = place.client(world.env());
                way.lose_replies(Call::AcquireLock, 1);
                let stop = poll_fn(|_| {
                    polls = polls.wrapping_sub(1);
                    if polls == u32::MAX { Poll::Ready(()) } else { Poll::Pending }
                });
                let got = client.lock(name, TTL).acquire_unless(patience, stop).await.unwrap();
                assert!(got.is_none() || name == "free");
                if let Some(guard) = got {
                    guard.release().await.unwrap();
                }
                let there = place.store.locks(None, 10).await.unwrap().items;
                assert_eq!((there.len(), there[0].held, there[0].waiting), (1, 1, 0), "{name} {patience:?} {there:?}");
            }
        }
        drop(held);
    });
}

#[test]
fn an_acquire_dropped_at_any_await_leaves_the_lock_free_within_one_ttl() {
    World::run(8, async |world| {
        let place = Place::new(&world);
        let (other, _) = place.client(world.env());
        for (arrives, polls) in
            [(true, 0), (false, 0)].into_iter().flat_map(|(arrives, _)| (0..12).map(move |n| (arrives, n)))
        {
            let (client, way) = place.client(world.env());
            if !arrives {
                way.fail_next(Call::ReleaseLock, 100);
            }
            // A first answer that is lost, so that there are more awaits.
            way.lose_replies(Call::AcquireLock, 1);
            let guard = polled(polls, client.lock("a", TTL).acquire()).await;
            let began = world.elapsed();
            drop(guard);
            let next = other.lock("a", TTL).acquire().await.unwrap();
            let waited = world.elapsed() - began;
            assert!(waited <= TTL + SECOND, "after {polls} polls it was free only after {waited:?}");
            next.release().await.unwrap();
        }
    });
}

#[test]
fn what_no_lock_may_have_is_an_error_at_once() {
    World::run(9, async |world| {
        let (client, way) = Place::new(&world).client(world.env());
        assert!(matches!(client.lock("", TTL).acquire().await, Err(Error::Invalid(_))));
        assert!(matches!(client.lock("a{", TTL).try_acquire().await, Err(Error::Invalid(_))));
        assert!(matches!(client.lock("a", Duration::ZERO).acquire().await, Err(Error::Store(_))));
        assert!(matches!(client.semaphore("a", 501, TTL).acquire().await, Err(Error::Store(_))));
        assert_eq!(way.calls(Call::AcquireLock), 0);
        let _guard = client.lock("a", TTL).acquire().await.unwrap();
        let other = client.semaphore("a", 2, TTL).acquire().await;
        assert!(matches!(other, Err(Error::LockSlots { asked: 2, there: 1, .. })), "{other:?}");
    });
}
