//! The connection that hears what is published: hints that something came into line, which wake those who wait in this
//! process, and Asynq's cancels. Both are hints: polling is the truth, and whatever was missed is looked for once the
//! connection is there again.

use std::{sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, RedisError, Value, aio::MultiplexedConnection,
};
use tokio::sync::mpsc;

use super::{address::Address, calm::Calm, link::LONGEST_PAUSE};
use crate::{env::Env, store::Waker};

/// After so many answer times without a word the connection is asked whether it is still there: a peer that vanished
/// without a sign publishes nothing, as an idle one does.
const SILENT_ANSWERS: u32 = 3;

pub(super) struct Listener {
    pub(super) client: Client,
    pub(super) address: Address,
    pub(super) env: Env,
    pub(super) hints: Hints,
}

/// Whom to tell what is heard.
pub(super) struct Hints {
    pub(super) waker: Waker,
    pub(super) calm: Arc<Calm>,
    /// Where the ids go that somebody asks Asynq's workers to cancel.
    pub(super) cancels: mpsc::UnboundedSender<String>,
}

impl Listener {
    pub(super) async fn run(self) {
        loop {
            // Whatever ends it, hints were missed: look once.
            let _ = self.listen().await;
            self.hints.calm.hear(None);
            self.hints.waker.wake();
            self.env.sleep(self.env.jittered(LONGEST_PAUSE)).await;
        }
    }

    async fn listen(&self) -> Result<(), RedisError> {
        let (told, mut heard) = mpsc::unbounded_channel();
        let mut connection = self.connect(told).await?;
        // One pattern for all: to whom an ACL gives patterns, these very ones are given and none that they cover.
        connection.psubscribe(format!("{}:*", self.address.prefix)).await?;
        let mut remember = redis::cmd("CLIENT");
        remember.arg("TRACKING").arg("ON");
        // A server that cannot is asked as often as one that is never idle.
        if remember.query_async::<Value>(&mut connection).await.is_ok() {
            self.hints.calm.hear(Some(connection.clone()));
        }
        self.hints.waker.wake();
        loop {
            tokio::select! {
                biased;
                push = heard.recv() => match push {
                    Some(push) if push.kind != PushKind::Disconnection => self.heed(push),
                    _ => return Ok(()),
                },
                () = self.env.sleep(self.address.timeout * SILENT_ANSWERS) => {
                    redis::cmd("PING").query_async::<Value>(&mut connection).await?;
                }
            }
        }
    }

    /// With the protocol that brings what is published between answers, so that it can be asked and can listen.
    async fn connect(&self, told: mpsc::UnboundedSender<PushInfo>) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.address.timeout.min(Duration::from_secs(2))))
            .set_response_timeout(Some(self.address.timeout))
            .set_push_sender(told);
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    fn heed(&self, push: PushInfo) {
        match (push.kind, push.data.as_slice()) {
            (PushKind::PMessage, [_, Value::BulkString(channel), id]) => self.heed_message(channel, id),
            (PushKind::Invalidate, keys) => {
                self.hints.calm.stir();
                if brings_work(keys) {
                    self.hints.waker.wake();
                }
            }
            _ => {}
        }
    }

    fn heed_message(&self, channel: &[u8], id: &Value) {
        match channel.strip_prefix(self.address.prefix.as_bytes()) {
            Some(b":cancel") => {
                // Nobody listens once the store is closed.
                let _ = self.hints.cancels.send(redis::from_redis_value_ref(id).unwrap_or_default());
            }
            Some(rest) if rest.starts_with(b":{") && rest.ends_with(b"}:x:wake") => {
                self.hints.calm.stir();
                self.hints.waker.wake();
            }
            _ => {}
        }
    }
}

/// The client for this connection.
pub(super) fn client(address: &Address) -> Result<Client, RedisError> {
    let mut address = address.clone();
    let settings = address.info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    address.info = address.info.set_redis_settings(settings);
    address.client()
}

/// Whether keys that changed are such as hold jobs that wait. Leases and what sweeps look after only outdate what is known.
fn brings_work(keys: &[Value]) -> bool {
    let [Value::Array(keys)] = keys else { return true };
    let later = [":lease", ":active", ":archived", ":x:outs", ":x:cancelled", ":x:deleted", ":x:wishes"];
    let is_later = |key: &Value| match key {
        Value::BulkString(key) => later.iter().any(|end| key.ends_with(end.as_bytes())),
        _ => false,
    };
    !keys.iter().all(is_later)
}
