//! A Postgres server for tests: the one that `TEST_POSTGRES_URL` names, or one of our own on a free port of this host,
//! which ends with the test program. Each store gets a schema of its own, so that tests do not meet.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::free_port;

/// The URL of a place that nobody else uses.
pub(crate) fn url() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let server = server();
    let joint = if server.contains('?') { '&' } else { '?' };
    format!("{server}{joint}schema=test_{}_{number}", std::process::id())
}

fn server() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| std::env::var("TEST_POSTGRES_URL").unwrap_or_else(|_| own().url()))
}

fn own() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

/// A server of a test's own. It goes when its owner or this program does, however that ends: a shell holds it and waits
/// for our pipe to close. Its files go with it.
pub(crate) struct Server {
    shell: Child,
    pub(crate) port: u16,
}

/// Makes the files and runs the server on them, as a user without rights: it refuses to run as root.
const SCRIPT: &str = r#"
dir=$(mktemp -d) || exit 1
as=
if [ "$(id -u)" = 0 ]; then
    user=postgres; id $user >/dev/null 2>&1 || user=nobody
    chown $user "$dir"
    as="setpriv --reuid=$user --regid=$(id -g $user) --clear-groups"
fi
if [ -n "$CERT" ]; then
    cp "$CERT" "$dir/cert.pem"; cp "$KEY" "$dir/key.pem"; chmod 600 "$dir/key.pem"
    [ -z "$as" ] || chown $user "$dir/cert.pem" "$dir/key.pem"
    ARGUMENTS="$ARGUMENTS -c ssl=on -c ssl_cert_file=$dir/cert.pem -c ssl_key_file=$dir/key.pem"
fi
cd "$dir"
$as "$BIN/initdb" -D "$dir/data" -U windlass --auth=trust -E UTF8 --locale=C --no-sync >"$dir/initdb" 2>&1 ||
    { cat "$dir/initdb" >&2; rm -rf "$dir"; exit 1; }
$as "$BIN/postgres" -D "$dir/data" -p "$PORT" -h 127.0.0.1 -k '' -c fsync=off -c full_page_writes=off \
    -c max_connections=300 -c shared_buffers=64MB -c log_min_messages=log -c log_checkpoints=off $ARGUMENTS \
    >&2 & server=$!
read how
kill ${how:--QUIT} $server
wait $server
rm -rf "$dir"
"#;

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// With these arguments of `postgres` beside the port.
    pub(crate) fn start_with(arguments: &str) -> Self {
        Self::start_on(arguments, "", "")
    }

    /// That speaks TLS, too, with this certificate and its key.
    pub(crate) fn start_tls(cert: &str, key: &str) -> Self {
        Self::start_on("", cert, key)
    }

    fn start_on(arguments: &str, cert: &str, key: &str) -> Self {
        let bin = bin().expect("no PostgreSQL server is installed; install it (`make setup`) or set TEST_POSTGRES_URL");
        for _ in 0..5 {
            let port = free_port();
            let mut shell = Command::new("sh")
                .args(["-c", SCRIPT])
                .env("BIN", &bin)
                .env("PORT", port.to_string())
                .env("ARGUMENTS", arguments)
                .env("CERT", cert)
                .env("KEY", key)
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("a shell");
            let mut said = BufReader::new(shell.stderr.take().expect("its pipe")).lines();
            let ready = said.by_ref().map_while(Result::ok).any(|line| line.contains("ready to accept connections"));
            let server = Self { shell, port };
            if ready {
                // Whatever it says later must not fill the pipe.
                std::thread::spawn(move || said.for_each(drop));
                return server;
            }
        }
        panic!("no PostgreSQL server starts");
    }

    /// Ends it with no chance to write or to say anything.
    pub(crate) fn kill(&mut self) {
        let mut shell = self.shell.stdin.take().expect("it still runs");
        shell.write_all(b"-QUIT\n").expect("the shell listens");
        drop(shell);
        let _ = self.shell.wait();
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://windlass@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// A program that came with the server, such as `psql`: beside it, wherever a link leads, or in the path.
pub(crate) fn program(name: &str) -> Command {
    let server = bin().and_then(|bin| bin.join("postgres").canonicalize().ok());
    let beside = server.map(|server| server.with_file_name(name)).filter(|place| place.exists());
    Command::new(beside.unwrap_or_else(|| name.into()))
}

/// Where the server's programs are: in the path, or where Debian puts the newest.
fn bin() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|found| found.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    places.sort();
    places.extend(std::env::split_paths(&path));
    places.into_iter().rev().find(|place| place.join("initdb").exists() && place.join("postgres").exists())
}
