//! A Postgres server for tests: the one that `TEST_POSTGRES_URL` names, or one of our own on a free port of this host,
//! which ends with the test program. Each store gets a schema of its own, so that tests do not meet.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
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

/// The server that tests of this program share.
pub(crate) fn own() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

/// A server of a test's own. It goes when its owner or this program does, however that ends: a shell holds it and waits
/// for our pipe to close. Its files go with it.
pub(crate) struct Server {
    shell: Child,
    pub(crate) port: u16,
    /// Each time that it says that it is ready.
    ready: Mutex<mpsc::Receiver<()>>,
}

/// Makes the files, of its own or as a copy that follows the server on the port `$FOLLOWS`, and runs the server on them as
/// a user without rights: it refuses to run as root. Then it does what it is told: `start`, or a signal for the server.
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
if [ -n "$FOLLOWS" ]; then
    $as "$BIN/pg_basebackup" -D "$dir/data" -h 127.0.0.1 -p "$FOLLOWS" -U windlass -R -X stream -c fast >"$dir/initdb" 2>&1
else
    $as "$BIN/initdb" -D "$dir/data" -U windlass --auth=trust -E UTF8 --locale=C --no-sync >"$dir/initdb" 2>&1
fi || { cat "$dir/initdb" >&2; rm -rf "$dir"; exit 1; }
run() {
    $as "$BIN/postgres" -D "$dir/data" -p "$PORT" -h 127.0.0.1 -k '' -c fsync=off -c full_page_writes=off \
        -c max_connections=300 -c shared_buffers=64MB -c log_min_messages=log -c log_checkpoints=off $ARGUMENTS \
        >&2 & server=$!
}
end() { kill "$1" $server; wait $server; server=; }
run
while read how; do
    case "$how" in
    start) run ;;
    *) end "$how" ;;
    esac
done
[ -z "$server" ] || end -QUIT
rm -rf "$dir"
"#;

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// With these arguments of `postgres` beside the port.
    pub(crate) fn start_with(arguments: &str) -> Self {
        Self::start_on(arguments, "", "", "")
    }

    /// A standby of this server, which reads what that one writes.
    pub(crate) fn follow(&self) -> Self {
        Self::start_on("", "", "", &self.port.to_string())
    }

    /// That speaks TLS, too, with this certificate and its key.
    pub(crate) fn start_tls(cert: &str, key: &str) -> Self {
        Self::start_on("", cert, key, "")
    }

    fn start_on(arguments: &str, cert: &str, key: &str, follows: &str) -> Self {
        let bin = bin().expect("no PostgreSQL server is installed; install it (`make setup`) or set TEST_POSTGRES_URL");
        let mut words = Vec::new();
        for _ in 0..5 {
            let port = free_port();
            let mut shell = Command::new("sh")
                .args(["-c", SCRIPT])
                .env("BIN", &bin)
                .env("PORT", port.to_string())
                .env("ARGUMENTS", arguments)
                .env("CERT", cert)
                .env("KEY", key)
                .env("FOLLOWS", follows)
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("a shell");
            let mut said = BufReader::new(shell.stderr.take().expect("its pipe")).lines().map_while(Result::ok);
            let is_ready = |line: &String| line.contains("ready to accept");
            words = said.by_ref().take_while(|line| !is_ready(line)).collect();
            let (tell, ready) = mpsc::channel();
            let server = Self { shell, port, ready: Mutex::new(ready) };
            // The line that says so is no word; whoever has ended has said all.
            if !server.has_ended() {
                // To its end: whatever it says later must not fill the pipe.
                std::thread::spawn(move || {
                    said.filter(is_ready).for_each(|_| {
                        // Who does not wait for it does not hear it.
                        let _ = tell.send(());
                    });
                });
                return server;
            }
        }
        panic!("no PostgreSQL server starts: {}", words.join("\n"));
    }

    /// Whether the shell is gone: the server did not come up.
    fn has_ended(&self) -> bool {
        std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err()
    }

    /// Waits until it takes connections; false: it ended.
    fn comes_up(&self) -> bool {
        self.ready.lock().unwrap().recv_timeout(Duration::from_secs(60)).is_ok()
    }

    fn tell(&mut self, what: &str) {
        let shell = self.shell.stdin.as_mut().expect("it still runs");
        shell.write_all(format!("{what}\n").as_bytes()).expect("the shell listens");
    }

    /// Ends it with no chance to write or to say anything.
    pub(crate) fn kill(&mut self) {
        self.tell("-QUIT");
        self.answers_no_more();
    }

    /// Ends it in order: it ends its connections and writes what there is.
    pub(crate) fn stop(&mut self) {
        self.tell("-INT");
        self.answers_no_more();
    }

    /// Starts it again on the same port and files.
    pub(crate) fn start_again(&mut self) {
        self.tell("start");
        assert!(self.comes_up(), "it starts again");
    }

    #[allow(clippy::disallowed_methods, reason = "the server is another process; there is nothing else to wait for")]
    fn answers_no_more(&self) {
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
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
    let programs = ["initdb", "postgres", "pg_basebackup"];
    places.into_iter().rev().find(|place| programs.iter().all(|program| place.join(program).exists()))
}
