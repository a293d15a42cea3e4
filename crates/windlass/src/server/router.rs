//! Which handler runs a kind: exact kinds first, then the longest prefix, then the not-found handler.
//! Middleware wraps every handler that was added before it.

use std::{future::Future, sync::Arc};

use rustc_hash::FxHashMap;

use super::{
    blocking::on_its_thread,
    context::JobContext,
    handler::{BlockingHandler, Decode, Handler},
    outcome::{IntoOutcome, Outcome},
    run::Extensions,
};
use crate::{
    client::{Job, RawJob},
    env::BoxFuture,
    error::Error,
    job::{InvalidJob, Pattern},
};

/// A handler with everything it needs: one boxed future a job.
pub(crate) type Endpoint = Arc<dyn Fn(JobContext) -> BoxFuture<Outcome> + Send + Sync>;

/// Makes an endpoint once the state is there.
type Maker<S> = Arc<dyn Fn(&Arc<S>) -> Endpoint + Send + Sync>;

type Middleware = Arc<dyn Fn(JobContext, Next) -> BoxFuture<Outcome> + Send + Sync>;

/// Kinds and their handlers. `S` is the state that is still to be given with [`with_state`](Router::with_state).
///
/// ```
/// # #[cfg(feature = "macros")] {
/// use windlass::{JobContext, Router, State};
/// #[derive(serde::Serialize, serde::Deserialize, windlass::Job)]
/// #[job(kind = "greet")]
/// struct Greet { name: String }
///
/// async fn greet(job: Greet, State(greeting): State<String>, ctx: JobContext) -> windlass::Result {
///     println!("{greeting}, {} (attempt {})", job.name, ctx.attempt());
///     Ok(())
/// }
/// let router = Router::new().job(greet).with_state("Hello".to_string());
/// # let _: Router = router;
/// # }
/// ```
pub struct Router<S = ()> {
    routes: Vec<Route<S>>,
    not_found: Option<Maker<S>>,
    extensions: Extensions,
}

struct Route<S> {
    pattern: String,
    make: Maker<S>,
    /// Its handler runs on a thread that may block.
    blocking: bool,
}

impl<S> Clone for Route<S> {
    fn clone(&self) -> Self {
        Self { pattern: self.pattern.clone(), make: self.make.clone(), blocking: self.blocking }
    }
}

impl<S: Send + Sync + 'static> Router<S> {
    /// A router without handlers.
    pub fn new() -> Self {
        Self { routes: Vec::new(), not_found: None, extensions: Extensions::default() }
    }

    /// Runs jobs of type `J` with this handler, under the job's kind.
    #[must_use]
    pub fn job<M: 'static, J: Job>(self, handler: impl Handler<M, J, S>) -> Self {
        self.at(J::KIND, handler)
    }

    /// Runs every kind that the pattern matches: exactly, or by prefix when it ends in `*`. The handler's first
    /// argument is a [`Job`] or a [`RawJob`].
    #[must_use]
    pub fn at<M: 'static, J: Decode>(mut self, pattern: impl Into<String>, handler: impl Handler<M, J, S>) -> Self {
        self.routes.push(Route { pattern: pattern.into(), make: maker(handler), blocking: false });
        self
    }

    /// Runs jobs of type `J` with a plain function that may block its thread or compute for long, on one of the
    /// [`blocking_threads`](crate::Server::blocking_threads) of the server.
    ///
    /// Such a handler can be told to stop and not be stopped: long ones look at [`JobContext::is_cancelled`] now and
    /// then. One that ignores its end is reported without it after its grace, and its thread counts as leaked until it
    /// comes back. A server claims no more of a blocking kind than it has free threads.
    ///
    /// ```
    /// # #[cfg(feature = "macros")] {
    /// use windlass::{JobContext, Json, Router};
    /// #[derive(serde::Serialize, serde::Deserialize, windlass::Job)]
    /// #[job(kind = "primes")]
    /// struct CountPrimes { below: u64 }
    ///
    /// fn count_primes(job: CountPrimes, ctx: JobContext) -> windlass::Result<Json<usize>> {
    ///     let is_prime = |n: &u64| (2..*n).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
    ///     let primes = (2..job.below).take_while(|_| !ctx.is_cancelled()).filter(is_prime);
    ///     Ok(Json(primes.count()))
    /// }
    /// let router: Router = Router::new().job_blocking(count_primes);
    /// # let _ = router;
    /// # }
    /// ```
    #[must_use]
    pub fn job_blocking<M: 'static, J: Job>(self, handler: impl BlockingHandler<M, J, S>) -> Self {
        self.at_blocking(J::KIND, handler)
    }

    /// As [`job_blocking`](Self::job_blocking), for every kind that the pattern matches.
    #[must_use]
    pub fn at_blocking<M: 'static, J: Decode>(
        mut self,
        pattern: impl Into<String>,
        handler: impl BlockingHandler<M, J, S>,
    ) -> Self {
        self.routes.push(Route { pattern: pattern.into(), make: blocking_maker(handler), blocking: true });
        self
    }

    /// Runs an old kind, too, with the handler that was added last: for jobs that are still under way.
    ///
    /// # Panics
    /// When no handler was added before.
    #[must_use]
    pub fn alias(mut self, old_kind: impl Into<String>) -> Self {
        let last = self.routes.last().expect("Router::alias names the handler that was added before it");
        let (make, blocking) = (last.make.clone(), last.blocking);
        self.routes.push(Route { pattern: old_kind.into(), make, blocking });
        self
    }

    /// Runs every kind that no other handler runs. The server then claims all kinds of its queues.
    #[must_use]
    pub fn not_found<M: 'static>(mut self, handler: impl Handler<M, RawJob, S>) -> Self {
        self.not_found = Some(maker(handler));
        self
    }

    /// Wraps every handler that was added so far; see [`middleware::from_fn`](crate::middleware::from_fn) and (feature
    /// `tower`) `middleware::tower`.
    #[must_use]
    pub fn layer(mut self, layer: impl Into<Layer>) -> Self {
        let layer = layer.into();
        let wrap = |inner: Maker<S>| -> Maker<S> {
            let middleware = layer.0.clone();
            Arc::new(move |state| wrap(inner(state), middleware.clone()))
        };
        self.routes = self.routes.into_iter().map(|route| Route { make: wrap(route.make), ..route }).collect();
        self.not_found = self.not_found.map(wrap);
        self
    }

    /// Gives handlers a value under its type; they ask for it as [`Extension`](crate::Extension).
    #[must_use]
    pub fn extension<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.extensions.insert(value);
        self
    }

    /// All handlers and extensions of another router with the same state, too. Its not-found handler, and its
    /// extension of a type that both have, count only where this one has none.
    #[must_use]
    pub fn merge(mut self, other: Router<S>) -> Self {
        self.routes.extend(other.routes);
        self.not_found = self.not_found.or(other.not_found);
        self.extensions.merge(other.extensions);
        self
    }

    /// Gives the state.
    pub fn with_state(self, state: S) -> Router {
        let state = Arc::new(state);
        let give = |inner: Maker<S>| -> Maker<()> {
            let endpoint = inner(&state);
            Arc::new(move |_| endpoint.clone())
        };
        let given = |Route { pattern, make, blocking }| Route { pattern, make: give(make), blocking };
        Router {
            routes: self.routes.into_iter().map(given).collect(),
            not_found: self.not_found.map(give),
            extensions: self.extensions,
        }
    }
}

impl<S> Clone for Router<S> {
    /// The same handlers, with the same state.
    fn clone(&self) -> Self {
        Self { routes: self.routes.clone(), not_found: self.not_found.clone(), extensions: self.extensions.clone() }
    }
}

impl<S: Send + Sync + 'static> Default for Router<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> std::fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.routes.iter().map(|route| &route.pattern)).finish()
    }
}

fn maker<M: 'static, J: Decode, S: Send + Sync + 'static>(handler: impl Handler<M, J, S>) -> Maker<S> {
    Arc::new(move |state| {
        let (handler, state) = (handler.clone(), state.clone());
        Arc::new(move |ctx| match J::decode(&ctx) {
            Ok(job) => handler.clone().call(job, ctx, state.clone()),
            Err(error) => Box::pin(std::future::ready(Outcome::Failed(error))),
        })
    })
}

fn blocking_maker<M: 'static, J: Decode, S: Send + Sync + 'static>(handler: impl BlockingHandler<M, J, S>) -> Maker<S> {
    Arc::new(move |state| {
        let (handler, state) = (handler.clone(), state.clone());
        Arc::new(move |ctx| {
            let (handler, state) = (handler.clone(), state.clone());
            Box::pin(async move {
                let prepared = match J::decode(&ctx) {
                    Ok(job) => handler.prepare(job, ctx.clone(), state).await,
                    Err(error) => Err(error),
                };
                match prepared {
                    Ok(call) => on_its_thread(&ctx, call).await,
                    Err(error) => Outcome::Failed(error),
                }
            })
        })
    })
}

fn wrap(inner: Endpoint, middleware: Middleware) -> Endpoint {
    Arc::new(move |ctx| middleware(ctx, Next(inner.clone())))
}

/// The rest of the way to the handler.
pub struct Next(Endpoint);

impl Next {
    /// Goes on.
    pub async fn run(self, ctx: JobContext) -> Outcome {
        (self.0)(ctx).await
    }
}

/// A middleware, for [`Router::layer`]; made by [`from_fn`].
#[derive(Clone)]
pub struct Layer(Middleware);

impl Layer {
    #[cfg(feature = "tower")]
    pub(crate) fn new(wrap: impl Fn(JobContext, Next) -> BoxFuture<Outcome> + Send + Sync + 'static) -> Self {
        Self(Arc::new(wrap))
    }
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Layer")
    }
}

/// A middleware: an async function of the run and the rest of the way.
///
/// ```
/// use windlass::{JobContext, Outcome, Router, middleware::{self, Next}};
/// async fn timed(ctx: JobContext, next: Next) -> Outcome {
///     let began = std::time::Instant::now();
///     let outcome = next.run(ctx.clone()).await;
///     println!("{} took {:?}", ctx.kind(), began.elapsed());
///     outcome
/// }
/// let router: Router = Router::new().layer(middleware::from_fn(timed));
/// ```
pub fn from_fn<F, Fut, R>(function: F) -> Layer
where
    F: Fn(JobContext, Next) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: IntoOutcome + 'static,
{
    let function = Arc::new(function);
    Layer(Arc::new(move |ctx, next| {
        let function = function.clone();
        Box::pin(async move { function(ctx, next).await.into_outcome() })
    }))
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}

/// A router as a server uses it: checked, and with its kinds found by hash.
pub(crate) struct Routes {
    exact: FxHashMap<String, Endpoint>,
    prefixes: Vec<(String, Endpoint)>,
    /// The patterns of the handlers that block.
    blocking: Vec<Pattern>,
    not_found: Option<Endpoint>,
    pub(crate) extensions: Arc<Extensions>,
}

impl Routes {
    pub(crate) fn new(router: Router) -> Result<Self, Error> {
        let mut routes = Self {
            exact: FxHashMap::default(),
            prefixes: Vec::new(),
            blocking: Vec::new(),
            not_found: router.not_found.map(|make| make(&Arc::new(()))),
            extensions: Arc::new(router.extensions),
        };
        for Route { pattern: text, make, blocking } in router.routes {
            let endpoint = make(&Arc::new(()));
            let pattern = Pattern::new(&text).map_err(|error: InvalidJob| Error::Config(error.to_string()))?;
            routes.blocking.extend(blocking.then(|| pattern.clone()));
            let taken = match pattern {
                Pattern::Exact(kind) => routes.exact.insert(kind.to_string(), endpoint).is_some(),
                Pattern::Prefix(prefix) => {
                    let taken = routes.prefixes.iter().any(|(other, _)| *other == *prefix);
                    routes.prefixes.push((prefix.to_string(), endpoint));
                    taken
                }
            };
            if taken {
                return Err(Error::Config(format!("two handlers are registered for `{text}`; keep one")));
            }
        }
        routes.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        if routes.exact.is_empty() && routes.prefixes.is_empty() && routes.not_found.is_none() {
            return Err(Error::Config("the router has no handler; add one with Router::job".into()));
        }
        Ok(routes)
    }

    pub(crate) fn find(&self, kind: &str) -> Option<&Endpoint> {
        let by_prefix = || self.prefixes.iter().find(|(prefix, _)| kind.starts_with(prefix)).map(|(_, end)| end);
        self.exact.get(kind).or_else(by_prefix).or(self.not_found.as_ref())
    }

    /// Whether the handler of these kinds blocks.
    pub(crate) fn is_blocking(&self, kinds: &Pattern) -> bool {
        let handler = match kinds {
            Pattern::Exact(kind) if self.exact.contains_key(&**kind) => kinds.clone(),
            Pattern::Exact(start) | Pattern::Prefix(start) => {
                match self.prefixes.iter().find(|(prefix, _)| start.starts_with(&**prefix)) {
                    Some((prefix, _)) => Pattern::Prefix(prefix.as_str().into()),
                    None => return false,
                }
            }
        };
        self.blocking.contains(&handler)
    }

    /// The patterns of all kinds that have a handler. With a not-found handler that is one for all, beside those that
    /// block: they need rules of their own.
    pub(crate) fn patterns(&self) -> Vec<String> {
        if self.not_found.is_some() {
            let blocking = self.blocking.iter().map(ToString::to_string).filter(|pattern| pattern != "*");
            return std::iter::once("*".into()).chain(blocking).collect();
        }
        let prefixes = self.prefixes.iter().map(|(prefix, _)| format!("{prefix}*"));
        let mut patterns: Vec<String> = self.exact.keys().cloned().chain(prefixes).collect();
        patterns.sort();
        patterns
    }
}
