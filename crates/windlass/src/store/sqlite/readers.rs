//! Two threads that read, each with a connection of its own, so that looking never waits for writing.

use std::{
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{address::Address, clock::Clock, fault::Done, open};
use crate::{
    env::Env,
    store::{Result, StoreError},
};

const THREADS: usize = 2;

type Look = Box<dyn FnOnce(&Connection, &Clock) + Send>;

/// A handle to the threads.
pub(super) struct Readers {
    queue: Option<Sender<Look>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    pub(super) fn start(address: &Address, env: &Env) -> Result<Self> {
        let (queue, looks) = channel::<Look>();
        let looks = Arc::new(Mutex::new(looks));
        let mut threads = Vec::new();
        for _ in 0..THREADS {
            let conn = open::reader(address).map_err(StoreError::from)?;
            let (looks, env) = (looks.clone(), env.clone());
            let run = move || read(&conn, &looks, &env);
            let thread = std::thread::Builder::new().name("windlass-reader".into()).spawn(run);
            threads.push(thread.map_err(|error| StoreError::Unavailable(format!("no thread for a reader: {error}")))?);
        }
        Ok(Self { queue: Some(queue), threads })
    }

    /// Looks.
    pub(super) async fn look<A: Send + 'static>(
        &self,
        look: impl FnOnce(&Connection, &Clock) -> Done<A> + Send + 'static,
    ) -> Result<A> {
        let (reply, answer) = oneshot::channel();
        let look: Look = Box::new(move |conn, clock| {
            // The caller may have stopped waiting.
            let _ = reply.send(look(conn, clock).map_err(StoreError::from));
        });
        let closed = || StoreError::Unavailable("the store is closed".into());
        self.queue.as_ref().ok_or_else(closed)?.send(look).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

fn read(conn: &Connection, looks: &Mutex<Receiver<Look>>, env: &Env) {
    loop {
        let next = match looks.lock() {
            Ok(looks) => looks.recv(),
            Err(_) => return,
        };
        match next {
            Ok(look) => look(conn, &Clock::read(env)),
            Err(_) => return,
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
