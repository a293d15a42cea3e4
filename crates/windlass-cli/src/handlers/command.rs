//! Runs a job by a command: payload on stdin, facts in the environment, outcome from exit code, stdout and stderr.
//! The command leads a process group of its own, which ends with the run.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rustix::io::Errno;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
};
use tracing::warn;
use windlass::{DEFAULTS, Env, JobContext, JobError, Outcome, ResultExt, StopCause};

use super::{
    group::{Group, Groups},
    tail::Tail,
};

const BURY: i32 = 65;
const SNOOZE: i32 = 75;
/// How long a snooze is when the command does not say.
const SNOOZE_TIME: Duration = Duration::from_secs(10);
const MAX_RESULT: usize = 64 * 1024;
const MAX_ERROR: usize = 4 * 1024;
const ERROR_LINES: usize = 10;
/// How long what a command left behind may hold its output open after it has ended.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// Runs the command for one job.
pub(crate) async fn run(words: Arc<[String]>, groups: Groups, ctx: JobContext) -> Outcome {
    match attempt(&words, &groups, &ctx).await {
        Ok(result) => Outcome::Done(result),
        Err(error) => Outcome::Failed(error),
    }
}

async fn attempt(words: &[String], groups: &Groups, ctx: &JobContext) -> windlass::Result<Option<Bytes>> {
    let mut process = Process::start(words, groups, ctx)?;
    let status = tokio::select! {
        biased;
        status = process.end() => status?,
        cause = ctx.cancelled() => {
            process.stop(&cause).await;
            return Err(format!("`{}` was told to stop ({cause:?})", words[0]).into());
        }
    };
    process.outcome(status, ctx)
}

/// A host that has no file descriptor, process or memory left is no fault of the job: it is put off.
fn cannot_start(program: &str, error: &io::Error) -> JobError {
    let problem = format!("the command `{program}` cannot be started: {error}");
    let wants = [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM].map(|errno| Some(errno.raw_os_error()));
    if !wants.contains(&error.raw_os_error()) {
        return problem.into();
    }
    warn!(
        problem,
        "the host has no room for another command; the job is put off. Raise `ulimit -n` and `ulimit -u`, or \
        lower the concurrency"
    );
    Err::<(), _>(problem).or_snooze(SNOOZE_TIME).expect_err("it is an error").into()
}

/// A command that runs.
struct Process {
    child: Child,
    group: Group,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    stderr: ChildStderr,
    payload: Bytes,
    written: Tail,
    complaints: Tail,
    env: Env,
}

impl Process {
    fn start(words: &[String], groups: &Groups, ctx: &JobContext) -> windlass::Result<Self> {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).envs(facts(ctx)).process_group(0).kill_on_drop(true);
        // What the service manager listens to is the worker, not what it starts (sd_notify(3)).
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| cannot_start(&words[0], &error))?;
        let group = child.id().and_then(|id| groups.adopt(id)).ok_or("the command has no process id")?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        Ok(Self {
            group,
            stdin: child.stdin.take(),
            stdout: stdout.ok_or("the command has no stdout")?,
            stderr: stderr.ok_or("the command has no stderr")?,
            child,
            payload: ctx.payload().clone(),
            written: Tail::new(MAX_RESULT),
            complaints: Tail::new(MAX_ERROR),
            env: ctx.client().env().clone(),
        })
    }

    /// Talks to the command until it has ended. May be dropped and called again.
    async fn end(&mut self) -> io::Result<ExitStatus> {
        let stdin = self.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A command need not read its payload.
                let _ = stdin.write_all(&self.payload).await;
            }
        };
        let talk = async {
            tokio::join!(feed, self.written.read(&mut self.stdout), self.complaints.read(&mut self.stderr));
        };
        tokio::pin!(talk);
        let status = tokio::select! {
            biased;
            () = &mut talk => self.child.wait().await?,
            status = self.child.wait() => {
                tokio::select! {
                    biased;
                    () = &mut talk => {}
                    // Processes that it left behind hold its output.
                    () = self.env.sleep(LEFTOVERS) => {}
                }
                status?
            }
        };
        // What it left behind ends with the run.
        self.group.kill();
        self.group.over();
        Ok(status)
    }

    /// Ends the whole group: asked first, killed when the grace is over.
    async fn stop(&mut self, cause: &StopCause) {
        let grace = if *cause == StopCause::Shutdown { DEFAULTS.grace / 4 } else { DEFAULTS.grace };
        let env = self.env.clone();
        self.group.terminate();
        tokio::select! {
            biased;
            _ = self.end() => {}
            () = env.sleep(grace) => {}
        }
        self.group.kill();
        let _ = self.child.wait().await;
        self.group.over();
    }

    /// What the exit code means.
    fn outcome(&self, status: ExitStatus, ctx: &JobContext) -> windlass::Result<Option<Bytes>> {
        match status.code() {
            Some(0) => Ok(self.result(ctx)),
            Some(BURY) => Ok(Err(self.complaint(&format!("exit code {BURY}"))).or_bury()?),
            Some(SNOOZE) => Ok(Err("the command asked for a snooze").or_snooze(self.snooze_time(ctx))?),
            Some(code) => Err(self.complaint(&format!("exit code {code}")).into()),
            None => {
                let signal = status.signal().unwrap_or_default();
                Err::<_, JobError>(self.complaint(&format!("ended by signal {signal}{}", name(signal))).into())
            }
        }
    }

    fn result(&self, ctx: &JobContext) -> Option<Bytes> {
        self.written.last_line().map(|line| line.map(Bytes::copy_from_slice)).unwrap_or_else(|too_long| {
            warn!(job.id = %ctx.id(), job.kind = ctx.kind(), limit = too_long.0,
                "the last line of the command's output is too long for a result; it is not kept");
            None
        })
    }

    fn snooze_time(&self, ctx: &JobContext) -> Duration {
        let line = self.written.last_line().ok().flatten().map(String::from_utf8_lossy);
        let Some(asked) = line.as_deref().and_then(|line| line.trim().strip_prefix("retry-after ")) else {
            return SNOOZE_TIME;
        };
        crate::units::duration(asked.trim()).unwrap_or_else(|_| {
            warn!(job.id = %ctx.id(), job.kind = ctx.kind(), "the command's `retry-after` is no duration, so it is put \
                off by 10s; write a whole number and a unit: 500ms, 10s, 5m, 1h or 2d");
            SNOOZE_TIME
        })
    }

    fn complaint(&self, end: &str) -> String {
        let lines = self.complaints.last_lines(ERROR_LINES);
        if lines.is_empty() { end.to_owned() } else { format!("{end}: {lines}") }
    }
}

/// What the command finds in its environment. What a job does not have is empty, for scripts under `set -u`.
fn facts(ctx: &JobContext) -> [(&'static str, String); 8] {
    [
        ("WINDLASS_JOB_ID", ctx.id().to_string()),
        ("WINDLASS_KIND", ctx.kind().to_owned()),
        ("WINDLASS_QUEUE", ctx.queue().to_owned()),
        ("WINDLASS_TENANT", ctx.tenant().unwrap_or_default().to_owned()),
        ("WINDLASS_ATTEMPT", ctx.attempt().to_string()),
        ("WINDLASS_MAX_RETRY", ctx.max_retry().to_string()),
        ("WINDLASS_FENCE", ctx.fence().to_string()),
        ("WINDLASS_DEADLINE", ctx.deadline().map(|at| at.to_string()).unwrap_or_default()),
    ]
}

/// The signals that people meet.
fn name(signal: i32) -> &'static str {
    match signal {
        1 => " (SIGHUP)",
        2 => " (SIGINT)",
        6 => " (SIGABRT)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        13 => " (SIGPIPE)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_room_burns_no_attempt_and_a_missing_program_does() {
        let says = |errno: Errno| format!("{:?}", cannot_start("a", &io::Error::from(errno)));
        assert!(says(Errno::MFILE).contains("Snooze") && says(Errno::AGAIN).contains("Snooze"));
        assert!(!says(Errno::NOENT).contains("Snooze"), "{}", says(Errno::NOENT));
    }
}
