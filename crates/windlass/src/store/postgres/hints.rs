//! Hints between processes: one connection of its own that listens on the schema's channel and tells on it, at most so
//! often, when this process has changed something. Polling is the truth: whatever was missed while the connection was
//! away is looked for once it is there again. A connection that is silent may be half-open, so it is asked now and then.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
use tokio_postgres::{AsyncMessage, Client};

use super::{address::Address, fault, tls::Tls};
use crate::{
    env::Env,
    store::{Result, StoreError, Waker},
};

/// The longest pause between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The shortest time between two notices of one process: notices are committed one after the other by the whole server.
const BETWEEN: Duration = Duration::from_millis(5);

/// Says that something has changed; notices are gathered.
#[derive(Clone, Default)]
pub(super) struct Teller(Arc<Notify>);

impl Teller {
    pub(super) fn tell(&self) {
        self.0.notify_one();
    }
}

pub(super) struct Listener {
    pub(super) address: Address,
    pub(super) tls: Tls,
    pub(super) env: Env,
    pub(super) waker: Waker,
    pub(super) teller: Teller,
}

impl Listener {
    /// Runs until it is dropped.
    pub(super) async fn run(self) {
        loop {
            // Whatever ends it, hints were missed: look once.
            let _ = self.listen().await;
            self.waker.wake();
            self.env.sleep(self.env.jittered(LONGEST_PAUSE)).await;
        }
    }

    /// Listens and tells until the connection breaks, does not answer in time, or leads to a server that takes no writes.
    async fn listen(&self) -> Result<()> {
        let (client, mut connection) = self.in_time(self.address.config.connect(self.tls.clone())).await?;
        // What this process tells, it has heard already.
        let own = AtomicI32::new(0);
        let hear = async {
            loop {
                match poll_fn(|cx| connection.poll_message(cx)).await {
                    Some(Ok(AsyncMessage::Notification(told))) if told.process_id() != own.load(Ordering::Relaxed) => {
                        self.waker.wake();
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(fault::store_error(&self.address, &error)),
                    None => return Ok(()),
                }
            }
        };
        let (mut hear, mut tell) = (pin!(hear), pin!(self.tell(&client, &own)));
        tokio::select! {
            heard = &mut hear => heard,
            told = &mut tell => told,
        }
    }

    async fn tell(&self, client: &Client, own: &AtomicI32) -> Result<()> {
        let channel = &self.address.schema;
        self.in_time(client.batch_execute(&format!("LISTEN {channel}"))).await?;
        own.store(
            self.in_time(client.query_typed_one("SELECT pg_backend_pid()", &[])).await?.get(0),
            Ordering::Relaxed,
        );
        self.waker.wake();
        loop {
            match tokio::time::timeout(self.address.timeout, self.teller.0.notified()).await {
                Ok(()) => self.in_time(client.batch_execute(&format!("NOTIFY {channel}"))).await?,
                Err(_) => self.look(client).await?,
            }
            self.env.sleep(BETWEEN).await;
        }
    }

    /// Fails if the server is not there any more, or is not where jobs are made.
    async fn look(&self, client: &Client) -> Result<()> {
        let writable = "SELECT current_setting('transaction_read_only') = 'off'";
        if self.in_time(client.query_typed_one(writable, &[])).await?.get(0) {
            Ok(())
        } else {
            Err(StoreError::Unavailable(format!("{}: it takes no writes", self.address.shown)))
        }
    }

    async fn in_time<A>(&self, call: impl Future<Output = Result<A, tokio_postgres::Error>>) -> Result<A> {
        let failed = |error| fault::store_error(&self.address, &error);
        let late = |_| StoreError::Unavailable(format!("{}: no answer", self.address.shown));
        tokio::time::timeout(self.address.timeout, call).await.map_err(late)?.map_err(failed)
    }
}
