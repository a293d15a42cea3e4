//! The guards are in the scripts that Redis runs. Here each is taken out on its way there, and the facts of the suite that
//! stand for it must fail.
#![cfg(feature = "conformance")]

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use windlass::{
    conformance::{Bench, FACTS, Opened},
    store::redis::RedisStore,
};

use crate::servers::Server;

/// The file of a script, what of its text makes the guard, and what stands there instead.
struct Without {
    script: &'static str,
    guard: &'static str,
    instead: &'static str,
}

impl Without {
    fn new(script: &'static str, guard: &'static str, instead: &'static str) -> Self {
        assert_eq!(script.matches(guard).count(), 1, "`{guard}` is not there once any more; mend this control");
        Self { script, guard, instead }
    }

    /// Asserts that each of these facts (`area::name`) fails without the guard, and holds with it on the same way.
    async fn is_caught_by(&self, facts: &[&str]) {
        let server = Server::start();
        for (number, name) in facts.iter().enumerate() {
            let fact = FACTS.iter().find(|fact| format!("{}::{}", fact.area, fact.name) == *name);
            let fact = fact.unwrap_or_else(|| panic!("no fact is called {name}"));
            for (guarded, instead) in [(false, self.instead), (true, self.guard)] {
                let port = rewriting(server.port, self.guard.as_bytes(), padded(instead, self.guard.len())).await;
                let url = format!("redis://127.0.0.1:{port}/0?prefix=control-{number}-{guarded}");
                let open = async move |env| Opened::new(RedisStore::open_on_clock_of(&url, env).await.expect("open"));
                let outcome = AssertUnwindSafe((fact.check)(Bench::open(open).await)).catch_unwind().await;
                let first = self.script.lines().next().unwrap_or_default();
                assert_eq!(outcome.is_ok(), guarded, "{name}, with `{instead}` for `{}` in {first}", self.guard);
                // What Redis has learnt on the way with the guard it must not know on the one without.
                let mut redis = redis::Client::open(server.url(0)).expect("a URL").get_connection().expect("connect");
                redis::cmd("SCRIPT").arg("FLUSH").exec(&mut redis).expect("SCRIPT FLUSH");
            }
        }
    }
}

/// As long as the guard, since the length of a script is said before it.
fn padded(text: &str, length: usize) -> Vec<u8> {
    assert!(text.len() <= length, "what stands instead of a guard is no longer than it");
    format!("{text:<length$}").into_bytes()
}

/// A way to the server on which some bytes become others. Answers its port.
async fn rewriting(target: u16, from: &[u8], to: Vec<u8>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    let from = from.to_vec();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", target)).await.expect("Redis is there");
            let (from, to) = (from.clone(), to.clone());
            let ((asks, mut answered), (mut answers, asked)) = (client.into_split(), server.into_split());
            tokio::spawn(rewrite(asks, asked, from, to));
            tokio::spawn(async move { tokio::io::copy(&mut answers, &mut answered).await });
        }
    });
    port
}

async fn rewrite(
    mut asks: impl AsyncReadExt + Unpin,
    mut asked: impl AsyncWriteExt + Unpin,
    from: Vec<u8>,
    to: Vec<u8>,
) {
    let mut held = Vec::new();
    while let Ok(1..) = asks.read_buf(&mut held).await {
        while let Some(at) = held.windows(from.len()).position(|bytes| bytes == from) {
            if from == to {
                break;
            }
            held.splice(at..at + from.len(), to.iter().copied());
        }
        // What may be the beginning of the guard waits for its end.
        let begun = (1..from.len()).rev().find(|many| held.ends_with(&from[..*many])).unwrap_or(0);
        let rest = held.split_off(held.len() - begun);
        if asked.write_all(&held).await.is_err() {
            return;
        }
        held = rest;
    }
}

const CHANGE_SCHEDULE: &str = include_str!("../../src/store/redis/lua/change_schedule.lua");
const LOCK_ACQUIRE: &str = include_str!("../../src/store/redis/lua/lock_acquire.lua");
const LOCK_EXTEND: &str = include_str!("../../src/store/redis/lua/lock_extend.lua");
const LOCK_RELEASE: &str = include_str!("../../src/store/redis/lua/lock_release.lua");

#[tokio::test]
async fn a_change_of_whatever_version_of_a_schedule_is_caught_in_lua() {
    let without = Without::new(CHANGE_SCHEDULE, "if revision ~= from then", "if false then");
    without
        .is_caught_by(&[
            "schedules::a_change_counts_only_for_the_version_that_was_read",
            "schedules::a_repeat_after_a_lost_reply_is_a_conflict",
            "schedules::of_many_who_change_one_version_one_wins",
        ])
        .await;
}

#[tokio::test]
async fn a_version_that_does_not_rise_is_caught_in_lua() {
    let without = Without::new(CHANGE_SCHEDULE, "math.max(rising('revision', 1), revision + 1)", "now");
    without.is_caught_by(&["schedules::a_version_never_comes_again"]).await;
}

#[tokio::test]
async fn a_lock_that_looks_at_no_holder_is_caught_in_lua() {
    let without = Without::new(LOCK_ACQUIRE, "if ahead < slots - held then", "if ahead < slots then");
    without
        .is_caught_by(&[
            "locks::a_lock_has_one_holder_and_is_free_once_it_is_given_back",
            "locks::of_many_who_ask_at_once_one_gets_it",
            "locks::a_semaphore_has_as_many_holders_as_slots",
        ])
        .await;
}

#[tokio::test]
async fn a_lock_that_looks_at_no_line_is_caught_in_lua() {
    let without = Without::new(LOCK_ACQUIRE, "if ahead < slots - held then", "if held < slots then");
    without
        .is_caught_by(&["locks::nobody_passes_those_who_wait", "locks::waiters_get_it_in_the_order_in_which_they_came"])
        .await;
}

#[tokio::test]
async fn a_fence_that_does_not_rise_is_caught_in_lua() {
    let without = Without::new(LOCK_ACQUIRE, "math.max(last + 1, tonumber(ARGV[4]) + 1, now)", "now");
    without
        .is_caught_by(&[
            "locks::fences_rise_however_a_hold_ended",
            "locks::fences_rise_over_a_clock_set_back_and_another_start",
        ])
        .await;
}

#[tokio::test]
async fn a_lock_without_a_check_of_the_fence_is_caught_in_lua() {
    let fact = ["locks::a_wrong_fence_renews_and_gives_back_nothing"];
    Without::new(LOCK_EXTEND, "if not own or own.fence ~= fence then", "if not own then").is_caught_by(&fact).await;
    Without::new(LOCK_RELEASE, "own and (fence == '' or own.fence == fence)", "own").is_caught_by(&fact).await;
}
