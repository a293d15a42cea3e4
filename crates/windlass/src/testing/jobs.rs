//! Jobs for tests, made in one line, through the same checks as a client's.

use bytes::Bytes;

use crate::{
    env::Env,
    job::{JobOptions, Kind, NewJob},
};

/// A job in the making. Its payload is `{}` unless a test says otherwise.
#[derive(Clone, Debug)]
pub struct JobBuilder {
    kind: String,
    payload: Bytes,
    options: JobOptions,
}

/// Begins a job of this kind.
///
/// ```
/// use windlass::testing::{ManualClock, job};
/// let env = ManualClock::new().env();
/// let mail = job("email:send").with(|options| options.queue("critical")).payload("42").build(&env);
/// assert_eq!(mail.spec.queue.as_str(), "critical");
/// ```
pub fn job(kind: impl Into<String>) -> JobBuilder {
    JobBuilder { kind: kind.into(), payload: Bytes::from_static(b"{}"), options: JobOptions::new() }
}

impl JobBuilder {
    /// Changes the options.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(JobOptions) -> JobOptions) -> Self {
        self.options = change(self.options);
        self
    }

    /// Replaces the options.
    #[must_use]
    pub fn options(mut self, options: JobOptions) -> Self {
        self.options = options;
        self
    }

    /// Any bytes, of any length.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = payload.into();
        self
    }

    /// The job, with a new id from `env` unless the options bring one.
    ///
    /// # Panics
    /// When a name or an option is one that a client would refuse.
    pub fn build(self, env: &Env) -> NewJob {
        let kind = Kind::new(&self.kind).expect("a test's kind is valid");
        let job = self.options.resolve(&kind, self.payload, || env.new_id(), usize::MAX);
        // A test may send it again.
        NewJob { fresh: false, ..job.expect("a test's job options are valid") }
    }
}
