//! What a worker answers to orchestrators over HTTP: `/healthz` (it lives) and `/readyz` (it claims jobs, and the store
//! answers). Numbers of the worker, nothing of jobs. Only where `--listen` or the configuration asks for it.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;
use tracing::{info, warn};
use windlass::Monitor;

use crate::exit::Failure;

/// An address that is taken, and not answered on yet: a mistake in it is found before the worker starts.
pub(crate) struct Endpoints {
    listener: TcpListener,
    address: SocketAddr,
}

impl Endpoints {
    pub(crate) async fn bind(address: &str) -> anyhow::Result<Self> {
        let refused = |error| {
            Failure::config(format!("cannot listen on `{address}`: {error}"))
                .help("write HOST:PORT with a free port of this host, e.g. 127.0.0.1:9090")
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address })
    }

    /// Answers from here to the end of the process, through the shutdown, too.
    pub(crate) fn serve(self, monitor: Monitor) {
        info!(address = %self.address, "answers /healthz and /readyz");
        let routes = Router::new().route("/healthz", get(live)).route("/readyz", get(ready)).with_state(monitor);
        tokio::spawn(async move {
            if let Err(error) = axum::serve(self.listener, routes).await {
                warn!(%error, "answers /healthz and /readyz no more");
            }
        });
    }
}

/// 200 as long as it can do its work at all, however the store is.
async fn live(State(monitor): State<Monitor>) -> impl IntoResponse {
    match monitor.health().failure {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(problem) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{problem}\n")),
    }
}

/// 200 while it claims and the store answers, else 503; in both cases how the worker is.
async fn ready(State(monitor): State<Monitor>) -> impl IntoResponse {
    let health = monitor.health();
    let status = if health.claiming && health.store_up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::to_string(&health).unwrap_or_default();
    (status, [(CONTENT_TYPE, "application/json")], body + "\n")
}
