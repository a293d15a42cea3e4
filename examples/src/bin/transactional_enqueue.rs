//! Enqueues in the application's own transaction: the order and its job exist both, or neither does.

use rusqlite::{Connection, TransactionBehavior};
use windlass::{Client, Job, Router, Server};

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "receipt:send", retention = "1h")]
struct SendReceipt {
    order: i64,
}

async fn send_receipt(job: SendReceipt) -> windlass::Result {
    println!("receipt for order {}", job.order);
    Ok(())
}

fn place_order(db: &mut Connection, client: &Client, paid: bool) -> anyhow::Result<()> {
    // Immediate: it takes the write lock now, instead of failing half-way when somebody else has it.
    let mut tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute("INSERT INTO orders DEFAULT VALUES", [])?;
    let order = tx.last_insert_rowid();
    client.enqueue_in(&mut tx, SendReceipt { order })?;
    anyhow::ensure!(paid, "the card was refused"); // the transaction is dropped and rolls back
    tx.commit()?;
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // One file for the application's tables and the store's (`windlass_*`).
    let client = Client::open("sqlite:app.db").await?;
    let mut db = Connection::open("app.db")?;
    db.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY)")?;

    if let Err(error) = place_order(&mut db, &client, false) {
        println!("no order: {error}");
    }
    place_order(&mut db, &client, true)?;

    let orders: i64 = db.query_row("SELECT count(*) FROM orders", [], |row| row.get(0))?;
    let jobs = client.list(&Default::default(), None, 10).await?.items;
    println!("{orders} order, {} job", jobs.len());

    let server = Server::new(&client, Router::new().job(send_receipt)).start().await?;
    println!("{}", client.wait(jobs[0].id()).await?.state);
    server.shutdown().await;
    Ok(())
}
