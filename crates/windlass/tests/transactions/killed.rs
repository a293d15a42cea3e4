//! Applications that are killed with no chance to say anything, and database servers that are, in the middle of
//! transactions: each row that was committed has its job and each job its row, and a run's effect is there if and only if the
//! job is completed. `WINDLASS_KILLS` says how often; the default takes some seconds.

use std::{collections::BTreeSet, future::pending, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use windlass::{
    Client, Env, JobContext, JobError, JobId, JobState, RawJob, RetryPolicy, Router, RunningServer, Server,
};

use crate::{App, End, apps::TokioPostgres, dropped::Dropped, servers::postgres as place, sqlx_apps::Postgres09};

const EVERY_POLL: u32 = u32::MAX;

/// Rows without a job of their name, and jobs without a row.
const ALONE: &str = "SELECT count(*) FROM (SELECT DISTINCT id COLLATE \"C\" AS id FROM effects) AS row \
                     FULL JOIN (SELECT id FROM job UNION ALL SELECT id FROM history) AS job USING (id) \
                     WHERE row.id IS NULL OR job.id IS NULL";

/// Effects whose job is not completed, and completed jobs that have not exactly one effect.
const APART: &str = "SELECT count(*) FROM (SELECT id COLLATE \"C\" AS id, count(*) AS n FROM effects GROUP BY 1) AS row \
                     FULL JOIN (SELECT id FROM history WHERE state = 6) AS job USING (id) \
                     WHERE row.n IS DISTINCT FROM 1 OR job.id IS NULL";

fn kills() -> usize {
    std::env::var("WINDLASS_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(4)
}

/// From one to this many.
fn chance(most: u64) -> u64 {
    Env::system().random() % most + 1
}

fn job(id: &str) -> RawJob {
    RawJob::new("work", "{}").with(|options| options.id(id).max_retry(1000).retention(Duration::from_secs(3600)))
}

/// The application that the tests below start and kill: this program again, told by its environment what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it is started by the tests of this file, and does nothing else"]
async fn the_application() {
    let url = std::env::var("WINDLASS_APP_STORE").expect("a store");
    match std::env::var("WINDLASS_APP").as_deref() {
        Ok("orders by tokio-postgres") => take_orders::<TokioPostgres>(&url).await,
        Ok("orders by sqlx") => take_orders::<Postgres09>(&url).await,
        Ok("orders in two steps") => take_orders_in_two_steps(&url).await,
        Ok("works by tokio-postgres") => work_on::<TokioPostgres>(&url).await,
        Ok("works by sqlx") => work_on::<Postgres09>(&url).await,
        other => panic!("what is {other:?}?"),
    }
}

/// Writes rows and enqueues their jobs, and sometimes rolls back, until something fails.
async fn take_orders<A: App + Dropped + 'static>(url: &str) {
    let client = Client::open(url).await.expect("open");
    let mut tills = tokio::task::JoinSet::new();
    for till in 0..4 {
        let (client, url) = (client.clone(), url.to_owned());
        tills.spawn(async move {
            let mut app = A::connect(&url).await;
            for number in 0.. {
                let id = format!("{}-{till}-{number}", std::process::id());
                if number % 3 == 2 {
                    app.transact(&client, vec![job(&id)], End::RollBack).await;
                    continue;
                }
                assert_eq!(app.enqueue_dropped(&client, &id, EVERY_POLL).await, (true, true), "{id}");
                println!("did {id}");
            }
        });
    }
    tills.join_next().await.expect("a till").expect("it ended");
}

/// As applications do that have no transaction for both: what the tests must notice.
async fn take_orders_in_two_steps(url: &str) {
    let (client, mut app) = make::<TokioPostgres>(url).await;
    for number in 0.. {
        let id = format!("{}-{number}", std::process::id());
        app.execute(&format!("INSERT INTO effects VALUES ('{id}')")).await;
        client.enqueue(job(&id)).await.expect("enqueue");
        println!("did {id}");
    }
}

async fn work_on<A: Dropped + 'static>(url: &str) {
    let client = Client::open(url).await.expect("open");
    let _server = worker::<A>(&client, url).await;
    pending().await
}

/// A server whose handler writes an effect and completes in one transaction.
async fn worker<A: Dropped + 'static>(client: &Client, url: &str) -> RunningServer {
    let url = url.to_owned();
    let handler = move |_: RawJob, ctx: JobContext| {
        let url = url.clone();
        async move {
            let id = ctx.id().to_string();
            let mut app = A::connect(&url).await;
            let committed = app.complete_dropped(ctx, &id, EVERY_POLL).await.expect("it is not given up")?;
            println!("did {id}");
            Ok::<_, JobError>(committed)
        }
    };
    let server = Server::new(client, Router::new().at("work", handler)).concurrency(4).lease(Duration::from_secs(1));
    let server = server.poison_after(1000).retry(RetryPolicy::fixed(Duration::from_millis(50)));
    server.start().await.expect("start")
}

/// The application, and the lines that it says.
struct Running {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Running {
    fn start(what: &str, url: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "killed::the_application", "--ignored", "--nocapture"])
            .env("WINDLASS_APP", what)
            .env("WINDLASS_APP_STORE", url)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("this program again");
        let lines = BufReader::new(child.stdout.take().expect("its pipe")).lines();
        Self { child, lines }
    }

    /// The next thing that it did; none: it has ended.
    async fn did(&mut self) -> Option<String> {
        while let Some(line) = self.lines.next_line().await.expect("its pipe") {
            if let Some((_, id)) = line.split_once("did ") {
                return Some(id.to_owned());
            }
        }
        None
    }

    /// Lets it do so many things.
    async fn do_some(&mut self, many: u64) -> BTreeSet<String> {
        let mut done = BTreeSet::new();
        for _ in 0..many {
            done.extend(self.did().await);
        }
        done
    }

    /// All that it still has said when it has ended.
    async fn ends(mut self) -> BTreeSet<String> {
        let mut done = BTreeSet::new();
        while let Some(id) = self.did().await {
            done.insert(id);
        }
        let _ = self.child.wait().await;
        done
    }

    async fn kill(mut self) -> BTreeSet<String> {
        self.child.start_kill().expect("it runs");
        self.ends().await
    }
}

/// What was acknowledged is there, and nothing is there by halves.
async fn rows_and_jobs_agree<A: App>(url: &str, said: &BTreeSet<String>) {
    let (client, mut app) = make::<A>(url).await;
    assert!(!said.is_empty(), "the control: it did something");
    assert_eq!(app.number(ALONE).await, 0);
    for id in said {
        assert!(client.get(&id.parse().unwrap()).await.unwrap().is_some(), "{id} was acknowledged");
    }
    let rows = app.number("SELECT count(DISTINCT id) FROM effects").await;
    assert!(rows >= said.len() as i64);
    assert_eq!(client.census().await.unwrap().enqueued, rows as u64);
}

/// Makes the store and the application's table.
async fn make<A: App>(url: &str) -> (Client, A) {
    let client = Client::open(url).await.expect("open");
    (client, A::connect(url).await)
}

async fn orders_survive_kills<A: App>(what: &str) {
    let (url, mut said) = (place::url(), BTreeSet::new());
    make::<A>(&url).await;
    for _ in 0..kills() {
        let mut running = Running::start(what, &url);
        said.extend(running.do_some(chance(40)).await);
        said.extend(running.kill().await);
    }
    rows_and_jobs_agree::<A>(&url, &said).await;
}

#[tokio::test]
async fn an_application_on_tokio_postgres_that_is_killed_leaves_each_row_with_its_job() {
    orders_survive_kills::<TokioPostgres>("orders by tokio-postgres").await;
}

#[tokio::test]
async fn an_application_on_sqlx_that_is_killed_leaves_each_row_with_its_job() {
    orders_survive_kills::<Postgres09>("orders by sqlx").await;
}

/// The control.
#[tokio::test]
async fn a_row_and_its_job_in_two_transactions_come_apart_when_the_application_is_killed() {
    let url = place::url();
    let (_client, mut app) = make::<TokioPostgres>(&url).await;
    for _ in 0..100 {
        let mut running = Running::start("orders in two steps", &url);
        running.do_some(chance(10)).await;
        running.kill().await;
        if app.number(ALONE).await > 0 {
            return;
        }
    }
    panic!("a row without its job was not noticed");
}

/// Jobs for workers that are killed: more than they can do before, each up to eight and what it then had in hand.
async fn jobs<A: App>(url: &str) -> (Client, A, Vec<JobId>) {
    let (client, app) = make::<A>(url).await;
    let ids: Vec<JobId> = (0..20 + 12 * kills()).map(|number| format!("job-{number}").parse().unwrap()).collect();
    client.enqueue_all(ids.iter().map(|id| job(&id.to_string()))).await.expect("enqueue");
    (client, app, ids)
}

/// Works off what is left; each job has had its effect once.
async fn all_are_done_once<A: Dropped + 'static>(client: &Client, app: &mut A, url: &str, ids: &[JobId]) {
    let server = worker::<A>(client, url).await;
    for id in ids {
        assert_eq!(client.wait(id).await.expect("wait").state, JobState::Completed, "{id}");
    }
    server.shutdown().await;
    assert_eq!((app.number(APART).await, app.effects().await), (0, ids.len() as i64));
}

async fn effects_survive_kills<A: Dropped + 'static>(what: &str) {
    let url = place::url();
    let (client, mut app, ids) = jobs::<A>(&url).await;
    for _ in 0..kills() {
        let mut running = Running::start(what, &url);
        running.do_some(chance(8)).await;
        running.kill().await;
        assert_eq!(app.number(APART).await, 0);
    }
    all_are_done_once(&client, &mut app, &url, &ids).await;
}

#[tokio::test]
async fn a_worker_on_tokio_postgres_that_is_killed_leaves_each_effect_with_the_end_of_its_run() {
    effects_survive_kills::<TokioPostgres>("works by tokio-postgres").await;
}

#[tokio::test]
async fn a_worker_on_sqlx_that_is_killed_leaves_each_effect_with_the_end_of_its_run() {
    effects_survive_kills::<Postgres09>("works by sqlx").await;
}
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_killed_leaves_each_row_with_its_job() {
    let mut server = place::Server::start();
    let url = format!("{}?schema=orders", server.url());
    make::<TokioPostgres>(&url).await;
    let mut said = BTreeSet::new();
    for round in 0..kills() {
        let mut running = Running::start(["orders by tokio-postgres", "orders by sqlx"][round % 2], &url);
        said.extend(running.do_some(chance(40)).await);
        // As by `pg_ctl restart -m immediate`. The application fails at that, and ends.
        tokio::task::block_in_place(|| {
            server.kill();
            server.start_again();
        });
        said.extend(running.ends().await);
    }
    rows_and_jobs_agree::<TokioPostgres>(&url, &said).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_killed_leaves_each_effect_with_the_end_of_its_run() {
    let mut server = place::Server::start();
    let url = format!("{}?schema=effects", server.url());
    let (client, app, ids) = jobs::<TokioPostgres>(&url).await;
    drop(app);
    for round in 0..kills() {
        let mut running = Running::start(["works by tokio-postgres", "works by sqlx"][round % 2], &url);
        running.do_some(chance(8)).await;
        tokio::task::block_in_place(|| {
            server.kill();
            server.start_again();
        });
        running.kill().await;
        let mut app = TokioPostgres::connect(&url).await;
        assert_eq!(app.number(APART).await, 0);
    }
    let mut app = TokioPostgres::connect(&url).await;
    all_are_done_once(&client, &mut app, &url, &ids).await;
}
