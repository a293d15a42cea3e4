//! The process groups of commands that run now, so that none outlives the run that started it. What is to live on
//! needs a group of its own (`setsid`).

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use rustix::process::{Pid, Signal, kill_process_group};

/// All groups of this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups(Arc<Mutex<HashSet<Pid>>>);

impl Groups {
    /// Takes care of the group that this process leads.
    pub(crate) fn adopt(&self, leader: u32) -> Option<Group> {
        let leader = Pid::from_raw(i32::try_from(leader).ok()?)?;
        self.with(|groups| groups.insert(leader));
        Some(Group { leader, groups: self.clone(), over: false })
    }

    /// Ends all of them at once: this process is about to go.
    pub(crate) fn kill_all(&self) {
        self.with(|groups| {
            for leader in groups.iter() {
                let _ = kill_process_group(*leader, Signal::KILL);
            }
        });
    }

    fn with<T>(&self, action: impl FnOnce(&mut HashSet<Pid>) -> T) -> T {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One group. Dropped before it is over, it is killed.
#[derive(Debug)]
pub(crate) struct Group {
    leader: Pid,
    groups: Groups,
    over: bool,
}

impl Group {
    /// Asks every process of the group to end.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends every process of the group.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // It fails when the group is gone, and then there is nothing to do.
        let _ = kill_process_group(self.leader, signal);
    }

    /// The group has ended by itself.
    pub(crate) fn over(&mut self) {
        self.over = true;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.over {
            self.kill();
        }
        self.groups.with(|groups| groups.remove(&self.leader));
    }
}
