//! The worker pool.

use std::future::pending;

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use windlass::{
    WorkerPool,
    pool::{RunError, SubmitError},
    testing::World,
};

use crate::{Counter, HOUR, MS, OnDrop, SECOND, on_simulated_time};

fn pool(world: &World, workers: usize) -> WorkerPool {
    WorkerPool::new(workers).env(world.env())
}

#[test]
fn every_job_runs_once_and_its_handle_answers() {
    on_simulated_time(async |world| {
        let (pool, runs) = (pool(&world, 3).capacity(5), Counter::default());
        let mut handles = Vec::new();
        for n in 0..100 {
            let (env, runs) = (world.env(), runs.clone());
            let job = async move {
                env.sleep(MS * (n % 7)).await;
                runs.add();
                n
            };
            handles.push((n, pool.submit(job).await.unwrap()));
        }
        for (n, handle) in handles {
            assert_eq!(handle.await, Ok(n));
        }
        assert_eq!(runs.get(), 100);
    });
}

#[test]
fn as_many_jobs_run_at_once_as_there_are_workers() {
    on_simulated_time(async |world| {
        let (pool, mut handles) = (pool(&world, 4), Vec::new());
        for _ in 0..20 {
            let env = world.env();
            handles.push(pool.submit(async move { env.sleep(SECOND).await }).await.unwrap());
        }
        for handle in handles {
            handle.await.unwrap();
        }
        assert_eq!(world.elapsed(), 5 * SECOND);
    });
}

#[test]
fn a_job_that_waits_keeps_no_worker_from_the_line() {
    on_simulated_time(async |world| {
        let pool = pool(&world, 2);
        let stuck = pool.submit(pending::<()>()).await.unwrap();
        for _ in 0..100 {
            pool.submit(async {}).await.unwrap().await.unwrap();
        }
        drop(stuck);
        pool.abort().await;
    });
}

#[test]
fn a_timed_out_jobs_worker_is_free_at_once_and_the_work_is_dropped() {
    on_simulated_time(async |world| {
        let (pool, dropped) = (pool(&world, 1).timeout(SECOND), Counter::default());
        let guard = OnDrop(dropped.clone());
        let stuck = pool.submit(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        let (stuck, next) = (stuck.await.unwrap(), pool.submit(async { "ran" }).await.unwrap());
        assert_eq!(next.await, Ok("ran"));
        assert_eq!(world.elapsed(), SECOND);
        assert_eq!(dropped.get(), 1);
        assert_eq!(stuck.await, Err(RunError::TimedOut(SECOND)));
    });
}

#[test]
fn a_timed_out_closures_worker_is_free_while_its_thread_goes_on() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        let pool = WorkerPool::new(1).timeout(20 * MS);
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        let stuck = pool.submit_blocking(move || held.recv().is_ok()).await.unwrap();
        let next = pool.submit(async { "ran" }).await.unwrap();
        assert_eq!(stuck.await, Err(RunError::TimedOut(20 * MS)));
        assert_eq!(next.await, Ok("ran"), "while the closure still holds its thread");
        let_go.send(()).unwrap();
    });
}

#[test]
fn a_closure_that_blocks_answers_with_its_value_or_its_panic() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        let pool = WorkerPool::new(2);
        assert_eq!(pool.submit_blocking(|| 6 * 7).await.unwrap().await, Ok(42));
        let panicked = pool.submit_blocking(|| panic!("no paper")).await.unwrap().await;
        assert_eq!(panicked, Err::<(), _>(RunError::Panicked("no paper".into())));
    });
}

#[test]
fn a_timeout_of_its_own_goes_before_the_pools_and_counts_from_the_start_of_the_run() {
    on_simulated_time(async |world| {
        let pool = pool(&world, 1).timeout(SECOND);
        let env = world.env();
        let long = pool.submit_within(HOUR, async move { env.sleep(60 * SECOND).await }).await.unwrap();
        let env = world.env();
        let waited = pool.submit(async move { env.sleep(SECOND / 2).await }).await.unwrap();
        assert_eq!((long.await, waited.await), (Ok(()), Ok(())), "a minute in line is no part of the run");
    });
}

#[test]
fn a_panic_is_a_result_and_the_worker_goes_on() {
    on_simulated_time(async |world| {
        let pool = pool(&world, 1);
        let at_once = pool.submit(async { panic!("at {}", "once") }).await.unwrap();
        let env = world.env();
        let later = pool.submit(async move {
            env.sleep(MS).await;
            std::panic::panic_any(7);
        });
        let (later, next) = (later.await.unwrap(), pool.submit(async { 1 }).await.unwrap());
        assert_eq!(at_once.await, Err::<(), _>(RunError::Panicked("at once".into())));
        assert_eq!(later.await, Err::<(), _>(RunError::Panicked("no message".into())));
        assert_eq!(next.await, Ok(1));
    });
}

#[test]
fn a_job_that_panics_when_it_is_dropped_takes_no_worker_along() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("dropped badly");
        }
    }
    on_simulated_time(async |world| {
        let pool = pool(&world, 1).timeout(SECOND);
        let bad = Bad;
        let stuck = pool.submit(async move {
            let _bad = bad;
            pending::<()>().await;
        });
        let (stuck, next) = (stuck.await.unwrap(), pool.submit(async { 1 }).await.unwrap());
        assert!(matches!(stuck.await, Err(RunError::Panicked(_))));
        assert_eq!(next.await, Ok(1));
    });
}

#[test]
fn full_is_an_error_and_waiting_finds_room() {
    on_simulated_time(async |world| {
        let pool = pool(&world, 1).capacity(2);
        let (end, ended) = oneshot::channel::<()>();
        let running = pool.submit(async move { ended.await.is_ok() }).await.unwrap();
        tokio::task::yield_now().await;
        let waiting = [pool.try_submit(async {}).unwrap(), pool.try_submit(async {}).unwrap()];
        assert_eq!(pool.try_submit(async {}).unwrap_err(), SubmitError::Full);
        let mut patient = Box::pin(pool.submit(async { "patient" }));
        assert!(futures_util::poll!(&mut patient).is_pending());
        end.send(()).unwrap();
        assert_eq!(patient.await.unwrap().await, Ok("patient"));
        assert_eq!(running.await, Ok(true));
        for handle in waiting {
            handle.await.unwrap();
        }
    });
}

#[test]
fn a_submission_that_is_given_up_takes_no_place() {
    on_simulated_time(async |world| {
        let (pool, runs) = (pool(&world, 1).capacity(1), Counter::default());
        let (end, ended) = oneshot::channel::<()>();
        let _running = pool.submit(async move { ended.await.is_ok() }).await.unwrap();
        tokio::task::yield_now().await;
        let last = pool.try_submit(async {}).unwrap();
        let given_up = runs.clone();
        let mut waiting = Box::pin(pool.submit(async move { given_up.add() }));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(waiting);
        end.send(()).unwrap();
        last.await.unwrap();
        pool.submit(async {}).await.unwrap().await.unwrap();
        assert_eq!(runs.get(), 0);
    });
}

#[test]
fn dropping_a_handle_stops_nothing() {
    on_simulated_time(async |world| {
        let (pool, runs) = (pool(&world, 1), Counter::default());
        for _ in 0..3 {
            let (env, runs) = (world.env(), runs.clone());
            let job = async move {
                env.sleep(SECOND).await;
                runs.add();
            };
            drop(pool.submit(job).await.unwrap());
        }
        pool.drain().await;
        assert_eq!((runs.get(), world.elapsed()), (3, 3 * SECOND));
    });
}

#[test]
fn drain_runs_what_was_submitted_and_refuses_what_comes_after() {
    on_simulated_time(async |world| {
        let (pool, runs) = (pool(&world, 2), Counter::default());
        for _ in 0..10 {
            let (env, runs) = (world.env(), runs.clone());
            let job = async move {
                env.sleep(SECOND).await;
                runs.add();
            };
            pool.submit(job).await.unwrap();
        }
        pool.drain().await;
        assert_eq!(runs.get(), 10);
        assert_eq!(pool.submit(async {}).await.unwrap_err(), SubmitError::Stopped);
        assert_eq!(pool.try_submit(async {}).unwrap_err(), SubmitError::Stopped);
        pool.drain().await;
        pool.abort().await;
    });
}

#[test]
fn who_waits_for_room_hears_of_the_drain() {
    on_simulated_time(async |world| {
        let pool = pool(&world, 1).capacity(1);
        let env = world.env();
        pool.submit(async move { env.sleep(SECOND).await }).await.unwrap();
        tokio::task::yield_now().await;
        let last = pool.try_submit(async {}).unwrap();
        let (refused, ()) = tokio::join!(pool.submit(async {}), pool.drain());
        assert_eq!(refused.unwrap_err(), SubmitError::Stopped);
        assert_eq!(last.await, Ok(()));
    });
}

#[test]
fn a_pool_that_never_ran_anything_drains_and_refuses() {
    on_simulated_time(async |world| {
        let pool = pool(&world, 2);
        pool.drain().await;
        assert_eq!(pool.submit(async {}).await.unwrap_err(), SubmitError::Stopped);
    });
}

#[test]
fn abort_drops_what_runs_and_what_waits() {
    on_simulated_time(async |world| {
        let (pool, dropped) = (pool(&world, 1), Counter::default());
        let mut handles = Vec::new();
        for _ in 0..3 {
            let guard = OnDrop(dropped.clone());
            let job = async move {
                let _guard = guard;
                pending::<()>().await;
            };
            handles.push(pool.submit(job).await.unwrap());
        }
        tokio::task::yield_now().await;
        pool.abort().await;
        assert_eq!(dropped.get(), 3);
        for handle in handles {
            assert_eq!(handle.await, Err(RunError::Aborted));
        }
        assert_eq!(pool.try_submit(async {}).unwrap_err(), SubmitError::Stopped);
    });
}

#[test]
fn a_parents_cancellation_aborts_the_pool() {
    on_simulated_time(async |world| {
        let parent = CancellationToken::new();
        let pool = pool(&world, 1).cancel_on(parent.clone());
        let running = pool.submit(pending::<()>()).await.unwrap();
        let waiting = pool.submit(async {}).await.unwrap();
        tokio::task::yield_now().await;
        parent.cancel();
        assert_eq!(pool.submit(async {}).await.unwrap_err(), SubmitError::Stopped, "at once");
        assert_eq!(pool.try_submit(async {}).unwrap_err(), SubmitError::Stopped);
        assert_eq!((running.await, waiting.await), (Err(RunError::Aborted), Err(RunError::Aborted)));
        pool.drain().await;
    });
}

#[test]
fn a_parents_cancellation_stops_workers_that_are_never_idle() {
    on_simulated_time(async |world| {
        let (parent, runs) = (CancellationToken::new(), Counter::default());
        let pool = pool(&world, 1).cancel_on(parent.clone());
        for n in 0..100 {
            let (parent, runs) = (parent.clone(), runs.clone());
            let job = async move {
                runs.add();
                if n == 9 {
                    parent.cancel();
                }
            };
            pool.try_submit(job).unwrap();
        }
        pool.drain().await;
        assert_eq!(runs.get(), 10);
    });
}

#[test]
fn a_pool_that_is_dropped_still_runs_what_it_took() {
    on_simulated_time(async |world| {
        let pool = pool(&world, 1);
        let env = world.env();
        pool.submit(async move { env.sleep(SECOND).await }).await.unwrap();
        let last = pool.submit(async { 5 }).await.unwrap();
        drop(pool);
        assert_eq!(last.await, Ok(5));
    });
}

/// What it answers, or the test fails: on a real runtime, which nobody else would end.
async fn answer<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(60 * SECOND, what).await.expect("it hangs")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}

#[test]
fn the_end_of_the_runtime_answers_those_that_run_and_those_that_wait() {
    let (pool, dropped) = (WorkerPool::new(1).capacity(2), Counter::default());
    let first = runtime();
    let (running, waiting, mut results) = first.block_on(async {
        let (jobs, results) = pool.results(10);
        let running = pool.submit(pending::<()>()).await.unwrap();
        let guard = OnDrop(dropped.clone());
        let waiting = pool.submit(async move { drop(guard) }).await.unwrap();
        jobs.submit(async {}).await.unwrap();
        (running, waiting, results)
    });
    drop(first);
    assert_eq!(dropped.get(), 1, "whoever waits holds on to nothing");
    runtime().block_on(async {
        assert_eq!(answer(running).await, Err(RunError::Aborted));
        assert_eq!(answer(waiting).await, Err(RunError::Aborted));
        assert_eq!(answer(results.next()).await.map(|finished| finished.result), Some(Err(RunError::Aborted)));
        answer(pool.drain()).await;
    });
}

#[test]
fn a_pool_whose_runtime_has_ended_refuses_and_never_hangs() {
    static POOL: std::sync::LazyLock<WorkerPool> = std::sync::LazyLock::new(|| WorkerPool::new(2).capacity(1));
    runtime().block_on(async { assert_eq!(answer(POOL.submit(async { 1 }).await.unwrap()).await, Ok(1)) });
    runtime().block_on(async {
        for _ in 0..3 {
            assert_eq!(answer(POOL.submit(async {})).await.unwrap_err(), SubmitError::Stopped);
            assert_eq!(POOL.try_submit(async {}).unwrap_err(), SubmitError::Stopped);
        }
        answer(POOL.drain()).await;
        answer(POOL.abort()).await;
    });
}

#[test]
fn who_waits_for_room_in_another_runtime_hears_of_the_end() {
    let pool = std::sync::Arc::new(WorkerPool::new(1).capacity(1));
    let (first, second) = (runtime(), runtime());
    first.block_on(async {
        let (began, has_begun) = oneshot::channel();
        let running = async move {
            began.send(()).unwrap();
            pending::<()>().await;
        };
        pool.submit(running).await.unwrap();
        has_begun.await.unwrap();
        pool.submit(async {}).await.unwrap();
    });
    let ours = pool.clone();
    let mut patient = Box::pin(async move { ours.submit(async {}).await.unwrap_err() });
    second.block_on(async { assert!(futures_util::poll!(&mut patient).is_pending()) });
    drop(first);
    assert_eq!(second.block_on(answer(patient)), SubmitError::Stopped);
}

#[test]
fn a_pool_that_is_first_used_when_its_runtime_ends_refuses() {
    struct Late(std::sync::Arc<WorkerPool>, std::sync::mpsc::Sender<bool>);
    impl Drop for Late {
        fn drop(&mut self) {
            // It may even be refused at once.
            let taken = self.0.try_submit(async {}).ok();
            let hangs = taken.is_some_and(|handle| handle.now_or_never().is_none());
            self.1.send(hangs).unwrap();
        }
    }
    let (told, hears) = std::sync::mpsc::channel();
    let (pool, first) = (std::sync::Arc::new(WorkerPool::new(2)), runtime());
    let late = Late(pool.clone(), told);
    first.block_on(async {
        tokio::spawn(async move {
            let _late = late;
            pending::<()>().await;
        });
    });
    drop(first);
    assert!(!hears.recv().unwrap(), "the handle never answers");
    assert_eq!(runtime().block_on(answer(pool.submit(async {}))).unwrap_err(), SubmitError::Stopped);
}

#[test]
fn results_come_in_the_order_in_which_jobs_end_and_the_stream_has_an_end() {
    on_simulated_time(async |world| {
        let pool = pool(&world, 3).timeout(10 * SECOND);
        let (jobs, mut results) = pool.results(100);
        for seconds in [3, 1, 2, 60] {
            let env = world.env();
            let job = async move {
                env.sleep(SECOND * seconds).await;
                seconds
            };
            jobs.submit(job).await.unwrap();
        }
        drop(jobs);
        let mut seen = Vec::new();
        while let Some(finished) = results.next().await {
            seen.push((finished.number, finished.result));
        }
        assert_eq!(seen, [(1, Ok(1)), (2, Ok(2)), (0, Ok(3)), (3, Err(RunError::TimedOut(10 * SECOND)))]);
    });
}

#[test]
fn a_refused_job_has_no_result_in_the_stream() {
    on_simulated_time(async |world| {
        let pool = pool(&world, 1);
        let (jobs, mut results) = pool.results(100);
        jobs.submit(async { 1 }).await.unwrap();
        pool.drain().await;
        assert_eq!(jobs.submit(async { 2 }).await, Err(SubmitError::Stopped));
        assert_eq!(jobs.try_submit(async { 3 }), Err(SubmitError::Stopped));
        drop(jobs);
        assert_eq!(results.next().await.map(|finished| finished.result), Some(Ok(1)));
        assert_eq!(results.next().await, None);
    });
}

#[test]
fn a_hundred_thousand_jobs_end_though_nobody_reads_their_results() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let (pool, runs) = (WorkerPool::new(4).capacity(64), Counter::default());
        let (jobs, mut results) = pool.results(1000);
        for n in 0..100_000 {
            let runs = runs.clone();
            let job = async move {
                runs.add();
                n
            };
            assert_eq!(jobs.submit(job).await, Ok(n));
        }
        pool.drain().await;
        drop(jobs);
        assert_eq!(runs.get(), 100_000);
        assert_eq!(results.missed(), 99_000);
        let mut kept = 0;
        while results.next().await.is_some() {
            kept += 1;
        }
        assert_eq!(kept, 1000, "the newest are still there");
    });
}

#[test]
fn a_hundred_thousand_jobs_end_though_their_handles_and_the_stream_are_dropped() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let (pool, runs) = (WorkerPool::new(4).capacity(64), Counter::default());
        let (jobs, results) = pool.results(1000);
        drop(results);
        for _ in 0..50_000 {
            let (a, b) = (runs.clone(), runs.clone());
            jobs.submit(async move { a.add() }).await.unwrap();
            drop(pool.submit(async move { b.add() }).await.unwrap());
        }
        pool.drain().await;
        assert_eq!(runs.get(), 100_000);
    });
}

#[test]
fn many_submitters_on_many_threads_lose_and_double_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    runtime.block_on(async {
        // A tiny line, so that submitters wait for room nearly every time.
        let (pool, runs) = (std::sync::Arc::new(WorkerPool::new(3).capacity(2)), Counter::default());
        let submitter = |from: u64| {
            let (pool, runs) = (pool.clone(), runs.clone());
            tokio::spawn(async move {
                for n in from..from + 5000 {
                    let runs = runs.clone();
                    let job = async move {
                        tokio::task::yield_now().await;
                        runs.add();
                        n
                    };
                    assert_eq!(pool.submit(job).await.unwrap().await, Ok(n));
                }
            })
        };
        let submitters: Vec<_> = (0..8).map(|part| submitter(part * 5000)).collect();
        for task in submitters {
            task.await.unwrap();
        }
        assert_eq!(runs.get(), 40_000);
        pool.drain().await;
    });
}
