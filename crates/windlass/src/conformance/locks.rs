//! Locks: as many holders as slots, fences that rise whatever happens, and a line that nobody passes.

use std::time::Duration;

use uuid::Uuid;

use super::{
    bench::{Bench, DAY, HOUR, MINUTE, SECOND},
    dropped::{POLLS, polled},
};
use crate::{
    job::{Fence, LockName},
    store::{Hold, LockInfo, LockReply, LockRequest, MAX_SLOTS, Prune, StoreError},
};

/// How long locks are held that do not say otherwise, and how long places in line are kept.
const TTL: Duration = Duration::from_secs(10);
const PLACE: Duration = Duration::from_secs(3);

fn name(text: &str) -> LockName {
    LockName::new(text).expect("a name")
}

/// An attempt at the lock `lock`, which does not wait.
fn attempt(bench: &Bench) -> LockRequest {
    let token = bench.env.new_token();
    LockRequest { name: name("lock"), slots: 1, token, ttl: TTL, place: None, holder: "somebody".into() }
}

/// The same, in line.
fn waiter(bench: &Bench) -> LockRequest {
    LockRequest { place: Some(PLACE), ..attempt(bench) }
}

async fn ask(bench: &Bench, request: &LockRequest) -> LockReply {
    bench.store.acquire_lock(request).await.expect("acquire")
}

/// Asks for a lock that must be free.
async fn take(bench: &Bench, request: &LockRequest) -> Hold {
    match ask(bench, request).await {
        LockReply::Held(fence) => Hold { name: request.name.clone(), token: request.token, fence },
        other => panic!("not held: {other:?}"),
    }
}

async fn is_busy(bench: &Bench, request: &LockRequest) -> bool {
    matches!(ask(bench, request).await, LockReply::Busy { .. })
}

/// How many stand ahead of one who must wait.
async fn ahead(bench: &Bench, request: &LockRequest) -> u32 {
    match ask(bench, request).await {
        LockReply::Busy { ahead, .. } => ahead,
        other => panic!("not busy: {other:?}"),
    }
}

async fn extend(bench: &Bench, hold: &Hold) -> bool {
    bench.store.extend_lock(hold, TTL).await.expect("extend")
}

async fn release(bench: &Bench, hold: &Hold) -> bool {
    bench.store.release_lock(&hold.name, hold.token, Some(hold.fence)).await.expect("release")
}

async fn listed(bench: &Bench) -> Vec<LockInfo> {
    bench.store.locks(None, 100).await.expect("locks").items
}

pub async fn a_lock_has_one_holder_and_is_free_once_it_is_given_back(bench: Bench) {
    let hold = take(&bench, &attempt(&bench)).await;
    let other = attempt(&bench);
    let LockReply::Busy { retry_in, ahead } = ask(&bench, &other).await else { panic!("it is held twice") };
    assert!(ahead == 0 && retry_in <= TTL && retry_in > TTL / 2, "{ahead} ahead, free in {retry_in:?}");
    assert!(release(&bench, &hold).await);
    assert!(!release(&bench, &hold).await, "it was given back already");
    let next = take(&bench, &other).await;
    assert!(next.fence > hold.fence);
    assert!(is_busy(&bench, &attempt(&bench)).await);
}

pub async fn a_semaphore_has_as_many_holders_as_slots(bench: Bench) {
    let asked = || LockRequest { slots: 3, ..attempt(&bench) };
    let mut holds = Vec::new();
    for _ in 0..3 {
        holds.push(take(&bench, &asked()).await);
    }
    assert!(is_busy(&bench, &asked()).await);
    assert!(release(&bench, &holds[1]).await);
    let fourth = take(&bench, &asked()).await;
    assert!(is_busy(&bench, &asked()).await);
    assert!(holds.iter().all(|hold| hold.fence < fourth.fence));
    assert!(extend(&bench, &holds[0]).await && extend(&bench, &holds[2]).await && extend(&bench, &fourth).await);
}

pub async fn locks_of_other_names_are_other_locks(bench: Bench) {
    let names = ["a", "A", "a b", "ä", "a:b", "'; --", "*", "%", "a\\", &"x".repeat(255)];
    for text in names {
        take(&bench, &LockRequest { name: name(text), ..attempt(&bench) }).await;
    }
    for text in names {
        assert!(is_busy(&bench, &LockRequest { name: name(text), ..attempt(&bench) }).await, "{text} is free");
    }
    let mut expected = names.map(str::to_owned);
    expected.sort();
    let found: Vec<_> = listed(&bench).await.iter().map(|lock| lock.name.to_string()).collect();
    assert_eq!(found, expected);
}

pub async fn of_many_who_ask_at_once_one_gets_it(bench: Bench) {
    let asks = (0..20).map(|_| {
        let (bench, request) = (bench.clone(), attempt(&bench));
        tokio::spawn(async move { ask(&bench, &request).await })
    });
    let mut held = 0;
    for answer in futures_util::future::join_all(asks).await {
        held += u32::from(matches!(answer.expect("no panic"), LockReply::Held(_)));
    }
    assert_eq!(held, 1);
}

pub async fn fences_rise_however_a_hold_ended(bench: Bench) {
    let mut last = Fence(0);
    for round in 0..8 {
        let hold = take(&bench, &attempt(&bench)).await;
        assert!(hold.fence > last, "round {round}: {} comes after {last}", hold.fence);
        last = hold.fence;
        match round % 4 {
            0 => assert!(release(&bench, &hold).await),
            1 => assert_eq!(bench.store.break_lock(&hold.name).await.expect("break"), 1),
            2 => bench.clock.advance(TTL + SECOND),
            // Another lock, and jobs, take fences too.
            _ => {
                take(&bench, &LockRequest { name: name(&format!("other {round}")), ..attempt(&bench) }).await;
                assert!(release(&bench, &hold).await);
            }
        }
    }
}

pub async fn fences_rise_over_a_clock_set_back_and_another_start(bench: Bench) {
    let first = take(&bench, &attempt(&bench)).await;
    assert!(release(&bench, &first).await);
    bench.clock.step_wall_back(2 * HOUR);
    let second = take(&bench, &attempt(&bench)).await;
    assert!(second.fence > first.fence);
    assert!(release(&bench, &second).await);
    bench.clock.reboot();
    let third = take(&bench, &attempt(&bench)).await;
    assert!(third.fence > second.fence);
}

pub async fn a_repeat_of_an_attempt_gets_the_same_hold_renewed(bench: Bench) {
    let request = attempt(&bench);
    let hold = take(&bench, &request).await;
    bench.clock.advance(TTL / 2);
    assert_eq!(take(&bench, &request).await, hold);
    bench.clock.advance(TTL / 2 + SECOND);
    assert!(is_busy(&bench, &attempt(&bench)).await, "it counts from the repeat");
    assert!(release(&bench, &hold).await);
    assert!(take(&bench, &request).await.fence > hold.fence, "what was given back is taken anew");
}

pub async fn a_lock_is_held_until_its_end_and_no_longer(bench: Bench) {
    let hold = take(&bench, &attempt(&bench)).await;
    bench.clock.advance(TTL - SECOND / 100);
    assert!(is_busy(&bench, &attempt(&bench)).await);
    bench.clock.advance(SECOND / 50);
    let next = take(&bench, &LockRequest { ttl: 2 * TTL, ..attempt(&bench) }).await;
    assert!(next.fence > hold.fence);
    bench.clock.advance(2 * TTL - SECOND);
    assert!(is_busy(&bench, &attempt(&bench)).await, "each has the ttl that it asked for");
}

pub async fn a_renewed_lock_is_kept(bench: Bench) {
    let hold = take(&bench, &attempt(&bench)).await;
    for _ in 0..10 {
        bench.clock.advance(TTL / 3);
        assert!(extend(&bench, &hold).await);
        assert!(is_busy(&bench, &attempt(&bench)).await);
    }
    assert!(bench.store.extend_lock(&hold, TTL / 10).await.expect("extend"));
    bench.clock.advance(TTL / 5);
    take(&bench, &attempt(&bench)).await;
}

pub async fn a_lapsed_lock_that_nobody_took_can_be_renewed(bench: Bench) {
    let hold = take(&bench, &attempt(&bench)).await;
    bench.clock.advance(6 * TTL);
    assert!(extend(&bench, &hold).await);
    assert!(is_busy(&bench, &attempt(&bench)).await);
}

pub async fn a_lost_lock_is_neither_renewed_nor_given_back_by_its_holder(bench: Bench) {
    let lost = take(&bench, &attempt(&bench)).await;
    bench.clock.advance(TTL + SECOND);
    let next = take(&bench, &attempt(&bench)).await;
    assert!(!extend(&bench, &lost).await);
    assert!(!release(&bench, &lost).await);
    assert!(!bench.store.release_lock(&lost.name, lost.token, None).await.expect("release"));
    assert!(is_busy(&bench, &attempt(&bench)).await, "the next holder has it still");
    assert!(extend(&bench, &next).await);
    assert!(release(&bench, &next).await);
    assert!(!extend(&bench, &lost).await, "what is lost stays lost, though it is free");
}

pub async fn a_wrong_fence_renews_and_gives_back_nothing(bench: Bench) {
    let hold = take(&bench, &attempt(&bench)).await;
    let wrong = Hold { fence: Fence(hold.fence.0 - 1), ..hold.clone() };
    bench.clock.advance(TTL / 2);
    assert!(!extend(&bench, &wrong).await && !release(&bench, &wrong).await);
    assert!(is_busy(&bench, &attempt(&bench)).await);
    bench.clock.advance(TTL / 2 + SECOND);
    take(&bench, &attempt(&bench)).await;
}

pub async fn a_step_of_the_wall_clock_ends_no_lock(bench: Bench) {
    let hold = take(&bench, &attempt(&bench)).await;
    bench.clock.step_wall_forward(2 * HOUR);
    assert!(is_busy(&bench, &attempt(&bench)).await);
    assert!(extend(&bench, &hold).await);
    bench.clock.step_wall_back(4 * HOUR);
    assert!(is_busy(&bench, &attempt(&bench)).await);
    bench.clock.advance(TTL + SECOND);
    assert!(take(&bench, &attempt(&bench)).await.fence > hold.fence);
}

pub async fn after_another_start_a_lock_is_free_within_its_ttl(bench: Bench) {
    let hold = take(&bench, &attempt(&bench)).await;
    bench.clock.reboot();
    // At once where its holder is gone for sure; where it may live on, it has a whole ttl from here.
    let other = attempt(&bench);
    ask(&bench, &other).await;
    bench.clock.advance(TTL + SECOND);
    assert!(take(&bench, &other).await.fence > hold.fence);
    assert!(!extend(&bench, &hold).await);
}

pub async fn waiters_get_it_in_the_order_in_which_they_came(bench: Bench) {
    let mut hold = take(&bench, &attempt(&bench)).await;
    let line: Vec<_> = (0..4).map(|_| waiter(&bench)).collect();
    for (place, one) in line.iter().enumerate() {
        assert_eq!(ahead(&bench, one).await as usize, place);
    }
    for at in 0..line.len() {
        assert!(release(&bench, &hold).await);
        for behind in line[at + 1..].iter().rev() {
            assert!(is_busy(&bench, behind).await, "one passed the first of the line");
        }
        hold = take(&bench, &line[at]).await;
    }
}

pub async fn nobody_passes_those_who_wait(bench: Bench) {
    let hold = take(&bench, &attempt(&bench)).await;
    let first = waiter(&bench);
    assert_eq!(ahead(&bench, &first).await, 0);
    assert!(release(&bench, &hold).await);
    assert_eq!(ahead(&bench, &attempt(&bench)).await, 1);
    assert_eq!(ahead(&bench, &waiter(&bench)).await, 1);
    take(&bench, &first).await;
}

pub async fn free_slots_go_to_as_many_waiters(bench: Bench) {
    let two = |request: LockRequest| LockRequest { slots: 2, ..request };
    let holds = [take(&bench, &two(attempt(&bench))).await, take(&bench, &two(attempt(&bench))).await];
    let line = [two(waiter(&bench)), two(waiter(&bench)), two(waiter(&bench))];
    for one in &line {
        assert!(is_busy(&bench, one).await);
    }
    assert!(release(&bench, &holds[0]).await && release(&bench, &holds[1]).await);
    assert!(is_busy(&bench, &line[2]).await);
    take(&bench, &line[1]).await;
    assert!(is_busy(&bench, &line[2]).await, "the other slot is the first one's");
    take(&bench, &line[0]).await;
    assert_eq!(ahead(&bench, &line[2]).await, 0);
}

pub async fn a_waiter_who_stops_asking_falls_out_of_line(bench: Bench) {
    let hold = take(&bench, &attempt(&bench)).await;
    let (dead, alive) = (waiter(&bench), waiter(&bench));
    assert!(is_busy(&bench, &dead).await && is_busy(&bench, &alive).await);
    bench.clock.advance(PLACE / 2);
    assert_eq!(ahead(&bench, &alive).await, 1);
    bench.clock.advance(PLACE / 2 + SECOND / 10);
    assert_eq!(ahead(&bench, &alive).await, 0);
    // It comes back to the end of the line.
    assert_eq!(ahead(&bench, &dead).await, 1);
    assert!(release(&bench, &hold).await);
    assert!(is_busy(&bench, &dead).await);
    take(&bench, &alive).await;
}

pub async fn only_who_stands_ahead_is_in_the_way_of_a_waiter(bench: Bench) {
    let hold = take(&bench, &LockRequest { ttl: HOUR, ..attempt(&bench) }).await;
    let [first, second, third] =
        [PLACE, PLACE / 2, PLACE / 3].map(|place| LockRequest { place: Some(place), ..attempt(&bench) });
    for one in [&first, &second, &third] {
        let LockReply::Busy { retry_in, .. } = ask(&bench, one).await else { panic!("it is held") };
        assert_eq!(retry_in, HOUR, "it is held, so no place is in the way");
    }
    assert!(release(&bench, &hold).await);
    assert_eq!(ask(&bench, &second).await, LockReply::Busy { retry_in: PLACE, ahead: 1 });
    assert_eq!(ask(&bench, &third).await, LockReply::Busy { retry_in: PLACE / 2, ahead: 2 });
    assert_eq!(ask(&bench, &attempt(&bench)).await, LockReply::Busy { retry_in: PLACE / 3, ahead: 3 });
    take(&bench, &first).await;
}

pub async fn a_waiter_keeps_its_place_as_long_as_it_asks(bench: Bench) {
    let hold = take(&bench, &LockRequest { ttl: 2 * MINUTE, ..attempt(&bench) }).await;
    let (first, second) = (waiter(&bench), waiter(&bench));
    for _ in 0..20 {
        assert_eq!(ahead(&bench, &first).await, 0);
        assert_eq!(ahead(&bench, &second).await, 1);
        bench.clock.advance(PLACE * 2 / 3);
    }
    assert!(release(&bench, &hold).await);
    assert!(is_busy(&bench, &second).await);
    take(&bench, &first).await;
}

pub async fn a_waiter_that_gives_up_leaves_the_line(bench: Bench) {
    let hold = take(&bench, &attempt(&bench)).await;
    let (first, second) = (waiter(&bench), waiter(&bench));
    assert!(is_busy(&bench, &first).await && is_busy(&bench, &second).await);
    assert!(!bench.store.release_lock(&first.name, first.token, None).await.expect("release"), "it held nothing");
    assert_eq!(ahead(&bench, &second).await, 0);
    assert!(release(&bench, &hold).await);
    take(&bench, &second).await;
}

pub async fn another_number_of_slots_is_refused_while_somebody_is_there(bench: Bench) {
    let hold = take(&bench, &attempt(&bench)).await;
    let three = LockRequest { slots: 3, ..waiter(&bench) };
    assert_eq!(ask(&bench, &three).await, LockReply::OtherSlots(1));
    let line = waiter(&bench);
    assert_eq!(ahead(&bench, &line).await, 0, "who was refused does not wait");
    assert!(release(&bench, &hold).await);
    assert_eq!(ask(&bench, &three).await, LockReply::OtherSlots(1), "somebody waits");
    assert_eq!(listed(&bench).await[0].slots, 1);
    bench.clock.advance(PLACE + SECOND);
    take(&bench, &three).await;
    assert_eq!(ask(&bench, &line).await, LockReply::OtherSlots(3));
    assert_eq!(listed(&bench).await[0].slots, 3);
}

pub async fn what_lapsed_does_not_come_back_to_a_lock_with_another_number_of_slots(bench: Bench) {
    let of = |slots| LockRequest { slots, ..attempt(&bench) };
    for (before, after) in [(2, 3), (3, 2)] {
        let lapsed = take(&bench, &of(before)).await;
        bench.clock.advance(TTL + SECOND);
        let next = take(&bench, &of(after)).await;
        assert!(!extend(&bench, &lapsed).await, "{before} slots, then {after}");
        assert_eq!((listed(&bench).await[0].slots, listed(&bench).await[0].held), (after, 1));
        assert!(release(&bench, &next).await);
        assert!(!extend(&bench, &lapsed).await);
    }
}

pub async fn a_broken_lock_goes_to_the_first_waiter_and_its_holder_finds_out(bench: Bench) {
    let nobody = bench.store.break_lock(&name("lock")).await.expect("break");
    assert_eq!(nobody, 0);
    let hold = take(&bench, &attempt(&bench)).await;
    let first = waiter(&bench);
    assert!(is_busy(&bench, &first).await);
    assert_eq!(bench.store.break_lock(&hold.name).await.expect("break"), 1);
    assert!(!extend(&bench, &hold).await && !release(&bench, &hold).await);
    assert!(is_busy(&bench, &attempt(&bench)).await, "the waiter's place is kept");
    assert!(take(&bench, &first).await.fence > hold.fence);
}

pub async fn a_lock_given_back_wakes_those_who_wait(bench: Bench) {
    let hold = take(&bench, &attempt(&bench)).await;
    let one = waiter(&bench);
    assert!(is_busy(&bench, &one).await);
    let mut hints = bench.store.wakeups();
    hints.mark_seen();
    assert!(release(&bench, &hold).await);
    tokio::time::timeout(Duration::from_secs(10), hints.changed()).await.expect("a hint");
    let hold = take(&bench, &one).await;
    hints.mark_seen();
    assert_eq!(bench.store.break_lock(&hold.name).await.expect("break"), 1);
    tokio::time::timeout(Duration::from_secs(10), hints.changed()).await.expect("a hint");
}

pub async fn locks_are_listed_by_name_in_pages(bench: Bench) {
    assert_eq!(listed(&bench).await, []);
    let holds = [take(&bench, &attempt(&bench)).await, {
        let request = LockRequest { name: name("a"), slots: 20, holder: "host:7".into(), ..attempt(&bench) };
        take(&bench, &request).await
    }];
    let since = bench.env.wall();
    for _ in 0..14 {
        take(&bench, &LockRequest { name: name("a"), slots: 20, ..attempt(&bench) }).await;
    }
    assert!(is_busy(&bench, &waiter(&bench)).await && is_busy(&bench, &waiter(&bench)).await);
    bench.clock.advance(SECOND);
    let all = listed(&bench).await;
    let [a, lock] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((a.name.as_str(), a.slots, a.held, a.waiting), ("a", 20, 15, 0));
    assert_eq!((lock.name.as_str(), lock.slots, lock.held, lock.waiting), ("lock", 1, 1, 2));
    assert_eq!(a.holders.len(), 10, "only some are named");
    let first = &a.holders[0];
    assert_eq!((first.fence, &*first.holder, first.since), (holds[1].fence, "host:7", since));
    assert_eq!(first.left, TTL - SECOND);
    assert!(a.holders.is_sorted_by_key(|holder| holder.fence));

    let page = bench.store.locks(None, 1).await.expect("locks");
    assert_eq!((page.items.len(), page.next), (1, Some(name("a"))));
    let page = bench.store.locks(Some(name("a")), 1).await.expect("locks");
    assert_eq!((page.items[0].name.as_str(), page.next), ("lock", None));
    assert!(release(&bench, &holds[0]).await);
    bench.clock.advance(TTL + SECOND);
    assert_eq!(listed(&bench).await, [], "what has lapsed is held by nobody");
}

pub async fn a_prune_keeps_what_is_held_and_waited_for(bench: Bench) {
    let hold = take(&bench, &LockRequest { ttl: HOUR, ..attempt(&bench) }).await;
    let one = waiter(&bench);
    assert!(is_busy(&bench, &one).await);
    bench.store.prune(&Prune::Expired, 100).await.expect("prune");
    assert_eq!(ahead(&bench, &waiter(&bench)).await, 1);
    assert!(extend(&bench, &hold).await);
    bench.clock.advance(3 * DAY);
    bench.store.prune(&Prune::Expired, 100).await.expect("prune");
    assert_eq!(listed(&bench).await, []);
    assert!(take(&bench, &attempt(&bench)).await.fence > hold.fence);
    bench.store.prune(&Prune::Expired, 100).await.expect("prune");
    assert_eq!(listed(&bench).await.len(), 1);
}

pub async fn a_prune_after_another_start_keeps_what_is_held_since(bench: Bench) {
    bench.clock.reboot();
    let hold = take(&bench, &attempt(&bench)).await;
    bench.store.prune(&Prune::Expired, 100).await.expect("prune");
    assert!(is_busy(&bench, &attempt(&bench)).await && extend(&bench, &hold).await);
}

pub async fn what_no_lock_may_have_is_refused(bench: Bench) {
    let bad = [
        LockRequest { slots: 0, ..attempt(&bench) },
        LockRequest { slots: MAX_SLOTS + 1, ..attempt(&bench) },
        LockRequest { ttl: Duration::ZERO, ..attempt(&bench) },
        LockRequest { ttl: DAY, ..attempt(&bench) },
        LockRequest { place: Some(Duration::ZERO), ..attempt(&bench) },
        LockRequest { holder: "x".repeat(256).into(), ..attempt(&bench) },
        LockRequest { holder: "a\nb".into(), ..attempt(&bench) },
    ];
    for request in bad {
        let answer = bench.store.acquire_lock(&request).await;
        assert!(matches!(answer, Err(StoreError::Invalid(_))), "{request:?}: {answer:?}");
    }
    let hold = take(&bench, &LockRequest { slots: MAX_SLOTS, ..attempt(&bench) }).await;
    let answer = bench.store.extend_lock(&hold, Duration::ZERO).await;
    assert!(matches!(answer, Err(StoreError::Invalid(_))), "{answer:?}");
    let never = Hold { token: Uuid::nil(), ..hold };
    assert!(!extend(&bench, &never).await && !release(&bench, &never).await);
}

pub async fn an_attempt_dropped_at_any_await_can_be_repeated_or_taken_back(bench: Bench) {
    for polls in POLLS {
        let request = attempt(&bench);
        let done = polled(polls, bench.store.acquire_lock(&request)).await;
        let hold = take(&bench, &request).await;
        let done = done.map(|answer| assert_eq!(answer.expect("acquire"), LockReply::Held(hold.fence)));
        assert!(is_busy(&bench, &attempt(&bench)).await);
        polled(polls, bench.store.release_lock(&hold.name, hold.token, None)).await;
        let left = bench.store.release_lock(&hold.name, hold.token, None).await.expect("release");
        let other = take(&bench, &attempt(&bench)).await;
        assert!(release(&bench, &other).await);
        if done.is_some() && !left {
            return;
        }
    }
    panic!("the call never ended");
}
