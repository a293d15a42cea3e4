//! The queue of named jobs in memory.

use tokio_util::sync::CancellationToken;
use windlass::{
    Group, GroupRules, JobContext, JobOptions, JobQueue, JobQueueBuilder, JobState, QueueError, RawJob, RetryPolicy,
    Router, State, testing::World,
};

use crate::{Counter, HOUR, MINUTE, MS, SECOND, on_simulated_time};

#[derive(Clone)]
struct Shared {
    runs: Counter,
    world: windlass::Env,
}

/// Fails in every attempt but the third.
async fn third_time(_: RawJob, State(shared): State<Shared>, ctx: JobContext) -> windlass::Result {
    shared.runs.add();
    if ctx.attempt() < 3 { Err(format!("attempt {}", ctx.attempt()).into()) } else { Ok(()) }
}

async fn slow(_: RawJob, State(shared): State<Shared>) -> windlass::Result {
    shared.world.sleep(SECOND).await;
    shared.runs.add();
    Ok(())
}

async fn fail(_: RawJob) -> windlass::Result {
    Err("never".into())
}

async fn panic(_: RawJob) -> windlass::Result {
    panic!("no ink")
}

fn queue(world: &World) -> (JobQueueBuilder, Counter) {
    let runs = Counter::default();
    let router = Router::new().at("third", third_time).at("slow", slow).at("fail", fail).at("panic", panic);
    let router = router.with_state(Shared { runs: runs.clone(), world: world.env() });
    (JobQueue::builder(router).env(world.env()).retry(RetryPolicy::fixed(MINUTE)), runs)
}

fn job(kind: &str) -> RawJob {
    RawJob::new(kind, "")
}

#[test]
fn a_job_that_waits_for_its_next_attempt_holds_no_worker() {
    on_simulated_time(async |world| {
        let (queue, runs) = queue(&world);
        let queue = queue.workers(1).start().await.unwrap();
        let failing = queue.add(job("third")).await.unwrap();
        let slow = queue.add(job("slow")).await.unwrap();
        let slow = queue.wait(slow.id()).await.unwrap();
        assert_eq!(slow.state, JobState::Completed);
        assert!(world.elapsed() < 10 * SECOND, "beside the minute for which the other one waits");
        assert_eq!(queue.status(failing.id()).await.unwrap().state, JobState::Retrying);
        let failing = queue.wait(failing.id()).await.unwrap();
        assert_eq!((failing.state, failing.failures, runs.get()), (JobState::Completed, 2, 4));
        assert!(world.elapsed() >= 2 * MINUTE && world.elapsed() < 3 * MINUTE);
    });
}

#[test]
fn the_status_tells_what_became_of_a_job() {
    on_simulated_time(async |world| {
        let queue = queue(&world).0.defaults(JobOptions::new().max_retry(1)).start().await.unwrap();
        let (failed, panicked) = (queue.add(job("fail")).await.unwrap(), queue.add(job("panic")).await.unwrap());
        for (id, text) in [(failed.id(), "never"), (panicked.id(), "no ink")] {
            let ended = queue.wait(id).await.unwrap();
            assert_eq!((ended.state, ended.errors.len()), (JobState::Dead, 2));
            assert!(ended.errors[0].message.contains(text));
        }
        let slow = queue.add(job("slow")).await.unwrap();
        queue.wait(slow.id()).await.unwrap();
        world.sleep_until(HOUR).await;
        assert!(matches!(queue.status(slow.id()).await, Err(windlass::Error::Gone(_))), "after five minutes");
        let nobody = "nobody".parse().unwrap();
        assert!(matches!(queue.status(&nobody).await, Err(windlass::Error::NotFound(_))));
    });
}

#[test]
fn full_is_an_error_and_retries_count() {
    on_simulated_time(async |world| {
        let queue = queue(&world).0.workers(1).capacity(2).start().await.unwrap();
        let third = queue.add(job("third")).await.unwrap();
        queue.add(job("slow")).await.unwrap();
        assert!(matches!(queue.add(job("slow")).await, Err(QueueError::Full(2))));
        world.sleep_until(30 * SECOND).await;
        assert_eq!(queue.status(third.id()).await.unwrap().state, JobState::Retrying);
        queue.add(job("slow")).await.expect("the slow one has ended");
        assert!(matches!(queue.add(job("slow")).await, Err(QueueError::Full(2))), "the retry holds its place");
    });
}

#[test]
fn callers_at_once_do_not_pass_the_capacity() {
    on_simulated_time(async |world| {
        let queue = queue(&world).0.capacity(10).start().await.unwrap();
        let adding = (0..50).map(|_| queue.add(job("slow")));
        let added = futures_util::future::join_all(adding).await;
        assert_eq!(added.iter().filter(|answer| answer.is_ok()).count(), 10);
    });
}

#[test]
fn drain_waits_for_retries_too_and_refuses_what_comes_after() {
    on_simulated_time(async |world| {
        let (queue, runs) = queue(&world);
        let queue = queue.start().await.unwrap();
        queue.add(job("third")).await.unwrap();
        for _ in 0..30 {
            queue.add(job("slow")).await.unwrap();
        }
        queue.drain().await.unwrap();
        assert_eq!(runs.get(), 33);
        assert!(matches!(queue.add(job("slow")).await, Err(QueueError::Stopped)));
        assert_eq!(queue.stop().await.unwrap(), 0);
    });
}

#[test]
fn stop_lets_what_runs_end_and_says_how_many_did_not() {
    on_simulated_time(async |world| {
        let (queue, runs) = queue(&world);
        let queue = queue.workers(2).server(|server| server.prefetch(0)).start().await.unwrap();
        for _ in 0..10 {
            queue.add(job("slow")).await.unwrap();
        }
        world.sleep_until(MS * 1500).await;
        assert_eq!(queue.stop().await.unwrap(), 6);
        assert_eq!(runs.get(), 4);
        assert!(matches!(queue.add(job("slow")).await, Err(QueueError::Stopped)));
    });
}

#[test]
fn a_parents_cancellation_stops_it() {
    on_simulated_time(async |world| {
        let parent = CancellationToken::new();
        let (queue, runs) = queue(&world);
        let queue = queue.workers(1).cancel_on(parent.clone()).start().await.unwrap();
        queue.add(job("slow")).await.unwrap();
        queue.add(job("slow")).await.unwrap();
        world.sleep_until(MS * 500).await;
        parent.cancel();
        assert!(matches!(queue.add(job("slow")).await, Err(QueueError::Stopped)), "at once");
        world.sleep_until(MINUTE).await;
        assert_eq!(runs.get(), 1, "the one that ran has ended, the other one never ran");
    });
}

#[test]
fn a_wrong_value_is_refused_and_takes_no_place() {
    on_simulated_time(async |world| {
        let queue = queue(&world).0.capacity(1).start().await.unwrap();
        assert!(matches!(queue.add(job("")).await, Err(QueueError::Job(_))));
        queue.add(job("slow")).await.unwrap();
    });
}

#[test]
fn a_job_that_nobody_here_would_run_is_refused() {
    on_simulated_time(async |world| {
        let queue = queue(&world).0.start().await.unwrap();
        for job in [
            job("unheard-of"),
            job("slow").with(|options| options.queue("elsewhere")),
            job("slow").with(|options| options.group("g")),
        ] {
            let (kind, line) = (job.kind.clone(), job.options.clone());
            let refused = queue.add(job).await.unwrap_err();
            assert!(
                matches!(&refused, QueueError::Unserved { kind: of, .. } if of.as_str() == kind),
                "{line:?}: {refused}"
            );
        }
        assert_eq!(queue.client().census().await.unwrap().enqueued, 0);
        // Past `add` nobody asks; a drain does not wait for it.
        queue.client().enqueue(job("unheard-of")).await.unwrap();
        queue.add(job("slow")).await.unwrap();
        queue.drain().await.unwrap();
        assert_eq!(queue.stop().await.unwrap(), 1, "the one that nobody runs");
    });
}

#[test]
fn members_of_a_group_are_seen_to_before_a_drain_ends() {
    on_simulated_time(async |world| {
        let (queue, runs) = queue(&world);
        let rules = GroupRules::new().grace(SECOND);
        let together = |_: &Group| -> windlass::Result<RawJob> { Ok(RawJob::new("slow", "")) };
        let queue = queue.server(move |server| server.aggregate("g", rules, together)).start().await.unwrap();
        for _ in 0..3 {
            queue.add(job("note").with(|options| options.group("g"))).await.unwrap();
        }
        queue.drain().await.unwrap();
        assert_eq!(runs.get(), 1);
    });
}
