//! The program as its users see it: started on a database of its own, asked over loopback, told to stop.

#[path = "../../../crates/windlass/tests/servers/mod.rs"]
mod servers;

use std::{process::Stdio, time::Duration};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
};

/// The program on a new database, and where it listens.
struct Running {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    address: String,
    db: PgConnection,
}

impl Running {
    async fn start() -> Self {
        let (place, name) =
            servers::postgres::url().split_once("?schema=").map(|(p, s)| (p.to_owned(), s.to_owned())).unwrap();
        let (server, _) = place.rsplit_once('/').unwrap();
        let url = format!("{server}/shop_{name}");
        let mut admin = PgConnection::connect(&place).await.unwrap();
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE shop_{name}"))).execute(&mut admin).await.unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_axum-postgres"))
            .env("DATABASE_URL", &url)
            .env("LISTEN", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program");
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = said.next_line().await.unwrap().expect("it says where it listens");
        let address = line.strip_prefix("listening on ").expect("it listens").to_owned();
        Self { child, said, address, db: PgConnection::connect(&url).await.unwrap() }
    }

    /// Posts an order; the status and the text of the answer.
    async fn order(&self, item: &str) -> (u16, String) {
        let body = serde_json::json!({"item": item, "mail": "ada@example.com"}).to_string();
        let request = format!(
            "POST /orders HTTP/1.1\r\nhost: shop\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect(&answer);
        (status, answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned())
    }

    async fn number(&mut self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut self.db).await.unwrap()
    }

    /// Waits until the shop has sent so many mails: up to ten seconds.
    async fn mails(&mut self, many: i64) {
        for _ in 0..500 {
            if self.number("SELECT count(*) FROM mail").await >= many {
                return;
            }
            self.number("SELECT 1::bigint FROM pg_sleep(0.02)").await;
        }
        panic!("there are {} mails", self.number("SELECT count(*) FROM mail").await);
    }

    /// Tells it to stop, and waits for what it says last.
    async fn stop(&mut self) -> String {
        let id = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        let last = self.said.next_line().await.unwrap().unwrap_or_default();
        assert!(self.child.wait().await.unwrap().success());
        last
    }
}

#[tokio::test]
async fn each_order_has_its_receipt_once_and_what_is_refused_has_none() {
    let mut shop = Running::start().await;
    for number in 1..=20 {
        let (status, id) = shop.order("tea").await;
        assert_eq!((status, id.parse()), (201, Ok(number)));
    }
    assert_eq!(shop.order("samovar").await.0, 201);
    // Refused after the job was enqueued, and before: there was one of these, and none of those.
    let (status, why) = shop.order("samovar").await;
    assert_eq!((status, &*why), (409, "there is no such item left"));
    assert_eq!(shop.order("coffee").await.0, 409);
    shop.mails(21).await;
    assert_eq!(shop.stop().await, "all is done or handed back");
    let once =
        "SELECT count(*) FROM orders JOIN mail ON order_id = id WHERE receipted_at IS NOT NULL AND address = mail";
    assert_eq!(shop.number(once).await, 21);
    for table in ["SELECT count(*) FROM orders", "SELECT count(*) FROM mail"] {
        assert_eq!(shop.number(table).await, 21, "{table}");
    }
    assert_eq!(
        shop.number("SELECT count(*) FROM windlass.jobs").await,
        0,
        "no job is left, and none was for the refused"
    );
}

#[tokio::test]
async fn a_shop_that_is_told_to_stop_answers_first_and_loses_no_receipt() {
    let mut shop = Running::start().await;
    for _ in 0..5 {
        assert_eq!(shop.order("tea").await.0, 201);
    }
    assert_eq!(shop.stop().await, "all is done or handed back");
    let orders = shop.number("SELECT count(*) FROM orders").await;
    let sent = shop.number("SELECT count(*) FROM mail").await;
    let waiting = shop.number("SELECT count(*) FROM windlass.jobs WHERE state = 'pending'").await;
    assert_eq!((orders, sent + waiting), (5, 5), "each order is receipted, or its job waits for the next start");
    assert!(tokio::time::timeout(Duration::from_secs(5), TcpStream::connect(&shop.address)).await.unwrap().is_err());
}
