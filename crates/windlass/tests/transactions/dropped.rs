//! What holds when a call in a transaction is given up half-way: its future is polled so often and then dropped, for every
//! number of polls until it completes. rusqlite's calls have no await.

use std::{
    future::{Future, poll_fn},
    ops::Range,
    pin::pin,
    task::Poll,
    time::Duration,
};

use windlass::{Client, Committed, Error, JobContext, JobId, JobState, RawJob, Router, Server};

use crate::App;

/// A job that is kept, so that it can be looked at when it is done.
pub(crate) fn kept(id: &str) -> RawJob {
    RawJob::new("work", "{}").with(|options| options.id(id).max_retry(0).retention(Duration::from_secs(600)))
}

/// More polls than any of the calls needs.
const POLLS: Range<u32> = 0..40;

/// A driver whose calls can be given up.
pub(crate) trait Dropped: App {
    /// In one transaction: writes an effect of this name, enqueues a job of that id and gives up after so many polls, writes
    /// another effect. Answers whether the call ended, and whether the transaction could be committed.
    fn enqueue_dropped(&mut self, client: &Client, id: &str, polls: u32) -> impl Future<Output = (bool, bool)> + Send;

    /// In one transaction: writes an effect of this name, and gives up completing the run after so many polls.
    fn complete_dropped(
        &mut self,
        ctx: JobContext,
        id: &str,
        polls: u32,
    ) -> impl Future<Output = Option<Result<Committed, Error>>> + Send;

    /// How many connections of applications are in a transaction and do nothing.
    fn left_open(&mut self) -> impl Future<Output = i64> + Send;
}

/// What the future answers within so many polls. Otherwise it is dropped as soon as it says that it has to wait.
pub(crate) async fn polled<A>(polls: u32, future: impl Future<Output = A>) -> Option<A> {
    let (mut left, mut future) = (polls, pin!(future));
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Waits until no transaction is open: a rollback may still be on its way.
async fn none_left_open<A: Dropped>(app: &mut A) {
    for _ in 0..250 {
        if app.left_open().await == 0 {
            return;
        }
        app.execute("SELECT pg_sleep(0.02)").await;
    }
    panic!("a transaction stays open");
}

pub(crate) async fn an_enqueue_that_is_given_up_leaves_a_whole_job_or_none<A: Dropped>() {
    let url = A::store();
    let (client, mut app) = (Client::open(&url).await.expect("open"), A::connect(&url).await);
    let (mut ended, mut committed, mut there) = (0, 0, Vec::new());
    for polls in POLLS {
        let id = format!("job-{polls}");
        let (done, commits) = app.enqueue_dropped(&client, &id, polls).await;
        let job = client.get(&id.parse().unwrap()).await.unwrap();
        let effects = app.number(&format!("SELECT count(*) FROM effects WHERE id = '{id}'")).await;
        assert_eq!(effects, if commits { 2 } else { 0 }, "{id}");
        assert!(commits || job.is_none(), "{id} without its transaction");
        assert!(!(done && commits) || job.is_some(), "{id} is lost");
        there.extend(job.map(|job| job.id().clone()));
        (ended, committed) = (ended + u32::from(done), committed + u32::from(commits));
    }
    assert!(ended > 0 && ended < POLLS.end, "the control: {ended} of {} calls ended", POLLS.end);
    assert!(committed >= ended);
    // What is there can run: no lock and no half of a row is left.
    let router = Router::new().at("work", async |_: RawJob| Ok::<_, windlass::JobError>(()));
    let server = Server::new(&client, router).start().await.unwrap();
    for id in &there {
        assert_eq!(client.wait(id).await.unwrap().state, JobState::Completed);
    }
    server.shutdown().await;
    assert_eq!(client.census().await.unwrap().enqueued, there.len() as u64);
    none_left_open(&mut app).await;
}

pub(crate) async fn a_completion_that_is_given_up_counts_with_its_effects_or_not_at_all<A: Dropped + 'static>() {
    let url = A::store();
    let (client, mut app) = (Client::open(&url).await.expect("open"), A::connect(&url).await);
    let place = url.clone();
    let handler = move |_: RawJob, ctx: JobContext| {
        let place = place.clone();
        async move {
            let (id, mut own) = (ctx.id().to_string(), A::connect(&place).await);
            let polls = id.rsplit('-').next().and_then(|polls| polls.parse().ok()).expect("a number");
            match own.complete_dropped(ctx, &id, polls).await {
                Some(committed) => Ok::<_, windlass::JobError>(committed?),
                None => Err("given up".into()),
            }
        }
    };
    let server = Server::new(&client, Router::new().at("work", handler)).concurrency(4).start().await.unwrap();
    let ids: Vec<JobId> = POLLS.map(|polls| format!("job-{polls}").parse().unwrap()).collect();
    for id in &ids {
        client.enqueue(kept(&id.to_string())).await.unwrap();
    }
    let mut completed = 0;
    for id in &ids {
        let state = client.wait(id).await.unwrap().state;
        let effects = app.number(&format!("SELECT count(*) FROM effects WHERE id = '{id}'")).await;
        assert_eq!(effects, i64::from(state == JobState::Completed), "{id} is {state}");
        completed += i64::from(state == JobState::Completed);
    }
    assert!(completed > 0 && completed < i64::from(POLLS.end), "the control: {completed} completed");
    server.shutdown().await;
    none_left_open(&mut app).await;
}
