//! A store that writes down, in a file that is only ever appended to, which jobs came in and what became of them. It lies
//! around any other store, and is one itself: programs open it and give it to `Client::builder().on(..)`.
//!
//! It shows what an author of a store needs: the traits, here through [`Layer`], which hands on every call that is not
//! written down; and the conformance suite, in `tests/conformance.rs`. A store that keeps jobs by itself implements
//! `Store`, `Inspect`, `Operate`, `Groups`, `Locks`, `Schedules`, `Cluster` and `Backend` of `windlass::store`
//! instead.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use windlass::{
    NewJob, StoreError,
    store::{Backend, Enqueued, Finish, Finished},
    testing::{Layer, Layered},
};

/// A store with an audit file.
pub struct Audited {
    store: Arc<dyn Backend>,
    file: Mutex<File>,
}

impl Audited {
    /// Lies around `store` and appends to `file`, one JSON document a line.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn around(store: Arc<dyn Backend>, file: &Path) -> io::Result<Arc<dyn Backend>> {
        let file = OpenOptions::new().create(true).append(true).open(file)?;
        Ok(Arc::new(Layered(Self { store, file: Mutex::new(file) })))
    }

    /// Appends lines. A store answers `Unavailable` for what may work later; the caller then tries again.
    fn write(&self, lines: &str) -> Result<(), StoreError> {
        let mut file = self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        file.write_all(lines.as_bytes()).map_err(|error| StoreError::Unavailable(format!("the audit file: {error}")))
    }
}

#[async_trait]
impl Layer for Audited {
    fn inner(&self) -> &dyn Backend {
        &*self.store
    }

    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, StoreError> {
        let answers = self.store.enqueue(jobs.clone()).await?;
        let new = jobs.iter().zip(&answers).filter(|(_, answer)| answer.is_new());
        let line = |(job, _): (&NewJob, _)| {
            // Kind and id, and nothing of the payload: what is in there is nobody else's business.
            let line = serde_json::json!({ "enqueued": job.spec.id, "kind": job.spec.kind.as_str() });
            format!("{line}\n")
        };
        self.write(&new.map(line).collect::<String>())?;
        Ok(answers)
    }

    async fn finish(&self, batch: Vec<Finish>) -> Result<Vec<Finished>, StoreError> {
        let answers = self.store.finish(batch.clone()).await?;
        let mut lines = String::new();
        for (finish, answer) in batch.iter().zip(&answers) {
            // A stale report changed nothing: another run of the job counts.
            if let Finished::Applied(state) = answer {
                let line = serde_json::json!({ "finished": finish.lease.id, "state": state });
                lines.push_str(&format!("{line}\n"));
            }
        }
        self.write(&lines)?;
        Ok(answers)
    }
}
