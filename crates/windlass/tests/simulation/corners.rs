//! How often the seeds come to the corners that the promises are about. A simulation that never gets there proves
//! nothing, however many seeds it runs.

use std::collections::BTreeSet;

use windlass::{
    Action, JobState,
    store::{Finished, Flushed, Operated},
};

use crate::{history::Event, run::Ran};

/// The corners, and how often each was come to.
#[derive(Default)]
pub(crate) struct Corners([u64; CORNERS.len()]);

const CORNERS: [&str; 14] = [
    "jobs that ended well",
    "leases that lapsed and were rescued",
    "jobs buried as poison",
    "suspects that were claimed",
    "outcomes that were refused as stale",
    "renewals that were refused",
    "claims that were repeated",
    "enqueues that were repeated",
    "running jobs that were cancelled",
    "servers that left in good order",
    "runs that went on from a checkpoint",
    "groups that became a job",
    "flushes that came too late",
    "exclusive jobs that shared their key",
];

impl Corners {
    pub(crate) fn add(&mut self, ran: &Ran) {
        let (mut claims, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for (_, event) in &ran.events {
            if let Event::Came { job, .. } = event
                && let Some(key) = &job.exclusive
                && !keys.insert(key.clone())
            {
                self.0[13] += 1;
            }
            let corner = match event {
                Event::Finished { answer: Finished::Applied(JobState::Completed), .. } => 0,
                Event::Rescued { state: JobState::Dead, .. } => 2,
                Event::Rescued { .. } => 1,
                Event::Claimed { server, sequence, .. } if !claims.insert((*server, *sequence)) => 6,
                Event::Claimed { jobs, .. } if jobs.iter().any(|job| job.crashes == 2) => 3,
                Event::Claimed { jobs, .. } if jobs.iter().any(|job| job.checkpoint.is_some()) => 10,
                Event::Finished { answer: Finished::Stale, .. } => 4,
                Event::Extended { lost, .. } if !lost.is_empty() => 5,
                Event::Came { answer, .. } if !answer.is_new() => 7,
                Event::Operated {
                    action: Action::Cancel { .. }, answer: Operated::Done(JobState::Running), ..
                } => 8,
                Event::Left { .. } => 9,
                Event::Flushed { answer: Flushed::Into(_), .. } => 11,
                Event::Flushed { answer: Flushed::Changed, .. } => 12,
                _ => continue,
            };
            self.0[corner] += 1;
        }
    }

    /// Each corner with its number.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CORNERS.into_iter().zip(self.0)
    }
}
