//! What handlers ask for: the application's state, parts of it, values of a middleware, and your own extractor.

use windlass::{
    Client, Extension, FromJob, FromRef, Job, JobContext, Outcome, Router, Server, State,
    middleware::{self, Next},
};

#[derive(Clone)]
struct Mailer {
    from: String,
}

#[derive(Clone)]
struct App {
    mailer: Mailer,
    site: String,
}

/// Handlers may ask for the mailer alone.
impl FromRef<App> for Mailer {
    fn from_ref(app: &App) -> Self {
        app.mailer.clone()
    }
}

#[derive(Clone)]
struct TraceId(String);

/// An extractor of our own: the header `locale`, or English.
struct Locale(String);

impl<S: Sync> FromJob<S> for Locale {
    async fn from_job(ctx: &JobContext, _: &S) -> windlass::Result<Self> {
        Ok(Locale(ctx.headers().get("locale").cloned().unwrap_or_else(|| "en".into())))
    }
}

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "mail:welcome", retention = "1h")]
struct Welcome {
    to: String,
}

// Names the argument that does not fit, should one not fit.
#[windlass::check_handler(state = App)]
async fn welcome(
    job: Welcome,
    State(mailer): State<Mailer>,
    State(app): State<App>,
    Extension(trace): Extension<TraceId>,
    Locale(locale): Locale,
) -> windlass::Result {
    println!("  {} welcomes {} from {} in {locale} [{}]", app.site, job.to, mailer.from, trace.0);
    Ok(())
}

async fn trace(ctx: JobContext, next: Next) -> Outcome {
    ctx.insert(TraceId(ctx.headers().get("trace").cloned().unwrap_or_default()));
    println!("before {}", ctx.kind());
    let outcome = next.run(ctx.clone()).await;
    println!("after {}: {}", ctx.kind(), if matches!(outcome, Outcome::Done(_)) { "done" } else { "failed" });
    outcome
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let app = App { mailer: Mailer { from: "hello@example.com".into() }, site: "example.com".into() };
    let router = Router::new().job(welcome).layer(middleware::from_fn(trace)).with_state(app);

    let client = Client::open("memory:").await?;
    let server = Server::new(&client, router).start().await?;
    let job = Welcome { to: "Ada".into() }.with(|options| options.header("trace", "t-1").header("locale", "de"));
    client.wait(client.enqueue(job).await?.id()).await?;
    server.shutdown().await;
    Ok(())
}
