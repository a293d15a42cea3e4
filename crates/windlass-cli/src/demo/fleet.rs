//! The worker processes: this binary again, one child each. The parent reads what they tell, kills one of them, and
//! ends the others by closing their standard input. It signals only processes that it started and still waits for.

use std::{
    collections::HashSet,
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};
use windlass::{Env, EventKind};

use super::{events::Told, outdir::OutDir};

/// What the parent hears.
pub(super) enum News {
    Event { worker: usize, told: Told },
    Gone { worker: usize },
}

/// What every worker is started with.
#[derive(Clone, Debug)]
pub(super) struct Orders {
    pub(super) database: String,
    pub(super) concurrency: u32,
    pub(super) pace: Duration,
}

/// One worker process.
pub(super) struct Worker {
    /// 1 for the first.
    pub(super) number: usize,
    pub(super) pid: u32,
    /// The id of its server, once it has told something.
    pub(super) server: Option<String>,
    /// The jobs that it runs, as far as it has told.
    pub(super) running: HashSet<String>,
    pub(super) killed: bool,
    pub(super) gone: bool,
    child: Child,
    // Closing it tells the worker to end.
    input: Option<ChildStdin>,
}

/// All of them, the killed ones too.
pub(super) struct Fleet {
    pub(super) workers: Vec<Worker>,
    orders: Orders,
    program: PathBuf,
    tell: UnboundedSender<News>,
    news: UnboundedReceiver<News>,
}

impl Fleet {
    pub(super) fn new(orders: Orders) -> io::Result<Self> {
        let (tell, news) = unbounded_channel();
        Ok(Self { workers: Vec::new(), orders, program: std::env::current_exe()?, tell, news })
    }

    /// Starts one more worker and answers its place.
    pub(super) fn start(&mut self, out: &OutDir) -> io::Result<usize> {
        let number = self.workers.len() + 1;
        let mut command = Command::new(&self.program);
        command.args(["demo", "--role", "worker", "--dir"]).arg(out.path());
        command.env(super::DATABASE_OF_WORKERS, &self.orders.database);
        command.args(["--concurrency", &self.orders.concurrency.to_string()]);
        command.args(["--pace-ms", &self.orders.pace.as_millis().to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(out.log(number)?).kill_on_drop(true);
        // Ctrl-C goes to the parent alone, which ends its workers in order.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn()?;
        let pid = child.id().unwrap_or_default();
        if let Some(output) = child.stdout.take() {
            tokio::spawn(listen(number, output, self.tell.clone()));
        }
        let input = child.stdin.take();
        let (running, server) = (HashSet::new(), None);
        self.workers.push(Worker { number, pid, server, running, killed: false, gone: false, child, input });
        Ok(self.workers.len() - 1)
    }

    /// The next news.
    pub(super) async fn news(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => news,
            // We hold a sender ourselves, so the channel does not close.
            None => std::future::pending().await,
        }
    }

    pub(super) fn by_number(&mut self, number: usize) -> &mut Worker {
        &mut self.workers[number - 1]
    }

    /// The pids of the workers that live.
    pub(super) fn alive(&self) -> Vec<u32> {
        self.workers.iter().filter(|worker| !worker.gone && !worker.killed).map(|worker| worker.pid).collect()
    }

    /// Ends a worker with SIGKILL, as a crash or the kernel's out-of-memory killer would.
    pub(super) async fn kill(&mut self, place: usize) -> io::Result<()> {
        let worker = &mut self.workers[place];
        worker.killed = true;
        worker.child.kill().await
    }

    /// How the worker ended, if it did.
    pub(super) fn status(&mut self, number: usize) -> Option<ExitStatus> {
        self.by_number(number).child.try_wait().ok().flatten()
    }

    /// Ends all workers: they finish what they run, and those that take too long are killed.
    pub(super) async fn stop(&mut self, env: &Env) {
        self.workers.iter_mut().for_each(|worker| drop(worker.input.take()));
        for worker in &mut self.workers {
            tokio::select! {
                _ = worker.child.wait() => {}
                () = env.sleep(Duration::from_secs(10)) => {
                    let _ = worker.child.kill().await;
                }
            }
        }
    }
}

impl Worker {
    /// Notes what the worker told of itself.
    pub(super) fn note(&mut self, told: &Told) {
        self.server.get_or_insert_with(|| told.server.clone());
        if told.is(EventKind::Started) {
            self.running.insert(told.id.clone());
        } else if !told.is(EventKind::Claimed) && !told.is(EventKind::Rescued) {
            self.running.remove(&told.id);
        }
    }
}

async fn listen(worker: usize, output: ChildStdout, tell: UnboundedSender<News>) {
    let mut lines = BufReader::new(output).lines();
    // A line that is cut off is the last word of a worker that was killed.
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(told) = serde_json::from_str::<Told>(&line) {
            let _ = tell.send(News::Event { worker, told });
        }
    }
    let _ = tell.send(News::Gone { worker });
}
