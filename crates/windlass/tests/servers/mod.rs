//! Servers for tests; `postgres.rs` has those of Postgres, `pgbouncer.rs` a pooler before one. Here a Redis server: the one
//! that `TEST_REDIS_URL` names, or one of our own on a free port of this host, which ends with the test program. Each store
//! gets a prefix of its own, so that tests do not meet.
#![allow(dead_code, reason = "no test program needs all of it")]

pub(crate) mod pgbouncer;
pub(crate) mod postgres;

use std::{
    io::{Read, Write},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// The URL of a place that nobody else uses.
pub(crate) fn redis_url() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let server = server();
    let joint = if server.contains('?') { '&' } else { '?' };
    format!("{server}{joint}prefix=test-{}-{number}", std::process::id())
}

/// The URL of an empty database of our own server, with Asynq's own prefix.
pub(crate) fn database_url() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let own = OWN.get_or_init(start);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(number < 256, "the server has 256 databases");
    format!("{}{number}", own.trim_end_matches('0'))
}

static OWN: OnceLock<String> = OnceLock::new();

fn server() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| std::env::var("TEST_REDIS_URL").unwrap_or_else(|_| OWN.get_or_init(start).clone()))
}

/// Starts a server that goes when this program does.
fn start() -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start).url(0)
}

/// A server of a test's own. It goes when its owner or this program does, however that ends: a shell holds it and waits
/// for our pipe to close.
pub(crate) struct Server {
    shell: Child,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with("--save '' --appendonly no")
    }

    /// With these arguments of `redis-server` beside the port.
    pub(crate) fn start_with(arguments: &str) -> Self {
        for _ in 0..20 {
            if let Some(server) = Self::try_start(free_port(), arguments) {
                server.loaded();
                return server;
            }
        }
        panic!("no redis-server starts; install it (`make setup`) or set TEST_REDIS_URL");
    }

    /// Waits until it has read what it keeps on disk: up to five seconds.
    #[allow(clippy::disallowed_methods, reason = "the server is another process; there is nothing else to wait for")]
    fn loaded(&self) {
        // In bare words: not every program of tests has a client.
        let answered = || {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()?;
            stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).ok()?;
            stream.write_all(b"PING\r\n").ok()?;
            let mut answer = [0; 64];
            let read = stream.read(&mut answer).ok()?;
            answer[..read].starts_with(b"+PONG").then_some(())
        };
        for _ in 0..500 {
            if answered().is_some() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// On TLS alone, with this certificate and its key.
    pub(crate) fn start_tls(cert: &str, key: &str) -> Self {
        let files = format!("--tls-cert-file {cert} --tls-key-file {key} --tls-ca-cert-file {cert}");
        for _ in 0..20 {
            let port = free_port();
            // The later word counts: no plain port.
            let arguments = format!("--port 0 --tls-port {port} --tls-auth-clients no {files} --save ''");
            if let Some(server) = Self::try_start(port, &arguments) {
                return server;
            }
        }
        panic!("no redis-server with TLS starts");
    }

    /// On a port that may be another's by now.
    pub(crate) fn try_start(port: u16, arguments: &str) -> Option<Self> {
        let script = format!(
            "redis-server --port {port} --bind 127.0.0.1 --daemonize no --databases 256 --loglevel warning {arguments} \
             >/dev/null 2>&1 & server=$!; read how; kill $how $server; wait $server"
        );
        let shell = Command::new("sh").arg("-c").arg(script).stdin(Stdio::piped()).spawn().expect("a shell");
        let server = Self { shell, port };
        answers(port).then_some(server)
    }

    /// Ends it with no chance to write or to say anything.
    pub(crate) fn kill(&mut self) {
        let mut shell = self.shell.stdin.take().expect("it still runs");
        shell.write_all(b"-9\n").expect("the shell listens");
        let _ = self.shell.wait();
    }

    pub(crate) fn url(&self, database: u32) -> String {
        format!("redis://127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// Waits until the port takes connections: up to five seconds.
#[allow(clippy::disallowed_methods, reason = "the server is another process; there is nothing else to wait for")]
fn answers(port: u16) -> bool {
    for _ in 0..500 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    false
}
