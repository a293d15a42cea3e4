//! What holds whichever driver the transaction is of.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use windlass::{
    Client, Enqueued, Error, JobContext, JobId, JobState, RawJob, Router, Server, StoreError, Timestamp, UniqueBy,
};

use crate::{
    App,
    End::{Commit, RollBack},
    enqueued,
};

async fn open<A: App>() -> (String, Client, A) {
    let url = A::store();
    let client = Client::open(&url).await.expect("open");
    let app = A::connect(&url).await;
    (url, client, app)
}

fn job(id: &str) -> RawJob {
    RawJob::new("work", "{}").with(|options| options.id(id))
}

fn id(id: &str) -> JobId {
    id.parse().expect("an id")
}

pub(crate) async fn a_job_exists_if_and_only_if_its_transaction_commits<A: App>() {
    let (_, client, mut app) = open::<A>().await;
    for (name, end) in [("rolled back", RollBack), ("committed", Commit)] {
        let told = app.transact(&client, vec![job(name)], end).await;
        assert!(told.answers[0].as_ref().unwrap().is_new());
        assert_eq!(told.seen_before, 0, "nobody sees it before");
    }
    assert_eq!((app.effects().await, enqueued(&client).await), (2, 1));
    assert!(client.get(&id("committed")).await.unwrap().is_some());
    assert!(client.get(&id("rolled back")).await.unwrap().is_none());
}

pub(crate) async fn a_job_is_the_same_whoever_brings_it<A: App>() {
    let (_, client, mut app) = open::<A>().await;
    let full = |id: &str| {
        RawJob::new("full", b"{\"n\": [1, \"\xc3\xa9\"]}".to_vec()).with(|options| {
            options
                .id(id)
                .queue("mail")
                .priority(-3)
                .tenant("t")
                .max_retry(7)
                .timeout(Duration::from_millis(1500))
                .retention(Duration::from_secs(60))
                .deadline(Timestamp::from_micros(4_000_000_000_000_000))
                .process_at(UNIX_EPOCH + Duration::from_secs(3_900_000_000))
                .tag("a")
                .tag("b")
                .header("trace", "1\u{1f}\"")
        })
    };
    client.enqueue(full("plain")).await.unwrap();
    assert!(app.transact(&client, vec![full("within")], Commit).await.answers[0].as_ref().unwrap().is_new());
    let plain = client.get(&id("plain")).await.unwrap().unwrap();
    let within = client.get(&id("within")).await.unwrap().unwrap();
    let mut spec = (*within.spec).clone();
    spec.id = id("plain");
    assert_eq!(format!("{spec:?}"), format!("{:?}", plain.spec));
    assert_eq!(spec.payload, plain.spec.payload);
    assert_eq!((within.state, within.run_at), (JobState::Scheduled, plain.run_at));
}

pub(crate) async fn an_id_that_is_taken_is_a_duplicate<A: App>() {
    let (_, client, mut app) = open::<A>().await;
    client.enqueue(job("before")).await.unwrap();
    let told = app.transact(&client, vec![job("before"), job("a"), job("a"), job("b")], Commit).await;
    let new: Vec<_> = told.answers.iter().map(|answer| answer.as_ref().unwrap().is_new()).collect();
    assert_eq!(new, [false, true, false, true]);
    assert!(
        matches!(&told.answers[0], Ok(Enqueued::Duplicate(of, Some(JobState::Pending))) if *of == id("before")),
        "{:?}",
        told.answers[0]
    );
    assert_eq!((enqueued(&client).await, app.effects().await), (3, 2));
}

pub(crate) async fn a_key_is_taken_by_whoever_commits<A: App>() {
    let (_, client, mut app) = open::<A>().await;
    let keyed = |id: &str| job(id).with(|options| options.unique(UniqueBy::until_done("key")));
    for (pair, end) in [(["loser", "second"], RollBack), (["winner", "late"], Commit)] {
        let told = app.transact(&client, pair.iter().map(|id| keyed(id)).collect(), end).await;
        assert!(told.answers[0].as_ref().unwrap().is_new(), "{pair:?}");
        assert!(matches!(&told.answers[1], Ok(Enqueued::Duplicate(of, _)) if *of == id(pair[0])));
    }
    let after = client.enqueue(keyed("after")).await.unwrap();
    assert_eq!((after.is_new(), after.id()), (false, &id("winner")));
    let window =
        |id: &str| job(id).with(|options| options.unique(UniqueBy::idempotency("other", Duration::from_secs(60))));
    let told = app.transact(&client, vec![window("first"), window("again")], Commit).await;
    assert!(matches!(&told.answers[1], Ok(Enqueued::Duplicate(of, _)) if *of == id("first")));
    assert_eq!(enqueued(&client).await, 2);
}

pub(crate) async fn a_transaction_on_another_database_is_refused_and_can_go_on<A: App>() {
    let (url, client, _) = open::<A>().await;
    let mut elsewhere = A::elsewhere(&url).await;
    let told = elsewhere.transact(&client, vec![job("a")], Commit).await;
    assert!(matches!(&told.answers[0], Err(Error::Store(StoreError::Invalid(_)))), "{:?}", told.answers[0]);
    assert_eq!((elsewhere.effects().await, enqueued(&client).await), (2, 0));
}

pub(crate) async fn a_client_of_another_store_is_refused_and_the_transaction_can_go_on<A: App>() {
    let (_, client, mut app) = open::<A>().await;
    let memory = Client::open("memory:").await.unwrap();
    let told = app.transact(&memory, vec![job("a")], Commit).await;
    assert!(matches!(&told.answers[0], Err(Error::Store(StoreError::Unsupported(_)))), "{:?}", told.answers[0]);
    assert_eq!((app.effects().await, enqueued(&client).await, enqueued(&memory).await), (2, 0, 0));
}

/// What became of a job whose handler writes an effect and completes in its own transaction: what it was told, and where
/// the job is then.
async fn run_one<A: App + 'static>(url: &str, client: &Client, before: Before) -> (String, JobState) {
    let (say, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let place = url.to_owned();
    let handler = move |_: RawJob, ctx: JobContext| {
        let (place, say) = (place.clone(), say.clone());
        async move {
            let mut app = match before {
                Before::GoElsewhere => A::elsewhere(&place).await,
                _ => A::connect(&place).await,
            };
            if before == Before::Steal {
                app.execute(A::steal()).await;
            }
            let committed = app.complete(ctx).await;
            let kind = match &committed {
                Ok(_) => "committed",
                Err(Error::Stale(_)) => "stale",
                Err(Error::Store(StoreError::Invalid(_))) => "invalid",
                Err(_) => "other",
            };
            say.send((kind.to_owned(), app.effects().await)).unwrap();
            Ok::<_, windlass::JobError>(committed?)
        }
    };
    let server = Server::new(client, Router::new().at("work", handler)).start().await.unwrap();
    let kept = job("one").with(|options| options.retention(Duration::from_secs(600)).max_retry(0));
    client.enqueue(kept).await.unwrap();
    let (told, effects) = heard.recv().await.unwrap();
    server.shutdown().await;
    let state = client.get(&id("one")).await.unwrap().unwrap().state;
    assert_eq!(effects, i64::from(told == "committed"), "{told}: effects and the end of the run belong together");
    (told, state)
}

#[derive(Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    Steal,
    GoElsewhere,
}

pub(crate) async fn effects_and_the_end_of_their_run_commit_together<A: App + 'static>() {
    let (url, client, mut app) = open::<A>().await;
    let (told, state) = run_one::<A>(&url, &client, Before::Nothing).await;
    assert_eq!((&*told, state, app.effects().await), ("committed", JobState::Completed, 1));
}

pub(crate) async fn effects_of_a_run_whose_lease_is_lost_are_rolled_back<A: App + 'static>() {
    let (url, client, mut app) = open::<A>().await;
    let (told, state) = run_one::<A>(&url, &client, Before::Steal).await;
    assert_eq!((&*told, state, app.effects().await), ("stale", JobState::Running, 0));
}

pub(crate) async fn a_completion_on_another_database_is_refused_and_rolled_back<A: App + 'static>() {
    let (url, client, mut app) = open::<A>().await;
    let (told, state) = run_one::<A>(&url, &client, Before::GoElsewhere).await;
    assert_eq!((&*told, state, app.effects().await), ("invalid", JobState::Dead, 0));
}

/// Brought in by transactions, and ended by transactions.
pub(crate) async fn exclusive_jobs_of_transactions_run_one_after_the_other<A: App + 'static>() {
    let (url, client, mut app) = open::<A>().await;
    let names = ["a", "b", "c", "d"];
    let running = Arc::new(AtomicUsize::new(0));
    let handler = move |_: RawJob, ctx: JobContext| {
        let (place, running) = (url.clone(), running.clone());
        async move {
            let mut app = A::connect(&place).await;
            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "two of a key run");
            tokio::task::yield_now().await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, windlass::JobError>(app.complete(ctx).await?)
        }
    };
    let server = Server::new(&client, Router::new().at("work", handler)).start().await.unwrap();
    let exclusive =
        |id: &&str| job(id).with(|options| options.exclusive("key").retention(Duration::from_secs(600)).max_retry(0));
    for pair in names.chunks(2) {
        let told = app.transact(&client, pair.iter().map(exclusive).collect(), Commit).await;
        assert!(told.answers.iter().all(|answer| answer.as_ref().is_ok_and(Enqueued::is_new)), "{:?}", told.answers);
    }
    for name in names {
        let ended = tokio::time::timeout(Duration::from_secs(60), client.wait(&id(name))).await;
        assert_eq!(ended.expect("somebody is blocked for ever").unwrap().state, JobState::Completed, "{name}");
    }
    server.shutdown().await;
}
