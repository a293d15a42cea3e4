//! Jobs that wait for their time, by the line that they will stand in, and how due ones come into it.

use std::{cmp::Reverse, collections::BTreeMap, collections::BTreeSet};

use super::*;
use crate::decide::flood::{Due, DueLine, choose, share};

/// A line and a priority: what stands in one order.
type Place = (usize, Reverse<i8>);

/// What is scheduled or retrying: by place, then by time.
#[derive(Default)]
pub(super) struct Waiting(BTreeMap<Place, BTreeSet<(Timestamp, u64)>>);

impl Waiting {
    pub(super) fn insert(&mut self, job: &Job, at: Timestamp, seq: u64) {
        self.0.entry(place(job)).or_default().insert((at, seq));
    }

    pub(super) fn remove(&mut self, job: &Job, seq: u64) {
        let place = place(job);
        if let Some(jobs) = self.0.get_mut(&place) {
            jobs.remove(&(job.record.run_at.unwrap_or_default(), seq));
            if jobs.is_empty() {
                self.0.remove(&place);
            }
        }
    }

    /// Each place, and when its first job is due.
    fn heads(&self) -> impl Iterator<Item = (Place, Timestamp)> {
        self.0.iter().filter_map(|(place, jobs)| Some((*place, jobs.first()?.0)))
    }
}

fn place(job: &Job) -> Place {
    (job.line, Reverse(job.record.spec.priority))
}

impl Inner {
    pub(super) fn promote(&mut self, rules: &PromoteRules, now: Timestamp) -> Promoted {
        let chosen = self.choose_due(rules, now);
        for job in &chosen {
            let seq = job.seq as u64;
            let grouped = self.jobs.get(seq).is_some_and(|job| job.grouped() && job.record.state == State::Scheduled);
            self.change(seq, if grouped { State::Aggregating } else { State::Pending }, Cause::Promote, now);
            if grouped { self.join(seq, now) } else { self.line_up(seq, false, now) }
        }
        let mut promoted = Promoted { moved: chosen.len() as u32, ..Promoted::default() };
        for (_, at, line) in self.rooms(rules, now) {
            if at <= now && line.room == 0 {
                promoted.held_back = true;
            } else {
                let wait = at.since(now);
                promoted.next_due = Some(promoted.next_due.map_or(wait, |next| next.min(wait)));
            }
        }
        promoted
    }

    fn choose_due(&self, rules: &PromoteRules, now: Timestamp) -> Vec<Due> {
        let beyond = |queue: &Queue| rules.beyond.get(&queue.name).copied().unwrap_or(0);
        let beyond: Vec<u32> = self.queues.iter().map(beyond).collect();
        let lines: Vec<_> = self.rooms(rules, now).into_iter().filter(|(_, at, _)| *at <= now).collect();
        let mut due = Vec::new();
        for (number, (place, _, line)) in lines.iter().enumerate() {
            let most = line.room.saturating_add(beyond[line.queue]).min(rules.limit);
            let jobs = self.due.0.get(place).into_iter().flatten().take_while(|(at, _)| *at <= now);
            let of_line = |(at, seq): &(Timestamp, u64)| Due { at: at.as_micros(), seq: *seq as i64, line: number };
            due.extend(jobs.take(most as usize).map(of_line));
        }
        let lines: Vec<DueLine> = lines.into_iter().map(|(.., line)| line).collect();
        choose(due, &lines, &beyond, rules.limit)
    }

    /// Each place where jobs wait: when the first of them is due, and how many more may come into line if it is.
    fn rooms(&self, rules: &PromoteRules, now: Timestamp) -> Vec<(Place, Timestamp, DueLine)> {
        let mut sharing: FxHashMap<usize, usize> = FxHashMap::default();
        for (place, _) in self.due.heads().filter(|(_, at)| *at <= now) {
            *sharing.entry(self.lines[place.0].queue).or_default() += 1;
        }
        let room = |(place, at): (Place, Timestamp)| {
            let line = &self.lines[place.0];
            let queue = line.queue;
            let share = share(rules.look_ahead, sharing.get(&queue).copied().unwrap_or(1));
            let room = if at > now || share == u32::MAX { share } else { share - line.standing(place.1, share) };
            (place, at, DueLine { queue, room })
        };
        self.due.heads().map(room).collect()
    }
}
