//! PgBouncer before a Postgres server, on a free port of this host, pooling transactions: a connection to the server belongs
//! to a client for one transaction, so nothing that lives in a session can be relied on. It ends with the test program.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{free_port, postgres};

/// The URL of a place that nobody else uses, through a pooler that this program shares.
pub(crate) fn url() -> String {
    static SHARED: OnceLock<PgBouncer> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let pooler = SHARED.get_or_init(|| PgBouncer::before(postgres::own().port));
    // Notices need a session; and a small pooler that is shared by many tests may take its time.
    format!("{}?schema=pooled_{}_{number}&notify=off&timeout=30s", pooler.url(), std::process::id())
}

/// It goes when its owner or this program does, however that ends: a shell holds it and waits for our pipe to close.
pub(crate) struct PgBouncer {
    shell: Child,
    pub(crate) port: u16,
}

/// As a user without rights: it refuses to run as root. Old versions know no prepared statements at all, new ones may be
/// told so.
const SCRIPT: &str = r#"
PATH=$PATH:/usr/sbin
dir=$(mktemp -d) || exit 1
as=
if [ "$(id -u)" = 0 ]; then
    user=postgres; id $user >/dev/null 2>&1 || user=nobody
    as="setpriv --reuid=$user --regid=$(id -g $user) --clear-groups"
fi
echo '"windlass" ""' >"$dir/users"
cat >"$dir/ini" <<INI
[databases]
* = host=127.0.0.1 port=$TARGET
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $PORT
unix_socket_dir =
auth_type = trust
auth_file = $dir/users
pool_mode = transaction
default_pool_size = 8
max_client_conn = 2000
max_db_connections = 8
server_reset_query =
log_connections = 0
log_disconnections = 0
INI
version=$(pgbouncer --version | sed -n 's/^PgBouncer 1\.\([0-9]*\).*/\1/p')
[ "${version:-0}" -lt 21 ] || echo 'max_prepared_statements = 0' >>"$dir/ini"
chmod -R a+rX "$dir"
$as pgbouncer "$dir/ini" >&2 & pooler=$!
read how
kill $pooler
wait $pooler
rm -rf "$dir"
"#;

impl PgBouncer {
    /// Before the server on this port of this host.
    pub(crate) fn before(target: u16) -> Self {
        for _ in 0..5 {
            let port = free_port();
            let mut shell = Command::new("sh")
                .args(["-c", SCRIPT])
                .env("PORT", port.to_string())
                .env("TARGET", target.to_string())
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("a shell");
            let mut said = BufReader::new(shell.stderr.take().expect("its pipe")).lines().map_while(Result::ok);
            let up = said.any(|line| line.contains("process up"));
            let pooler = Self { shell, port };
            if up {
                // Whatever it says later must not fill the pipe.
                std::thread::spawn(move || said.for_each(drop));
                return pooler;
            }
        }
        panic!("no PgBouncer starts; install it (`make setup`)");
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://windlass@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
