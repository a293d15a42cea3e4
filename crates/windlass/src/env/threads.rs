//! Threads for work that blocks: started when there is work for them, kept until the last handle is gone.
//! Not those of the runtime, whose blocking threads serve everybody: a slow handler must not keep a file from being read.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;

use super::{Blocking, Work};

pub(super) struct Threads(Arc<Shared>);

struct Shared {
    most: u32,
    /// So that work may use what belongs to the runtime: timers, sockets, `Handle::block_on`.
    runtime: Option<Handle>,
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    threads: u32,
    idle: usize,
    closed: bool,
}

impl Threads {
    pub(super) fn new(most: u32) -> Self {
        let (runtime, state) = (Handle::try_current().ok(), Mutex::default());
        Self(Arc::new(Shared { most, runtime, state, filled: Condvar::new() }))
    }
}

impl Blocking for Threads {
    fn run(&self, work: Work) {
        let mut state = self.0.state.lock();
        state.waiting.push_back(work);
        if state.waiting.len() <= state.idle || state.threads >= self.0.most {
            self.0.filled.notify_one();
            return;
        }
        let shared = self.0.clone();
        let started = std::thread::Builder::new().name("windlass-blocking".into()).spawn(move || shared.serve());
        match started {
            Ok(_) => state.threads += 1,
            // Whoever waits for the work sees it dropped.
            Err(error) if state.threads == 0 => {
                tracing::error!(%error, "no thread for work that blocks");
                state.waiting.clear();
            }
            Err(error) => tracing::warn!(%error, "no further thread for work that blocks; it waits for the others"),
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.0.state.lock().closed = true;
        self.0.filled.notify_all();
    }
}

impl Shared {
    fn serve(&self) {
        let _runtime = self.runtime.as_ref().map(Handle::enter);
        while let Some(work) = self.next() {
            // A panic is the work's own affair, and no reason to be a thread less.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        }
    }

    fn next(&self) -> Option<Work> {
        let mut state = self.state.lock();
        loop {
            if let Some(work) = state.waiting.pop_front() {
                return Some(work);
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            self.filled.wait(&mut state);
            state.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::mpsc};

    use super::*;

    #[test]
    fn work_runs_side_by_side_on_as_many_threads_as_there_may_be() {
        let threads = Threads::new(2);
        let (tell, told) = mpsc::channel();
        let barrier = Arc::new(std::sync::Barrier::new(2));
        for _ in 0..6 {
            let (tell, barrier) = (tell.clone(), barrier.clone());
            threads.run(Box::new(move || {
                barrier.wait();
                tell.send(std::thread::current().id()).unwrap();
            }));
        }
        let ids: HashSet<_> = told.iter().take(6).collect();
        assert_eq!(ids.len(), 2);
    }

    #[test]
    fn a_panic_costs_no_thread_and_an_idle_one_is_used_again() {
        let threads = Threads::new(1);
        threads.run(Box::new(|| panic!("on purpose")));
        let (tell, told) = mpsc::channel();
        for _ in 0..2 {
            let tell = tell.clone();
            threads.run(Box::new(move || tell.send(std::thread::current().id()).unwrap()));
        }
        assert_eq!(told.recv(), told.recv());
    }

    #[test]
    fn what_was_handed_in_is_done_even_when_the_handle_is_gone() {
        let (tell, told) = mpsc::channel();
        let threads = Threads::new(1);
        for n in 0..3 {
            let tell = tell.clone();
            threads.run(Box::new(move || tell.send(n).unwrap()));
        }
        drop((threads, tell));
        assert_eq!(told.iter().collect::<Vec<_>>(), [0, 1, 2]);
    }
}
