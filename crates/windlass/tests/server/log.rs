//! What servers told, in order, and waiting for it.

use std::sync::Arc;

use tokio::sync::watch;
use windlass::{Event, EventKind, JobId, JobState};

#[derive(Clone)]
pub struct Log(Arc<watch::Sender<Vec<Event>>>);

impl Log {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Vec::new())))
    }

    /// For `Server::on_event`.
    pub fn listener(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let log = self.clone();
        move |event| log.0.send_modify(|events| events.push(event.clone()))
    }

    pub fn all(&self) -> Vec<Event> {
        self.0.borrow().clone()
    }

    /// What happened to one job: the event, its attempt, and the state it led to.
    pub fn of(&self, id: &JobId) -> Vec<(EventKind, u32, Option<JobState>)> {
        let events = self.0.borrow();
        let of_job = events.iter().filter(|event| event.id == *id);
        of_job.map(|event| (event.event, event.attempt, event.state)).collect()
    }

    pub fn count(&self, kind: EventKind) -> usize {
        self.0.borrow().iter().filter(|event| event.event == kind).count()
    }

    /// Waits for the job's event.
    pub async fn wait(&self, id: &JobId, kind: EventKind) -> Event {
        let wanted = |event: &&Event| event.id == *id && event.event == kind;
        let mut events = self.0.subscribe();
        let events = events.wait_for(|events| events.iter().any(|event| wanted(&event))).await.unwrap();
        events.iter().find(wanted).unwrap().clone()
    }

    pub async fn wait_count(&self, kind: EventKind, count: usize) {
        let enough = |events: &Vec<Event>| events.iter().filter(|event| event.event == kind).count() >= count;
        drop(self.0.subscribe().wait_for(enough).await.unwrap());
    }
}
