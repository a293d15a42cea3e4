//! Layers of the tower ecosystem around handlers: timeouts, limits, traces. The layer is put around one service, which
//! all handlers share that it wraps, so its limits hold for all of them together.

use std::{
    error::Error as StdError,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::Mutex;
use tower_layer::Layer as TowerLayer;
use tower_service::Service;

use super::{
    context::JobContext,
    outcome::{BoxError, JobError, Outcome},
    router::{Layer, Next},
};
use crate::env::BoxFuture;

/// One run on its way through tower's layers: their request.
pub struct Call {
    ctx: JobContext,
    next: Next,
}

impl Call {
    /// The run.
    pub fn context(&self) -> &JobContext {
        &self.ctx
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Call").field(&self.ctx).finish()
    }
}

/// The service that a tower layer wraps: it runs the handler. Its response is the outcome of a handler that ended well;
/// a handler's error is its error, a [`HandlerError`] in a box, so that layers see failures.
#[derive(Clone, Copy, Debug)]
pub struct Handlers(());

impl Service<Call> for Handlers {
    type Response = Outcome;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Outcome, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, Call { ctx, next }: Call) -> Self::Future {
        Box::pin(async move {
            match next.run(ctx).await {
                Outcome::Failed(error) => Err(HandlerError(error).into()),
                outcome => Ok(outcome),
            }
        })
    }
}

/// A handler's error, as tower's layers see it. What it asks for (bury, snooze, ..) survives them.
pub struct HandlerError(JobError);

impl HandlerError {
    /// The error that the handler returned.
    pub fn error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self.0.error()
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.error())
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl StdError for HandlerError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // The error itself, so that its wish is found behind the errors of layers, too.
        Some(self.0.error())
    }
}

type OnError = Arc<dyn Fn(BoxError) -> JobError + Send + Sync>;

/// A tower layer for [`Router::layer`](crate::Router::layer); see [`tower`].
#[must_use = "give it to Router::layer"]
pub struct Tower<L> {
    layer: L,
    on_error: OnError,
}

/// A layer of the tower ecosystem around handlers.
///
/// The layer is applied once, and all handlers that it wraps share its service: a `ConcurrencyLimitLayer` limits them
/// together. It need not be `Clone`: a call waits in line until the service is ready for it. **What waits in a layer
/// holds its slot and its timeout runs**; [`Server::kind_concurrency`](crate::Server::kind_concurrency) leaves the jobs
/// in the store instead.
///
/// An error of a layer fails the attempt as any other error does; [`Tower::on_error`] may say otherwise. A handler's own
/// error comes out as it went in.
///
/// ```
/// use std::time::Duration;
/// use tower::{limit::ConcurrencyLimitLayer, timeout::TimeoutLayer};
/// use windlass::{RawJob, Router, middleware};
/// # async fn call_bank(_: RawJob) -> windlass::Result { Ok(()) }
/// let router: Router = Router::new()
///     .at("bank:*", call_bank)
///     .layer(middleware::tower(TimeoutLayer::new(Duration::from_secs(5))))
///     .layer(middleware::tower(ConcurrencyLimitLayer::new(3)));
/// # let _ = router;
/// ```
pub fn tower<L>(layer: L) -> Tower<L> {
    Tower { layer, on_error: Arc::new(JobError::from) }
}

impl<L> Tower<L> {
    /// What follows from an error of the layer. Handlers' own errors do not come here.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower::load_shed::{LoadShedLayer, error::Overloaded};
    /// use windlass::{JobError, middleware};
    /// let shed = middleware::tower(LoadShedLayer::new()).on_error(|error| {
    ///     let overloaded = error.is::<Overloaded>();
    ///     let error = JobError::from(error);
    ///     if overloaded { error.snooze(Duration::from_secs(5)) } else { error }
    /// });
    /// # let _ = shed;
    /// ```
    pub fn on_error(mut self, decide: impl Fn(BoxError) -> JobError + Send + Sync + 'static) -> Self {
        self.on_error = Arc::new(decide);
        self
    }
}

impl<L> fmt::Debug for Tower<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tower")
    }
}

impl<L> From<Tower<L>> for Layer
where
    L: TowerLayer<Handlers>,
    L::Service: Service<Call, Response = Outcome> + Send + 'static,
    <L::Service as Service<Call>>::Error: Into<BoxError>,
    <L::Service as Service<Call>>::Future: Send + 'static,
{
    fn from(tower: Tower<L>) -> Layer {
        // One at a time asks whether the service is ready, in order: many services wake only the last who asked.
        let service = Arc::new(Mutex::new(tower.layer.layer(Handlers(()))));
        let on_error = tower.on_error;
        Layer::new(move |ctx, next| {
            let (service, on_error) = (service.clone(), on_error.clone());
            Box::pin(async move {
                match through(&service, Call { ctx, next }).await {
                    Ok(outcome) => outcome,
                    Err(error) => Outcome::Failed(job_error(error, &on_error)),
                }
            }) as BoxFuture<Outcome>
        })
    }
}

async fn through<S>(service: &Mutex<S>, call: Call) -> Result<Outcome, BoxError>
where
    S: Service<Call, Response = Outcome>,
    S::Error: Into<BoxError>,
{
    let called = {
        let mut service = service.lock().await;
        std::future::poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
        service.call(call)
    };
    called.await.map_err(Into::into)
}

fn job_error(error: BoxError, on_error: &OnError) -> JobError {
    match error.downcast::<HandlerError>() {
        Ok(own) => own.0,
        Err(error) => on_error(error),
    }
}
