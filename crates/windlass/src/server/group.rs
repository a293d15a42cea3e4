//! Aggregators: the users' functions that make one job of the members of a group, and how a server is given them.
//! `maintain/aggregator.rs` calls them.

use std::{fmt, panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::{builder::Server, executor::panic_text, outcome::JobError};
use crate::{
    client::{Client, Enqueue, RawJob},
    decide::group::GroupRules,
    error::Error,
    job::{GroupKey, InvalidJob, JobOptions, JobSpec, Kind, MAX_MEMBERS, NewJob, Pattern},
};

type Parts = (Kind, Bytes, JobOptions);
type Make = Arc<dyn Fn(&Group) -> Result<Parts, JobError> + Send + Sync>;

/// The members of a group that are to become one job, those that have waited longest first.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Group {
    /// Which group.
    pub key: GroupKey,
    /// Its members, all of its queue, of any kind. At most as many as the rules allow, and at most 16 MiB of payload.
    pub members: Vec<Arc<JobSpec>>,
}

impl Group {
    /// A group with these members, for trying an aggregator out.
    ///
    /// ```
    /// use windlass::{Client, Group, GroupKey, QueueName, RawJob};
    /// fn digest(group: &Group) -> windlass::Result<RawJob> {
    ///     let lines: Vec<String> = group.payloads()?;
    ///     Ok(RawJob::new("email:digest", lines.join("\n")))
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::open("memory:").await?;
    /// let key = GroupKey::new(QueueName::new("default")?, "digest:ann");
    /// let member = client.prepare(RawJob::new("note", "\"tea\"").with(|o| o.group("digest:ann")))?;
    /// let made = digest(&Group::new(key, vec![member.spec])).map_err(|error| error.message())?;
    /// assert_eq!(&made.payload[..], b"tea");
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(key: GroupKey, members: Vec<Arc<JobSpec>>) -> Self {
        Self { key, members }
    }

    /// The payloads as JSON values of one type.
    ///
    /// # Errors
    /// When one of them does not decode; the error names its job.
    pub fn payloads<T: DeserializeOwned>(&self) -> Result<Vec<T>, JobError> {
        let decode = |member: &Arc<JobSpec>| {
            // Not the error's own words, which quote the payload.
            serde_json::from_slice(&member.payload).map_err(|error| {
                let problem = JobError::undecodable(&error).message();
                JobError::from(format!("the payload of job `{}` does not decode: {problem}", member.id))
            })
        };
        self.members.iter().map(decode).collect()
    }
}

/// One aggregator of a server.
#[derive(Clone)]
pub(crate) struct Aggregator {
    pub(crate) pattern: Arc<str>,
    pub(crate) rules: GroupRules,
    make: Make,
}

/// Why there is no job of a group now.
pub(crate) enum NoJob {
    /// Its payload is over the client's limit: fewer members may do.
    TooLarge(String),
    /// What the aggregator answered, or that it panicked.
    Failed(String),
}

impl Aggregator {
    /// The job that the members become, checked, in the queue of the group unless the aggregator said another one.
    pub(crate) fn job(&self, client: &Client, group: &Group) -> Result<NewJob, NoJob> {
        let made = std::panic::catch_unwind(AssertUnwindSafe(|| (self.make)(group)));
        let made = made.map_err(|panic| NoJob::Failed(format!("it panicked: {}", panic_text(&*panic))))?;
        let (kind, payload, options) = made.map_err(|error| NoJob::Failed(error.message()))?;
        let queue = JobOptions::new().queue(group.key.queue.as_str());
        let job = RawJob { kind: kind.as_str().to_owned(), payload, options: options.or(queue) };
        let job = client.resolve(job).map_err(|error| match error {
            InvalidJob::PayloadTooLarge { .. } => NoJob::TooLarge(error.to_string()),
            other => NoJob::Failed(other.to_string()),
        })?;
        if GroupKey::of(&job.spec).is_some_and(|key| key == group.key) {
            return Err(NoJob::Failed("its job belongs to the very same group, and would go round for ever".into()));
        }
        Ok(job)
    }
}

impl Server {
    /// Makes one job of the jobs that wait in a group ([`JobOptions::group`]), once the rules say so.
    ///
    /// The pattern is over the names of groups: exact unless it ends in `*`; the best match counts. Groups of other
    /// names, and of queues that this server does not take from, are left alone. Any number of servers may aggregate
    /// the same groups: each member becomes a part of exactly one job, whatever crashes when.
    ///
    /// The aggregator runs on the server's runtime and should neither block nor do anything else: it may be called for
    /// members that somebody else flushes first. When it fails or panics, the members wait and it is called again a
    /// second later, then two, four, up to five minutes. When its payload is over the client's limit, it is called
    /// again with half of the members. Its job goes into the group's queue, unless it names another one; priority,
    /// tenant, deadline and the like of the members are for it to carry over.
    ///
    /// The members end as completed and name the job as `flushed_into` for as long as their retention.
    ///
    /// ```
    /// use std::time::Duration;
    /// use windlass::{Group, GroupRules, RawJob, Server};
    ///
    /// fn digest(group: &Group) -> windlass::Result<RawJob> {
    ///     let lines: Vec<String> = group.payloads()?;
    ///     Ok(RawJob::new("email:digest", serde_json::to_vec(&lines)?))
    /// }
    ///
    /// fn with_digests(server: Server) -> Server {
    ///     server.aggregate("digest:*", GroupRules::new().grace(Duration::from_secs(30)), digest)
    /// }
    /// ```
    pub fn aggregate<J, E>(
        mut self,
        groups: impl Into<String>,
        rules: GroupRules,
        aggregator: impl Fn(&Group) -> Result<J, E> + Send + Sync + 'static,
    ) -> Self
    where
        J: Enqueue,
        E: Into<JobError>,
    {
        let make = move |group: &Group| Ok(aggregator(group).map_err(Into::into)?.into_parts()?);
        let pattern = groups.into().into();
        self.config.aggregators.push(Aggregator { pattern, rules, make: Arc::new(make) });
        self
    }
}

/// The patterns of the aggregators, in their order.
pub(crate) fn patterns(aggregators: &[Aggregator]) -> Result<Vec<Pattern>, Error> {
    let mut patterns: Vec<Pattern> = Vec::new();
    for aggregator in aggregators {
        let name = &aggregator.pattern;
        let pattern = Pattern::new(name).map_err(|error| Error::Config(format!("groups `{name}`: {error}")))?;
        if patterns.contains(&pattern) {
            return Err(Error::Config(format!("the groups `{name}` have two aggregators; keep one")));
        }
        if !(1..=MAX_MEMBERS).contains(&aggregator.rules.max_size) {
            let size = aggregator.rules.max_size;
            return Err(Error::Config(format!(
                "the largest size of the groups `{name}` is {size}; a flush takes 1 to {MAX_MEMBERS} members"
            )));
        }
        patterns.push(pattern);
    }
    Ok(patterns)
}

impl fmt::Debug for Aggregator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aggregator").field("pattern", &self.pattern).field("rules", &self.rules).finish()
    }
}
