//! Finishes a job in the handler's own transaction: its effect and the finish commit together, so that a run that is
//! repeated after a crash finds either both or nothing, and a run that lost its lease changes nothing.

use rusqlite::{Connection, TransactionBehavior};
use windlass::{Client, Committed, Job, JobContext, Router, Server};

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "account:credit", retention = "1h")]
struct Credit {
    account: String,
    cents: i64,
}

async fn credit(job: Credit, ctx: JobContext) -> windlass::Result<Committed> {
    // Other work, and all awaits, before the transaction: it holds the file's write lock.
    let mut db = Connection::open("bank.db")?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute("UPDATE account SET cents = cents + ?1 WHERE name = ?2", (job.cents, &job.account))?;
    // Commits. With a lease that is lost it rolls back instead, and answers `Error::Stale`.
    Ok(ctx.complete_in(tx)?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::open("sqlite:bank.db").await?;
    let db = Connection::open("bank.db")?;
    db.execute_batch("CREATE TABLE account (name TEXT, cents INTEGER); INSERT INTO account VALUES ('ada', 0)")?;

    let server = Server::new(&client, Router::new().job(credit)).start().await?;
    for cents in [100, 250, 7] {
        let queued = client.enqueue(Credit { account: "ada".into(), cents }).await?;
        println!("{cents}: {}", client.wait(queued.id()).await?.state);
    }
    let cents: i64 = db.query_row("SELECT cents FROM account", [], |row| row.get(0))?;
    println!("ada has {cents}");
    server.shutdown().await;
    Ok(())
}
