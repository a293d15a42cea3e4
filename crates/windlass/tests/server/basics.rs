//! A server from the outside: typed handlers, outcomes, shutdown; on the memory store.

use std::{sync::Arc, time::Duration};

use windlass::{
    Client, DeadReason, Extension, JobContext, JobState, Json, ResultExt, RetryPolicy, Router, Server, State,
    middleware,
};

#[derive(serde::Serialize, serde::Deserialize, windlass::Job)]
#[job(kind = "math:add", retention = "1h", max_retry = 2)]
struct Add {
    a: i64,
    b: i64,
}

#[windlass::check_handler]
async fn add(job: Add, State(offset): State<i64>, ctx: JobContext) -> windlass::Result<Json<i64>> {
    if job.a < 0 {
        Err("negative").or_bury()?;
    }
    if job.b < 0 && ctx.attempt() == 1 {
        return Err("once".into());
    }
    Ok(Json(job.a + job.b + offset))
}

#[tokio::test]
async fn a_typed_job_runs_end_to_end_and_its_result_is_kept() {
    let client = Client::open("memory:").await.unwrap();
    let router = Router::new().job(add).with_state(100i64);
    let server = Server::new(&client, router).retry(RetryPolicy::fixed(Duration::ZERO)).start().await.unwrap();
    let id = client.enqueue(Add { a: 1, b: 2 }).await.unwrap().id().clone();
    let done = client.wait(&id).await.unwrap();
    assert_eq!((done.state, done.attempt), (JobState::Completed, 1));
    assert_eq!(done.result.as_deref(), Some(&b"103"[..]));
    let id = client.enqueue(Add { a: 1, b: -2 }).await.unwrap().id().clone();
    let done = client.wait(&id).await.unwrap();
    assert_eq!((done.state, done.attempt, done.failures), (JobState::Completed, 2, 1));
    let id = client.enqueue(Add { a: -1, b: -2 }).await.unwrap().id().clone();
    let done = client.wait(&id).await.unwrap();
    assert_eq!((done.state, done.reason.as_deref()), (JobState::Dead, Some(DeadReason::Buried.as_str())));
    server.shutdown().await;
}

#[tokio::test]
async fn middleware_sees_every_run_and_gives_extensions() {
    #[derive(Clone, PartialEq, Debug)]
    struct Trace(String);
    #[derive(serde::Serialize, serde::Deserialize, windlass::Job)]
    #[job(kind = "traced", retention = "1h")]
    struct Traced;
    async fn traced(_: Traced, Extension(trace): Extension<Trace>) -> windlass::Result<Json<String>> {
        Ok(Json(trace.0))
    }
    let client = Client::open("memory:").await.unwrap();
    let router =
        Router::new().job(traced).layer(middleware::from_fn(|ctx: JobContext, next: middleware::Next| async move {
            ctx.insert(Trace(format!("seen {}", ctx.kind())));
            next.run(ctx).await
        }));
    let server = Server::new(&client, router).start().await.unwrap();
    let id = client.enqueue(Traced).await.unwrap().id().clone();
    assert_eq!(client.wait(&id).await.unwrap().result.as_deref(), Some(&br#""seen traced""#[..]));
    server.shutdown().await;
}

#[tokio::test]
async fn many_jobs_are_all_run_once() {
    use std::sync::atomic::{AtomicU64, Ordering};
    #[derive(serde::Serialize, serde::Deserialize, windlass::Job)]
    #[job(kind = "count")]
    struct Count;
    async fn count(_: Count, State(counter): State<Arc<AtomicU64>>) -> windlass::Result {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
    let client = Client::open("memory:").await.unwrap();
    let counter = Arc::new(AtomicU64::new(0));
    client.enqueue_all((0..10_000).map(|_| Count)).await.unwrap();
    let server = Server::new(&client, Router::new().job(count).with_state(counter.clone())).start().await.unwrap();
    let mut wakeups = client.store().wakeups();
    loop {
        wakeups.mark_seen();
        if client.census().await.unwrap().removed == 10_000 {
            break;
        }
        wakeups.changed().await;
    }
    assert_eq!(counter.load(Ordering::Relaxed), 10_000);
    server.shutdown().await;
}
