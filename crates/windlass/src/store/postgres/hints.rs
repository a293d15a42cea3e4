//! Hints between processes: one connection of its own that listens on the schema's channel and tells on it, at most so
//! often, when this process has changed something. Polling is the truth: whatever was missed while the connection was
//! away is looked for once it is there again.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
use tokio_postgres::AsyncMessage;

use super::{address::Address, tls::Tls};
use crate::{env::Env, store::Waker};

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

    async fn listen(&self) -> Result<(), tokio_postgres::Error> {
        let (client, mut connection) = self.address.config.connect(self.tls.clone()).await?;
        let channel = &self.address.schema;
        // What this process tells, it has heard already.
        let own = AtomicI32::new(0);
        let hear = async {
            loop {
                match poll_fn(|cx| connection.poll_message(cx)).await {
                    Some(Ok(AsyncMessage::Notification(told))) if told.process_id() != own.load(Ordering::Relaxed) => {
                        self.waker.wake();
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error),
                    None => return Ok(()),
                }
            }
        };
        let tell = async {
            client.batch_execute(&format!("LISTEN {channel}")).await?;
            own.store(client.query_typed_one("SELECT pg_backend_pid()", &[]).await?.get(0), Ordering::Relaxed);
            self.waker.wake();
            loop {
                self.teller.0.notified().await;
                client.batch_execute(&format!("NOTIFY {channel}")).await?;
                self.env.sleep(BETWEEN).await;
            }
        };
        let (mut hear, mut tell) = (pin!(hear), pin!(tell));
        tokio::select! {
            heard = &mut hear => heard,
            told = &mut tell => told,
        }
    }
}
