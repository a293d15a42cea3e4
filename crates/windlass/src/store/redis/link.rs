//! The connections: one for work, shared by all calls, and one that hears what is published. Both live on a loop of
//! their own, so that handlers that hog the runtime delay no renewal.
//!
//! A connection that broke or does not answer in time is given up, and the next call makes another one, with a pause
//! that grows while the server is away. What was asked over the broken one may have happened: the calls carry their
//! own identity, so they can be repeated.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, Value, aio::MultiplexedConnection};
use tokio::sync::{mpsc, oneshot};

use super::{
    address::Address,
    hints::{self, Hints, Listener},
    scripts::Script,
};
use crate::{
    env::Env,
    job::Monotonic,
    store::{Result, StoreError},
};

/// The longest pause between two attempts to connect.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(2);

type Answer = oneshot::Sender<Result<Open>>;

/// A connection and the start of Redis that it leads to.
#[derive(Clone)]
pub(super) struct Open {
    connection: MultiplexedConnection,
    pub(super) start: Arc<str>,
    number: u64,
}

/// The way to the server.
pub(super) struct Link {
    current: Mutex<Option<Open>>,
    requests: mpsc::UnboundedSender<Answer>,
    address: Address,
}

impl Link {
    /// A link that is not connected yet, and its loop.
    pub(super) fn start(address: Address, env: &Env, hints: Hints) -> Result<Self> {
        let client = address.client().map_err(|error| unavailable(&address, &error))?;
        let (requests, asked) = mpsc::unbounded_channel();
        let connector = Connector {
            client,
            address: address.clone(),
            env: env.clone(),
            open: None,
            failures: 0,
            not_before: Monotonic::default(),
        };
        let hearing = hints::client(&address).map_err(|error| unavailable(&address, &error))?;
        let listener = Listener { client: hearing, address: address.clone(), env: env.clone(), hints };
        env.spawn_apart("redis", async move {
            tokio::select! {
                () = connector.run(asked) => {}
                () = listener.run() => {}
            }
        });
        Ok(Self { current: Mutex::new(None), requests, address })
    }

    /// The connection that there is, or a new one.
    pub(super) async fn open(&self) -> Result<Open> {
        if let Some(open) = self.current.lock().clone() {
            return Ok(open);
        }
        let (answer, answered) = oneshot::channel();
        let gone = || StoreError::Unavailable("the connection's loop has ended".into());
        self.requests.send(answer).map_err(|_| gone())?;
        let open = answered.await.map_err(|_| gone())??;
        *self.current.lock() = Some(open.clone());
        Ok(open)
    }

    /// Runs a script on one key. A server that does not know it yet, as after a restart, is told its code.
    pub(super) async fn eval(&self, script: &Script, key: &str, args: &[Vec<u8>]) -> Result<Value> {
        let mut by_hash = redis::cmd("EVALSHA");
        by_hash.arg(&script.hash).arg(1).arg(key).arg(args);
        match self.send(&by_hash).await {
            Err(Failed::Unknown) => {
                let mut by_code = redis::cmd("EVAL");
                by_code.arg(&script.code).arg(1).arg(key).arg(args);
                self.send(&by_code).await.map_err(|failed| failed.into_error())
            }
            other => other.map_err(|failed| failed.into_error()),
        }
    }

    /// Runs a script on several keys, each with arguments of its own, in one round trip. Each has its own answer.
    pub(super) async fn eval_each(
        &self,
        script: &Script,
        calls: &[(String, Vec<Vec<u8>>)],
    ) -> Result<Vec<Result<Value>>> {
        let by_hash = calls.iter().map(|(key, args)| {
            let mut by_hash = redis::cmd("EVALSHA");
            by_hash.arg(&script.hash).arg(1).arg(key).arg(args);
            by_hash
        });
        let mut answers = Vec::with_capacity(calls.len());
        for (answer, (key, args)) in std::iter::zip(self.send_all(by_hash).await?, calls) {
            answers.push(match answer {
                Err(Failed::Unknown) => self.eval(script, key, args).await,
                other => other.map_err(|failed| failed.into_error()),
            });
        }
        Ok(answers)
    }

    /// Runs plain commands in one round trip. Each has its own answer.
    pub(super) async fn run_all(&self, commands: impl Iterator<Item = redis::Cmd>) -> Result<Vec<Result<Value>>> {
        let answers = self.send_all(commands).await?;
        Ok(answers.into_iter().map(|answer| answer.map_err(|failed| failed.into_error())).collect())
    }

    /// Runs a plain command.
    pub(super) async fn run(&self, command: &redis::Cmd) -> Result<Value> {
        self.send(command).await.map_err(|failed| failed.into_error())
    }

    async fn send(&self, command: &redis::Cmd) -> Result<Value, Failed> {
        let mut open = self.open().await.map_err(Failed::Store)?;
        let sent = open.connection.send_packed_command(command).await;
        sent.and_then(|value| value.extract_error()).map_err(|error| self.failed(&open, &error))
    }

    async fn send_all(&self, commands: impl Iterator<Item = redis::Cmd>) -> Result<Vec<Result<Value, Failed>>> {
        let mut pipe = redis::pipe();
        for command in commands {
            pipe.add_command(command);
        }
        if pipe.is_empty() {
            return Ok(Vec::new());
        }
        let mut open = self.open().await?;
        let sent: Result<Vec<Value>, _> = open.connection.send_packed_commands(&pipe, 0, pipe.len()).await;
        let answers = sent.map_err(|error| self.failed(&open, &error).into_error())?;
        let read = |answer: Value| answer.extract_error().map_err(|error| self.failed(&open, &error));
        Ok(answers.into_iter().map(read).collect())
    }

    /// What an error means; a connection that broke is given up.
    fn failed(&self, open: &Open, error: &RedisError) -> Failed {
        if error.code() == Some("NOSCRIPT") {
            return Failed::Unknown;
        }
        if error.is_io_error() || error.is_timeout() || error.is_connection_dropped() || moved(error) {
            let mut current = self.current.lock();
            // Only this one: another call may have made a new one meanwhile.
            current.take_if(|there| there.number == open.number);
        }
        Failed::Store(store_error(&self.address, error))
    }
}

enum Failed {
    /// The server does not know the script.
    Unknown,
    Store(StoreError),
}

impl Failed {
    fn into_error(self) -> StoreError {
        match self {
            Failed::Unknown => StoreError::Corrupt("the server knows no scripts; is it a Redis or a Valkey?".into()),
            Failed::Store(error) => error,
        }
    }
}

/// Makes connections, one at a time, not too often.
struct Connector {
    client: Client,
    address: Address,
    env: Env,
    open: Option<Open>,
    failures: u32,
    not_before: Monotonic,
}

impl Connector {
    async fn run(mut self, mut asked: mpsc::UnboundedReceiver<Answer>) {
        while let Some(answer) = asked.recv().await {
            let mut waiting = vec![answer];
            while let Ok(another) = asked.try_recv() {
                waiting.push(another);
            }
            let open = self.connect().await;
            for answer in waiting {
                // Whoever gave up waiting needs no answer.
                let _ = answer.send(open.clone());
            }
        }
    }

    async fn connect(&mut self) -> Result<Open> {
        let now = self.env.monotonic();
        if now < self.not_before {
            self.env.sleep(self.not_before.since(now)).await;
        }
        let connected = self.try_connect().await;
        self.failures = if connected.is_ok() { 0 } else { self.failures.saturating_add(1) };
        let pause = (Duration::from_millis(25) * (1 << self.failures.min(8))).min(LONGEST_PAUSE);
        let pause = if connected.is_ok() { Duration::from_millis(25) } else { pause };
        self.not_before = self.env.monotonic().after(self.env.jittered(pause));
        let (connection, start) = connected.map_err(|error| refusal(&self.address, &error))?;
        let number = self.open.as_ref().map_or(0, |open| open.number) + 1;
        let open = Open { connection, start, number };
        self.open = Some(open.clone());
        Ok(open)
    }

    async fn try_connect(&self) -> Result<(MultiplexedConnection, Arc<str>), RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.address.timeout.min(Duration::from_secs(2))))
            .set_response_timeout(Some(self.address.timeout));
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
        let start = field(&info, "run_id").unwrap_or("unknown").into();
        Ok((connection, start))
    }
}

/// A field of `INFO`.
pub(super) fn field<'i>(info: &'i str, name: &str) -> Option<&'i str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Whether the server has become another's copy, or is about to end: another connection may lead to its successor.
fn moved(error: &RedisError) -> bool {
    matches!(error.code(), Some("READONLY" | "MASTERDOWN" | "LOADING"))
}

fn unavailable(address: &Address, error: &RedisError) -> StoreError {
    StoreError::Unavailable(format!("{}: {error}", address.shown))
}

/// Why a server that answers lets nobody in: what the URL asks of it, it does not have or allow.
fn refusal(address: &Address, error: &RedisError) -> StoreError {
    match error.kind() {
        ErrorKind::Server(redis::ServerErrorKind::ResponseError) if !is_full(error) => StoreError::Invalid(format!(
            "{}: {error}; check the database's number in the URL, and what its user may do",
            address.shown
        )),
        _ => store_error(address, error),
    }
}

/// Whether its memory is full. An old one says so in the words of an error in a script.
fn is_full(error: &RedisError) -> bool {
    error.code() == Some("OOM") || error.to_string().contains("OOM command not allowed")
}

/// What a user of ours must be let do (`docs/asynq.md` of the guide).
pub(super) const RIGHTS: &str = "~asynq:* &asynq:* +@all -@admin -@dangerous +info";

/// Whether the user may not do this. Within a script some versions say so in words alone.
fn is_refused(error: &RedisError) -> bool {
    let words = error.to_string();
    let in_script = ["The user executing the script can't", "ACL failure in script"];
    error.code() == Some("NOPERM") || in_script.iter().any(|refusal| words.contains(refusal))
}

fn store_error(address: &Address, error: &RedisError) -> StoreError {
    let shown = &address.shown;
    if is_refused(error) {
        return StoreError::Invalid(format!(
            "{shown}: {error}; the ACL of this user does not let it do this: it needs {RIGHTS}"
        ));
    }
    if matches!(error.code(), Some("NOAUTH" | "WRONGPASS")) {
        return StoreError::Invalid(format!(
            "{shown}: {error}; give a user who may do this, and the password, in the URL"
        ));
    }
    // Asking again would find the same.
    if error.code() == Some("WRONGTYPE") {
        return StoreError::Corrupt(format!("{}: {error}; another program uses a key with this prefix", address.shown));
    }
    match error.kind() {
        _ if is_full(error) => StoreError::Unavailable(format!(
            "{}: the memory of this Redis is full (maxmemory), so it takes nothing new; jobs that are there run and make \
             room. Raise maxmemory, remove what needs no keeping (windlass prune, a shorter retention), or try again later",
            address.shown
        )),
        ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig => {
            StoreError::Invalid(format!("{}: {error}; check user and password in the URL", address.shown))
        }
        ErrorKind::Server(redis::ServerErrorKind::ResponseError) => {
            StoreError::Corrupt(format!("{}: {error}", address.shown))
        }
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
            StoreError::Corrupt(format!("{}: {error}", address.shown))
        }
        _ => unavailable(address, error),
    }
}
