//! All queues: which there are, one script on each of them, and that the trouble of one is not the trouble of the others.

use std::collections::BTreeSet;

use redis::{Value, cmd};
use tracing::warn;

use super::{Shared, reply, scripts::Script};
use crate::{
    job::QueueName,
    store::{Result, StoreError},
};

/// The most troubles that are remembered as told.
const TROUBLES: usize = 1_000;

/// A script's call on a queue, with its arguments, and what came of it.
pub(super) type Call = (QueueName, Vec<Vec<u8>>);
pub(super) type Answered = (QueueName, Result<Value>);

impl Shared {
    /// All queues that are registered, by name.
    pub(super) async fn all_queues(&self) -> Result<Vec<QueueName>> {
        if let Some(queues) = self.calm.queues(self.env.monotonic()) {
            return Ok(queues);
        }
        let mut ask = cmd("SMEMBERS");
        ask.arg(self.plain_key("queues"));
        let queues = self.readable(self.link.run(&ask).await?)?;
        self.learn(&queues);
        Ok(queues.into_iter().collect())
    }

    /// These are registered, and no others.
    pub(super) fn learn(&self, queues: &BTreeSet<QueueName>) {
        self.noted.lock().retain(|queue| queues.contains(queue));
        self.queues.lock().clone_from(queues);
    }

    /// The names of a set of queues. Asynq takes any that is not blank; one that is no text cannot be named here, and is
    /// passed over.
    pub(super) fn readable(&self, names: Value) -> Result<BTreeSet<QueueName>> {
        let (Value::Array(names) | Value::Set(names)) = names else { return Err(reply::odd("queues")) };
        let mut queues = BTreeSet::new();
        for name in names {
            match String::from_utf8(reply::bytes(name)?) {
                Ok(name) => drop(queues.insert(QueueName::trusted(name))),
                Err(error) => {
                    let name = String::from_utf8_lossy(error.as_bytes()).into_owned();
                    if self.is_news(format!("{name:?} is no text")) {
                        warn!(queue = name, "a queue whose name is no text is passed over; only Go can use it");
                    }
                }
            }
        }
        Ok(queues)
    }

    /// Goes on without a queue in which something is damaged, and says so once; gives back what is no trouble of that
    /// queue alone.
    pub(super) fn pass_over(&self, queue: &QueueName, error: StoreError) -> Result<()> {
        if !matches!(error, StoreError::Corrupt(_)) {
            return Err(error);
        }
        if self.is_news(format!("{queue}: {error}")) {
            warn!(
                %error,
                queue = queue.as_str(),
                "a queue cannot be looked after as long as this is so; look at the key that it names, or remove it"
            );
        }
        Ok(())
    }

    fn is_news(&self, trouble: String) -> bool {
        let mut told = self.told.lock();
        if told.len() >= TROUBLES {
            told.clear();
        }
        told.insert(trouble)
    }

    /// Runs a script on several queues, with so many of the calls in one round trip. Redis serves nobody else while it
    /// goes through those that it has read together, so a script that does much gets few.
    pub(super) async fn on_each(&self, script: &Script, calls: Vec<Call>, together: usize) -> Result<Vec<Answered>> {
        let mut answered = Vec::with_capacity(calls.len());
        let mut calls = calls.into_iter().peekable();
        while calls.peek().is_some() {
            let (mut queues, mut asked) = (Vec::new(), Vec::new());
            for (queue, args) in calls.by_ref().take(together) {
                asked.push((self.queue_key(&queue), self.call_args(args)));
                queues.push(queue);
            }
            answered.extend(std::iter::zip(queues, self.link.eval_each(script, &asked).await?));
        }
        Ok(answered)
    }

    /// The same arguments for each queue.
    pub(super) async fn on_all(
        &self,
        script: &Script,
        queues: &[QueueName],
        args: &[Vec<u8>],
        together: usize,
    ) -> Result<Vec<Answered>> {
        let calls = queues.iter().map(|queue| (queue.clone(), args.to_vec())).collect();
        self.on_each(script, calls, together).await
    }
}
