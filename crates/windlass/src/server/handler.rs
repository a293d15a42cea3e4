//! Async functions as handlers: the job first, then anything that [`FromJob`] can get.

use std::{future::Future, sync::Arc};

use super::{
    blocking::Call,
    context::{FromJob, JobContext},
    outcome::{IntoOutcome, JobError, Outcome},
};
use crate::{
    client::{Job, RawJob},
    env::BoxFuture,
    job::JobOptions,
};

/// An async function that runs jobs of type `J` on a router with state `S`. `M` tells the shapes of functions apart;
/// you never name it.
#[diagnostic::on_unimplemented(
    message = "this function is no handler of jobs",
    note = "a handler is `async fn(job: J, ..extractors) -> windlass::Result<T>`; put `#[windlass::check_handler]` on it \
            to learn which part does not fit"
)]
pub trait Handler<M, J, S>: Clone + Send + Sync + 'static {
    /// Runs one job.
    fn call(self, job: J, ctx: JobContext, state: Arc<S>) -> BoxFuture<Outcome>;
}

/// What can be a handler's first argument: a [`Job`], or a [`RawJob`] that takes the payload as it is.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no job",
    note = "the first argument of a handler is a type with `#[derive(Job)]`, or `RawJob`"
)]
pub trait Decode: Send + Sized + 'static {
    /// Reads the payload.
    ///
    /// # Errors
    /// When the payload is something else; the job is dead (`undecodable`) then.
    fn decode(ctx: &JobContext) -> Result<Self, JobError>;
}

impl<J: Job> Decode for J {
    fn decode(ctx: &JobContext) -> Result<Self, JobError> {
        J::coding().read(ctx.headers(), ctx.payload()).map_err(|error| JobError::undecodable(&*error))
    }
}

impl Decode for RawJob {
    fn decode(ctx: &JobContext) -> Result<Self, JobError> {
        Ok(RawJob { kind: ctx.kind().into(), payload: ctx.payload().clone(), options: JobOptions::new() })
    }
}

macro_rules! handlers {
    ($($extractor:ident),*) => {
        impl<F, Fut, R, J, S, $($extractor,)*> Handler<($($extractor,)*), J, S> for F
        where
            F: Fn(J, $($extractor,)*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output = R> + Send + 'static,
            R: IntoOutcome,
            J: Decode,
            S: Send + Sync + 'static,
            $($extractor: FromJob<S> + Send + 'static,)*
        {
            #[allow(non_snake_case, unused_variables, reason = "the extractors' types are their names; there may be none")]
            fn call(self, job: J, ctx: JobContext, state: Arc<S>) -> BoxFuture<Outcome> {
                Box::pin(async move {
                    $(let $extractor = match $extractor::from_job(&ctx, &state).await {
                        Ok(value) => value,
                        Err(error) => return Outcome::Failed(error),
                    };)*
                    self(job, $($extractor,)*).await.into_outcome()
                })
            }
        }
    };
}

handlers!();
handlers!(E1);
handlers!(E1, E2);
handlers!(E1, E2, E3);
handlers!(E1, E2, E3, E4);
handlers!(E1, E2, E3, E4, E5);
handlers!(E1, E2, E3, E4, E5, E6);
handlers!(E1, E2, E3, E4, E5, E6, E7);
handlers!(E1, E2, E3, E4, E5, E6, E7, E8);

/// A plain function that runs jobs of type `J` on a thread that may block; see
/// [`Router::job_blocking`](crate::Router::job_blocking). `M` tells the shapes of functions apart; you never name it.
#[diagnostic::on_unimplemented(
    message = "this function is no blocking handler of jobs",
    note = "a blocking handler is `fn(job: J, ..extractors) -> windlass::Result<T>`, without `async`"
)]
pub trait BlockingHandler<M, J, S>: Clone + Send + Sync + 'static {
    /// Gets the arguments; what is left is to be called on the thread.
    fn prepare(self, job: J, ctx: JobContext, state: Arc<S>) -> BoxFuture<Result<Call, JobError>>;
}

macro_rules! blocking_handlers {
    ($($extractor:ident),*) => {
        impl<F, R, J, S, $($extractor,)*> BlockingHandler<($($extractor,)*), J, S> for F
        where
            F: Fn(J, $($extractor,)*) -> R + Clone + Send + Sync + 'static,
            R: IntoOutcome,
            J: Decode,
            S: Send + Sync + 'static,
            $($extractor: FromJob<S> + Send + 'static,)*
        {
            #[allow(non_snake_case, unused_variables, reason = "the extractors' types are their names; there may be none")]
            fn prepare(self, job: J, ctx: JobContext, state: Arc<S>) -> BoxFuture<Result<Call, JobError>> {
                Box::pin(async move {
                    $(let $extractor = $extractor::from_job(&ctx, &state).await?;)*
                    let call: Call = Box::new(move || self(job, $($extractor,)*).into_outcome());
                    Ok(call)
                })
            }
        }
    };
}

blocking_handlers!();
blocking_handlers!(E1);
blocking_handlers!(E1, E2);
blocking_handlers!(E1, E2, E3);
blocking_handlers!(E1, E2, E3, E4);
blocking_handlers!(E1, E2, E3, E4, E5);
blocking_handlers!(E1, E2, E3, E4, E5, E6);
blocking_handlers!(E1, E2, E3, E4, E5, E6, E7);
blocking_handlers!(E1, E2, E3, E4, E5, E6, E7, E8);

/// Checks at compile time that a function is a handler's part; used by `#[check_handler]`.
#[doc(hidden)]
pub mod check {
    use super::*;

    pub fn is_job<J: Decode>() {}
    pub fn is_extractor<S, E: FromJob<S>>() {}
    pub fn is_outcome<R: IntoOutcome>() {}
    pub fn is_send<F: Future + Send>(_: F) {}
}
