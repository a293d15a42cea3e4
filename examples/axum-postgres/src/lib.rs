//! A shop: `POST /orders` writes an order and enqueues its receipt in one transaction, and the worker that sends the receipt
//! notes it and completes its job in one transaction. Whatever is killed when, each order has its receipt once.

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use windlass::{Client, Committed, Job, JobContext};

/// What the service and the worker share.
#[derive(Clone)]
pub struct Shop {
    pub pool: PgPool,
    pub jobs: Client,
}

impl Shop {
    /// Connects to the database, makes the shop's tables, and windlass's beside them.
    pub async fn open(url: &str) -> anyhow::Result<Self> {
        let pool = PgPool::connect(url).await?;
        sqlx::migrate!().run(&pool).await?;
        Ok(Self { pool, jobs: Client::open(url).await? })
    }
}

#[derive(Deserialize)]
struct NewOrder {
    item: String,
    mail: String,
}

#[derive(Serialize, Deserialize, Job)]
#[job(kind = "receipt:send")]
struct SendReceipt {
    order: i64,
}

/// The service.
pub fn app(shop: Shop) -> Router {
    Router::new().route("/orders", post(order)).with_state(shop)
}

async fn order(State(shop): State<Shop>, Json(new): Json<NewOrder>) -> Result<(StatusCode, String), Failed> {
    let mut tx = shop.pool.begin().await?;
    let insert = "INSERT INTO orders (item, mail) VALUES ($1, $2) RETURNING id";
    let order: i64 = sqlx::query_scalar(insert).bind(&new.item).bind(&new.mail).fetch_one(&mut *tx).await?;
    shop.jobs.enqueue_in(&mut tx, SendReceipt { order }).await?;
    // The last one is sold: an error, and neither the order nor its receipt was ever there.
    let take = "UPDATE stock SET remaining = remaining - 1 WHERE item = $1";
    sqlx::query(take).bind(&new.item).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, order.to_string()))
}

/// The worker's handlers.
pub fn worker(shop: Shop) -> windlass::Router {
    windlass::Router::new().job(send_receipt).with_state(shop)
}

async fn send_receipt(
    job: SendReceipt,
    windlass::State(shop): windlass::State<Shop>,
    ctx: JobContext,
) -> windlass::Result<Committed> {
    let mut tx = shop.pool.begin().await?;
    let send = "INSERT INTO mail SELECT id, mail, 'Thank you for your ' || item FROM orders WHERE id = $1";
    sqlx::query(send).bind(job.order).execute(&mut *tx).await?;
    sqlx::query("UPDATE orders SET receipted_at = now() WHERE id = $1").bind(job.order).execute(&mut *tx).await?;
    // The mail and the end of this run, or neither: if the lease was lost, another run sends it.
    Ok(ctx.complete_in(tx).await?)
}

/// What the caller is told when there is no order.
struct Failed(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl axum::response::IntoResponse for Failed {
    fn into_response(self) -> axum::response::Response {
        let refused = self.0.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
        match refused.is_some_and(|error| error.is_check_violation() || error.is_foreign_key_violation()) {
            true => (StatusCode::CONFLICT, "there is no such item left").into_response(),
            false => (StatusCode::INTERNAL_SERVER_ERROR, format!("{:#}", self.0)).into_response(),
        }
    }
}
