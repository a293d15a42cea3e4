//! What is in line: for assertions on any client, with messages that show what is there.

use std::{fmt::Write, future::Future, ops::Deref, panic::Location};

use crate::{
    client::{Client, Job},
    job::{JobFilter, JobRecord, Kind, Status},
};

/// The most jobs that a message shows.
const SHOWN: usize = 20;

/// A job that waits: what it is, and what the store knows of it. Dereferences to the job.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EnqueuedJob<T> {
    /// The payload, decoded.
    pub job: T,
    /// The record: queue, state, options, times.
    pub record: JobRecord,
}

impl<T> Deref for EnqueuedJob<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.job
    }
}

/// All jobs of a type that wait (scheduled and retrying ones, too), oldest first.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), windlass::Error> {
/// use windlass::{Client, Job, testing};
/// #[derive(serde::Serialize, serde::Deserialize, Job)]
/// #[job(kind = "email:send")]
/// struct SendEmail {
///     to: String,
/// }
/// let client = Client::open("memory:").await?;
/// client.enqueue(SendEmail { to: "ada@example.com".into() }).await?;
/// assert_eq!(testing::enqueued::<SendEmail>(&client).await[0].to, "ada@example.com");
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// When the store is away, or a payload of this kind is no `T`.
pub async fn enqueued<T: Job>(client: &Client) -> Vec<EnqueuedJob<T>> {
    let kind = Kind::new(T::KIND).unwrap_or_else(|error| panic!("`{}` is no kind: {error}", T::KIND));
    let mut filter = JobFilter::default().status(Status::Pending);
    filter.kind = Some(kind);
    let records = records(client, &filter).await;
    records.into_iter().map(|record| EnqueuedJob { job: decoded(&record), record }).collect()
}

/// Asserts that a waiting job of this type is as expected, and answers the oldest that is.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), windlass::Error> {
/// use windlass::{Client, Job, testing};
/// #[derive(serde::Serialize, serde::Deserialize, Job)]
/// #[job(kind = "email:send", queue = "critical")]
/// struct SendEmail {
///     to: String,
/// }
/// let client = Client::open("memory:").await?;
/// client.enqueue(SendEmail { to: "ada@example.com".into() }).await?;
///
/// let mail = testing::assert_enqueued::<SendEmail>(&client, |mail| mail.to == "ada@example.com").await;
/// assert_eq!(mail.record.spec.queue.as_str(), "critical");
/// testing::refute_enqueued::<SendEmail>(&client, |mail| mail.to == "bob@example.com").await;
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// When there is none: the message lists the jobs that wait. And as [`enqueued`].
#[track_caller]
pub fn assert_enqueued<T: Job>(client: &Client, expected: impl Fn(&T) -> bool) -> impl Future<Output = EnqueuedJob<T>> {
    let place = Location::caller();
    async move {
        match enqueued::<T>(client).await.into_iter().find(|found| expected(found)) {
            Some(found) => found,
            None => panic!("{place}: no waiting job `{}` is as expected\n{}", T::KIND, waiting::<T>(client).await),
        }
    }
}

/// Asserts that no waiting job of this type is like this; see [`assert_enqueued`].
///
/// # Panics
/// When there is one: the message shows it, and all that wait. And as [`enqueued`].
#[track_caller]
pub fn refute_enqueued<T: Job>(client: &Client, unwanted: impl Fn(&T) -> bool) -> impl Future<Output = ()> {
    let place = Location::caller();
    async move {
        if let Some(found) = enqueued::<T>(client).await.into_iter().find(|found| unwanted(found)) {
            let (found, all) = (line(&found.record), waiting::<T>(client).await);
            panic!("{place}: a job `{}` waits that should not: {found}\n{all}", T::KIND);
        }
    }
}

/// The jobs that wait, those of type `T` first, one a line.
async fn waiting<T: Job>(client: &Client) -> String {
    let mut records = records(client, &JobFilter::default().status(Status::Pending)).await;
    records.sort_by_key(|record| record.spec.kind.as_str() != T::KIND);
    let mut text = format!("waiting: {} jobs", records.len());
    for record in records.iter().take(SHOWN) {
        // Writing to a string does not fail.
        let _ = write!(text, "\n  {}", line(record));
    }
    if records.len() > SHOWN {
        text.push_str("\n  ..");
    }
    text
}

fn line(record: &JobRecord) -> String {
    let spec = &record.spec;
    let when = record.run_at.map(|at| format!(" for {at}")).unwrap_or_default();
    let payload = String::from_utf8_lossy(&spec.payload);
    format!("{} {payload} (queue {}, {}{when}, id {})", spec.kind, spec.queue, record.state, spec.id)
}

async fn records(client: &Client, filter: &JobFilter) -> Vec<JobRecord> {
    let (mut records, mut after) = (Vec::new(), None);
    loop {
        let page = client.list(filter, after, 1000).await;
        let page = page.unwrap_or_else(|error| panic!("the waiting jobs cannot be listed: {error}"));
        records.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return records,
        }
    }
}

fn decoded<T: Job>(record: &JobRecord) -> T {
    let read = T::coding().read(&record.spec.headers, &record.spec.payload);
    read.unwrap_or_else(|error| panic!("a waiting job does not decode ({error}): {}", line(record)))
}
