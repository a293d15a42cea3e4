//! Which handler runs a kind: exact kinds first, then the longest prefix, then the not-found handler.
//! Middleware wraps every handler that was added before it.

use std::{future::Future, sync::Arc};

use rustc_hash::FxHashMap;

use super::{
    context::JobContext,
    handler::{Decode, Handler},
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
    routes: Vec<(String, Maker<S>)>,
    not_found: Option<Maker<S>>,
    extensions: Extensions,
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
        self.routes.push((pattern.into(), maker(handler)));
        self
    }

    /// Runs an old kind, too, with the handler that was added last: for jobs that are still under way.
    ///
    /// # Panics
    /// When no handler was added before.
    #[must_use]
    pub fn alias(mut self, old_kind: impl Into<String>) -> Self {
        let last = self.routes.last().expect("Router::alias names the handler that was added before it").1.clone();
        self.routes.push((old_kind.into(), last));
        self
    }

    /// Runs every kind that no other handler runs. The server then claims all kinds of its queues.
    #[must_use]
    pub fn not_found<M: 'static>(mut self, handler: impl Handler<M, RawJob, S>) -> Self {
        self.not_found = Some(maker(handler));
        self
    }

    /// Wraps every handler that was added so far; see [`middleware::from_fn`](crate::middleware::from_fn).
    #[must_use]
    pub fn layer(mut self, layer: FromFn) -> Self {
        let wrap = |inner: Maker<S>| -> Maker<S> {
            let middleware = layer.0.clone();
            Arc::new(move |state| wrap(inner(state), middleware.clone()))
        };
        self.routes = self.routes.into_iter().map(|(pattern, inner)| (pattern, wrap(inner))).collect();
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
        Router {
            routes: self.routes.into_iter().map(|(pattern, inner)| (pattern, give(inner))).collect(),
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
        f.debug_list().entries(self.routes.iter().map(|(pattern, _)| pattern)).finish()
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

/// A middleware made of a function; see [`from_fn`].
#[derive(Clone)]
pub struct FromFn(Middleware);

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
pub fn from_fn<F, Fut, R>(function: F) -> FromFn
where
    F: Fn(JobContext, Next) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: IntoOutcome + 'static,
{
    let function = Arc::new(function);
    FromFn(Arc::new(move |ctx, next| {
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
    not_found: Option<Endpoint>,
    pub(crate) extensions: Arc<Extensions>,
}

impl Routes {
    pub(crate) fn new(router: Router) -> Result<Self, Error> {
        let mut routes = Self {
            exact: FxHashMap::default(),
            prefixes: Vec::new(),
            not_found: router.not_found.map(|make| make(&Arc::new(()))),
            extensions: Arc::new(router.extensions),
        };
        for (text, make) in router.routes {
            let endpoint = make(&Arc::new(()));
            let taken = match Pattern::new(&text).map_err(|error: InvalidJob| Error::Config(error.to_string()))? {
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

    /// The patterns of all kinds that have a handler.
    pub(crate) fn patterns(&self) -> Vec<String> {
        if self.not_found.is_some() {
            return vec!["*".into()];
        }
        let prefixes = self.prefixes.iter().map(|(prefix, _)| format!("{prefix}*"));
        let mut patterns: Vec<String> = self.exact.keys().cloned().chain(prefixes).collect();
        patterns.sort();
        patterns
    }
}
