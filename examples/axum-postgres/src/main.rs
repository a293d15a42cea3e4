//! The shop as a program: the service and its worker in one process, until SIGTERM or SIGINT. Then no request is taken
//! any more, those under way are answered, and jobs that run are finished or handed back.

use axum_postgres::{Shop, app, worker};
use windlass::Server;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::var("DATABASE_URL").map_err(|_| anyhow::anyhow!("set DATABASE_URL to postgres://.."))?;
    let address = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let shop = Shop::open(&url).await?;
    let server = Server::new(&shop.jobs, worker(shop.clone())).concurrency(10).start().await?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, app(shop)).with_graceful_shutdown(windlass::shutdown_signal()).await?;
    server.shutdown().await;
    println!("all is done or handed back");
    Ok(())
}
