//! The parent process tells the story: it enqueues the jobs, starts workers, kills one of them while it works, waits
//! until every job has ended, has the report made, and holds what happened against the plan.

use std::{collections::HashSet, io::IsTerminal, path::Path, time::Duration};

use anyhow::Context;
use windlass::{Client, EventKind, JobFilter, JobRecord, JobState, Monotonic};

use super::{
    DemoArgs, LEASE, account, conflict,
    email::{Mailer, SendEmail},
    events::Told,
    fleet::{Fleet, News, Orders},
    open,
    outdir::{DATABASE, OutDir},
    photos,
    plan::{self, Plan, Started},
    refused,
    report::GenerateReport,
    screen::{Paint, Screen},
    summary::{Facts, Killed, Summary},
};

use crate::{
    exit::{Exit, Failure},
    store::{App, shown},
};

/// How many worker processes there are at a time.
const WORKERS: usize = 2;
/// How often the parent counts the jobs in the store.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// When nothing has happened for this long, something is wrong.
const STALLED: Duration = Duration::from_secs(60);
/// How often a worker is killed at most, until one held jobs.
const KILLS: usize = 3;

/// What the arguments mean.
struct Setup {
    pictures: Vec<String>,
    own_pictures: bool,
    jobs: usize,
    concurrency: u32,
    url: String,
    out: OutDir,
}

impl Setup {
    fn new(args: &DemoArgs, store: Option<&str>) -> Result<Self, Failure> {
        Mailer::from_env()?;
        let pictures = match &args.images {
            Some(folder) => {
                refuse_results_as_input(folder, &args.dir)?;
                photos::in_folder(folder)?
            }
            None => photos::built_in(),
        };
        let jobs = args.jobs.map_or_else(|| plan::default_jobs(pictures.len()), |jobs| jobs as usize);
        let url = match store {
            Some(url) => own_store(url)?,
            None => file_url(&args.dir)?,
        };
        let out = OutDir::claim(&args.dir, args.keep)?;
        Ok(Self { pictures, own_pictures: args.images.is_some(), jobs, concurrency: args.concurrency, url, out })
    }
}

fn refuse_results_as_input(images: &Path, out: &Path) -> Result<(), Failure> {
    let (Ok(images), Ok(out)) = (images.canonicalize(), out.canonicalize()) else { return Ok(()) };
    if !images.starts_with(&out) {
        return Ok(());
    }
    let why = "--images lies in the folder for results, which is cleared at the start";
    Err(refused(why, "copy the pictures elsewhere, or choose another folder with --dir"))
}

fn own_store(url: &str) -> Result<String, Failure> {
    if !url.starts_with("memory:") {
        return Ok(url.to_owned());
    }
    let why = "memory: cannot be shared by the demo's worker processes";
    Err(refused(why, "leave --store out, and the demo keeps its database in the folder for results"))
}

fn file_url(dir: &Path) -> Result<String, Failure> {
    match dir.join(DATABASE).into_os_string().into_string() {
        Ok(path) if !path.contains('?') => Ok(format!("sqlite:{path}")),
        _ => Err(refused(
            format!("the database cannot be named in a URL under {}", dir.display()),
            "choose a folder whose name is text without `?` with --dir",
        )),
    }
}

/// Runs the demo; ends well if every job is accounted for.
pub(super) async fn run(app: &App, args: DemoArgs) -> anyhow::Result<Exit> {
    let setup = Setup::new(&args, app.url())?;
    let client = open(&setup.url).await?;
    refuse_a_used_store(&client).await?;
    let plan = plan::plan(setup.jobs, &setup.pictures);
    let screen = Screen::new(client.env(), app.out.json, plan.images.len(), plan.mails.len() + plan.follow_ups);
    // Many jobs wait less each, so that the run stays short.
    let pace = Duration::from_millis((96_000 / setup.jobs.max(1) as u64).clamp(2, 200));
    let orders = Orders { database: setup.url.clone(), concurrency: setup.concurrency, pace };
    let fleet = Fleet::new(orders)?;
    let mut show = Show { setup, client, plan, screen, fleet, watch: Watch::default(), killed: None };
    let told = tokio::select! {
        // First, so that signals come here before a worker is started.
        biased;
        () = windlass::shutdown_signal() => Err(show.interrupted()),
        told = show.tell() => told,
    };
    show.screen.end();
    show.fleet.stop(&show.client.env().clone()).await;
    let summary = show.account(told?).await?;
    app.out.document(&summary, || summary.text(Paint::on(std::io::stdout().is_terminal())))?;
    Ok(if summary.ok { Exit::Ok } else { Exit::Failed })
}

async fn refuse_a_used_store(client: &Client) -> anyhow::Result<()> {
    match client.census().await?.enqueued {
        0 => Ok(()),
        jobs => Err(conflict(
            format!("{} holds {jobs} jobs; the demo wants a store of its own", client.store().place()),
            "leave --store, WINDLASS_STORE and `store` in the config out, or name a file that does not exist yet or an \
             empty place in Redis or Postgres",
        )
        .into()),
    }
}

/// The demo while it runs.
struct Show {
    setup: Setup,
    client: Client,
    plan: Plan,
    screen: Screen,
    fleet: Fleet,
    watch: Watch,
    killed: Option<Killed>,
}

/// What the workers have told so far.
#[derive(Default)]
struct Watch {
    images_ended: HashSet<String>,
    mails_ended: HashSet<String>,
    kills: usize,
    /// Jobs that the killed worker held and that do not run again yet.
    orphans: HashSet<String>,
    last_news: Monotonic,
    last_look: Monotonic,
}

/// What the account is made of.
struct Ended {
    started: Started,
    report: Option<windlass::JobId>,
    problem: Option<String>,
    seconds: f64,
}

impl Show {
    async fn tell(&mut self) -> anyhow::Result<Ended> {
        self.introduce();
        for _ in 0..WORKERS {
            self.start_worker()?;
        }
        let started = self.plan.enqueue(&self.client).await?;
        self.screen.say(&format!(
            "{} jobs enqueued; {} mails will follow when their pictures are done",
            started.ids.len(),
            self.plan.follow_ups
        ));
        let problem = self.watch(started.ids.len() as u64).await?;
        let report = match &problem {
            None => Some(self.report().await?),
            Some(_) => None,
        };
        Ok(Ended { started, report, problem, seconds: self.screen.seconds() })
    }

    fn introduce(&self) {
        let (images, mails, follow_ups) = (self.plan.images.len(), self.plan.mails.len(), self.plan.follow_ups);
        let title = format!(
            "windlass demo: {} jobs, {WORKERS} worker processes, results in {}",
            self.plan.len() + 1,
            self.setup.out.path().display()
        );
        self.screen.line(&self.screen.paint.bold(&title));
        self.screen.line("");
        self.screen.say(&format!(
            "the plan: {images} pictures, {mails} mails, {follow_ups} mails that follow a picture, 1 report"
        ));
        let unused = self.setup.pictures.len().saturating_sub(images);
        if unused > 0 {
            self.screen.more(&format!("{unused} of your pictures are not used; raise --jobs to use them all"));
        }
        if std::env::var_os("SMTP_URL").is_some_and(|url| !url.is_empty()) {
            self.screen.more("SMTP_URL is set: mails go to that mail server, not into the outbox folder");
        }
    }

    fn start_worker(&mut self) -> anyhow::Result<()> {
        let place = self.fleet.start(&self.setup.out).context("starting a worker process")?;
        let worker = &self.fleet.workers[place];
        self.screen.say(&format!(
            "worker {} started: process {}, {} jobs at a time",
            worker.number, worker.pid, self.setup.concurrency
        ));
        Ok(())
    }

    /// Listens and counts until all jobs have ended. Answers what went wrong, if the demo itself cannot go on.
    async fn watch(&mut self, planned: u64) -> anyhow::Result<Option<String>> {
        let env = self.client.env().clone();
        self.watch.last_news = env.monotonic();
        loop {
            tokio::select! {
                news = self.fleet.news() => {
                    self.watch.last_news = env.monotonic();
                    match news {
                        News::Event { worker, told } => self.heard(worker, &told).await?,
                        News::Gone { worker } => self.lost(worker),
                    }
                }
                () = env.sleep(LOOK_EVERY) => {}
            }
            let now = env.monotonic();
            if now.since(self.watch.last_look) < LOOK_EVERY {
                continue;
            }
            self.watch.last_look = now;
            let census = self.client.census().await?;
            let open: u64 = census.queues.iter().map(|queue| unended(&queue.by_state)).sum();
            if open == 0 && census.enqueued >= planned {
                return Ok(None);
            }
            if self.fleet.alive().is_empty() {
                return Ok(Some("no worker is left; see the logs folder".into()));
            }
            if now.since(self.watch.last_news) > STALLED {
                return Ok(Some(format!("nothing has happened for {} s", STALLED.as_secs())));
            }
        }
    }

    async fn heard(&mut self, number: usize, told: &Told) -> anyhow::Result<()> {
        self.fleet.by_number(number).note(told);
        if told.is_end() {
            let image = told.kind == <super::image::ProcessImage as windlass::Job>::KIND;
            let mail = told.kind == <SendEmail as windlass::Job>::KIND;
            if image && self.watch.images_ended.insert(told.id.clone())
                || mail && self.watch.mails_ended.insert(told.id.clone())
            {
                self.screen.progress(self.watch.images_ended.len(), self.watch.mails_ended.len());
            }
        }
        // What the killed worker had said before may be read after it.
        let elsewhere = told.is(EventKind::Started) && !self.fleet.by_number(number).killed;
        if elsewhere && self.watch.orphans.remove(&told.id) && self.watch.orphans.is_empty() {
            self.all_rescued();
        }
        let ended = self.watch.images_ended.len() + self.watch.mails_ended.len();
        let busy = self.fleet.by_number(number).running.len();
        let enough = busy >= 2.min(self.setup.concurrency as usize).min(self.plan.len());
        if self.killed.is_none() && self.watch.kills < KILLS && enough && ended >= self.plan.len() / 8 {
            self.kill(number - 1).await?;
        }
        Ok(())
    }

    /// Kills the worker and looks into the store for what it held.
    async fn kill(&mut self, place: usize) -> anyhow::Result<()> {
        self.watch.kills += 1;
        self.fleet.kill(place).await.context("killing a worker")?;
        let at = self.client.env().monotonic();
        let worker = &self.fleet.workers[place];
        let server = worker.server.clone().unwrap_or_default();
        let running = all(&self.client, &JobFilter::default().state(JobState::Running)).await?;
        let held = running.iter().filter(|job| job.server.is_some_and(|id| id.to_string() == server));
        self.watch.orphans = held.map(|job| job.id().to_string()).collect();
        let held = self.watch.orphans.len();
        let text =
            format!("worker {} (process {}) was killed with SIGKILL; it held {held} jobs", worker.number, worker.pid);
        self.screen.say(&self.screen.paint.warn(&text));
        if held > 0 {
            self.screen.more(&format!(
                "their leases end within {} s (the default is 10 s); then another worker takes them",
                LEASE.as_secs()
            ));
            let wall = self.client.env().wall();
            self.killed = Some(Killed { number: worker.number, pid: worker.pid, at, wall, held, back_after_ms: None });
        }
        self.start_worker()
    }

    fn all_rescued(&mut self) {
        let Some(killed) = &mut self.killed else { return };
        let after = self.client.env().monotonic().since(killed.at).as_millis() as u64;
        killed.back_after_ms = Some(after);
        let text = format!(
            "all {} jobs of worker {} run again, {:.1} s after it was killed",
            killed.held,
            killed.number,
            after as f64 / 1000.0
        );
        self.screen.say(&self.screen.paint.good(&text));
    }

    fn lost(&mut self, number: usize) {
        let status = self.fleet.status(number);
        let worker = self.fleet.by_number(number);
        worker.gone = true;
        worker.running.clear();
        if !worker.killed {
            let how = status.map_or_else(String::new, |status| format!(" ({status})"));
            self.screen.say(
                &self.screen.paint.bad(&format!("worker {number} ended by itself{how}; see logs/worker-{number}.log")),
            );
        }
    }

    async fn report(&mut self) -> anyhow::Result<windlass::JobId> {
        self.screen.say("every job has ended; the last one makes the report");
        let report = GenerateReport::about(&self.fleet.workers, self.killed.as_ref());
        let id = self.client.enqueue(report).await?.id().clone();
        let env = self.client.env().clone();
        tokio::select! {
            waited = self.client.wait(&id) => drop(waited?),
            () = env.sleep(STALLED) => {}
        }
        Ok(id)
    }

    fn interrupted(&self) -> anyhow::Error {
        let ended = self.watch.images_ended.len() + self.watch.mails_ended.len();
        let message =
            format!("interrupted; {ended} of {} jobs had ended, and the workers are told to end", self.plan.len() + 1);
        Failure::new(Exit::Failed, "interrupted", message)
            .help("run it again: it starts anew in the same folder")
            .into()
    }

    async fn account(&self, ended: Ended) -> anyhow::Result<Summary> {
        self.setup.out.sweep()?;
        let jobs = all(&self.client, &JobFilter::default()).await?;
        let stats = self.client.stats(None, Some(windlass::store::Dimension::Kind)).await?;
        let expected = account::Expected {
            started: &ended.started,
            report: ended.report.as_ref(),
            own_pictures: self.setup.own_pictures,
            out: self.setup.out.path(),
        };
        let mut missing = account::missing(&jobs, &stats, &expected);
        missing.extend(ended.problem);
        let facts = Facts {
            missing,
            files: self.setup.out.results()?,
            killed: self.killed.clone(),
            dir: self.setup.out.path().to_owned(),
            store: shown(&self.setup.url),
            seconds: ended.seconds,
            own_pictures: self.setup.own_pictures,
        };
        Ok(Summary::new(&jobs, &stats, &ended.started, facts))
    }
}

fn unended(by_state: &[u64; 9]) -> u64 {
    JobState::ALL.iter().filter(|state| !state.is_terminal()).map(|state| by_state[state.code() as usize]).sum()
}

/// All jobs that pass the filter, page by page.
pub(super) async fn all(client: &Client, filter: &JobFilter) -> Result<Vec<JobRecord>, windlass::Error> {
    let (mut jobs, mut after) = (Vec::new(), None);
    loop {
        let page = client.list(filter, after, 1000).await?;
        jobs.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(jobs),
        }
    }
}
