//! Retrying an operation.

use std::{error::Error, time::Duration};

use tokio_util::sync::CancellationToken;
use windlass::{GaveUp, Jitter, ResultExt, RetryPolicy, retry};

use crate::{Counter, MINUTE, MS, SECOND, on_simulated_time};

fn refused() -> std::io::Error {
    std::io::Error::from(std::io::ErrorKind::ConnectionRefused)
}

#[test]
fn it_is_tried_until_it_works_with_the_waits_of_the_policy() {
    on_simulated_time(async |world| {
        let calls = Counter::default();
        let answer = retry(RetryPolicy::doubling(SECOND), || {
            let call = calls.add();
            async move { if call < 3 { Err(refused()) } else { Ok(call) } }
        });
        assert_eq!(answer.env(world.env()).await.unwrap(), 3);
        assert_eq!(world.elapsed(), SECOND * (1 + 2 + 4));
    });
}

#[test]
fn the_attempts_end_and_the_last_error_is_kept() {
    on_simulated_time(async |world| {
        let calls = Counter::default();
        let answer = retry(RetryPolicy::fixed(SECOND), || {
            let call = calls.add();
            async move { Err::<(), _>(format!("failure {call}")) }
        });
        let error = answer.attempts(4).env(world.env()).await.unwrap_err();
        assert_eq!((error.why(), error.attempts(), calls.get()), (GaveUp::Attempts, 4, 4));
        assert_eq!(error.source().unwrap().to_string(), "failure 3");
        assert_eq!(error.to_string(), "gave up after 4 attempts, which is as many as it has");
        assert_eq!(world.elapsed(), 3 * SECOND, "no wait after the last one");
    });
}

#[test]
fn a_permanent_error_ends_it_at_once() {
    on_simulated_time(async |world| {
        let marked = retry(RetryPolicy::fixed(SECOND), || async { "x".parse::<u32>().or_bury() });
        let marked = marked.env(world.env()).await.unwrap_err();
        let judged = retry(RetryPolicy::fixed(SECOND), || async { Err::<(), _>(refused()) })
            .permanent_if(|error| error.kind() == std::io::ErrorKind::ConnectionRefused);
        let judged = judged.env(world.env()).await.unwrap_err();
        for error in [marked, judged] {
            assert_eq!((error.why(), error.attempts()), (GaveUp::Permanent, 1));
        }
        assert_eq!(world.elapsed(), Duration::ZERO);
    });
}

#[test]
fn an_error_can_say_when_to_come_back_and_that_it_is_no_failure() {
    on_simulated_time(async |world| {
        let calls = Counter::default();
        let answer = retry(RetryPolicy::fixed(SECOND), || {
            let call = calls.add();
            async move {
                match call {
                    0 => Err("busy").or_retry_after(MINUTE),
                    1..=5 => Err("maintenance").or_snooze(10 * SECOND),
                    _ => Ok(()),
                }
            }
        });
        answer.attempts(2).env(world.env()).await.unwrap();
        assert_eq!(world.elapsed(), MINUTE + 50 * SECOND);
    });
}

#[test]
fn its_time_ends_it_before_a_wait_that_would_last_longer() {
    on_simulated_time(async |world| {
        let failing = || async { Err::<(), _>(refused()) };
        let answer = retry(RetryPolicy::doubling(SECOND), failing).within(10 * SECOND).env(world.env());
        let error = answer.await.unwrap_err();
        assert_eq!((error.why(), error.attempts()), (GaveUp::Time, 4));
        assert_eq!(world.elapsed(), 7 * SECOND, "the wait of 8 seconds is not begun");
    });
}

#[test]
fn a_cancelled_token_ends_a_wait_and_an_attempt() {
    on_simulated_time(async |world| {
        let (token, env) = (CancellationToken::new(), world.env());
        let canceller = token.clone();
        env.clone().spawn(async move {
            env.sleep(10 * SECOND).await;
            canceller.cancel();
        });
        let waiting = retry(RetryPolicy::fixed(MINUTE), || async { Err::<(), _>(refused()) });
        let stuck = retry(RetryPolicy::fixed(MINUTE), std::future::pending::<Result<(), std::io::Error>>);
        let (waiting, stuck) = tokio::join!(
            waiting.env(world.env()).cancel_on(token.clone()).into_future(),
            stuck.env(world.env()).cancel_on(token.clone()).into_future()
        );
        let (waiting, stuck) = (waiting.unwrap_err(), stuck.unwrap_err());
        assert_eq!(world.elapsed(), 10 * SECOND);
        assert_eq!((waiting.why(), waiting.attempts(), waiting.last().is_some()), (GaveUp::Cancelled, 1, true));
        assert_eq!((stuck.why(), stuck.attempts(), stuck.last().is_some()), (GaveUp::Cancelled, 0, false));
        let calls = Counter::default();
        let late = retry(RetryPolicy::fixed(MS), || {
            calls.add();
            async { Ok::<_, std::io::Error>(()) }
        });
        assert!(late.cancel_on(token).await.is_err(), "a token that is cancelled already");
    });
}

#[test]
fn jitter_spreads_what_failed_together() {
    on_simulated_time(async |world| {
        let mut waits = Vec::new();
        for _ in 0..50 {
            let began = world.elapsed();
            let policy = RetryPolicy::exponential(MINUTE).jitter(Jitter::Full);
            let answer = retry(policy, || async { Err::<(), _>(refused()) }).attempts(2).env(world.env());
            answer.await.unwrap_err();
            waits.push(world.elapsed() - began);
        }
        waits.sort();
        waits.dedup();
        assert!(waits.len() > 40 && waits[waits.len() - 1] <= MINUTE);
    });
}

#[test]
fn a_handler_that_passes_a_permanent_error_on_is_buried() {
    on_simulated_time(async |world| {
        let error = retry(RetryPolicy::default(), || async { "x".parse::<u32>().or_bury() }).env(world.env());
        let error: windlass::JobError = error.await.unwrap_err().into();
        assert!(format!("{error:?}").ends_with("(Bury)"), "{error:?}");
    });
}

#[test]
fn what_it_repeats_may_borrow() {
    on_simulated_time(async |world| {
        let (text, mut calls) = (String::from("borrowed"), 0);
        let length = retry(RetryPolicy::fixed(MS), || {
            calls += 1;
            let (text, ready) = (&text, calls > 1);
            async move { if ready { Ok(text.len()) } else { Err(refused()) } }
        });
        assert_eq!(length.env(world.env()).await.unwrap(), 8);
    });
}
