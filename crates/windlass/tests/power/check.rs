//! Looks at what a power loss left, as whoever starts the machine again would: opens the store, compares what is there with
//! what callers had been told, and runs the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use rusqlite::Connection;
use windlass::{
    JobFilter, JobRecord, JobState, Verdict,
    store::{Census, ClaimRequest, Claimed, Create, Finished, Inspect, Store, sqlite::SqliteStore},
};

use crate::{
    disk::{Image, Name},
    work::{End, Merge, Said, Story, report, request, rules},
};

/// What callers had been told when the power went.
#[derive(Clone, Debug, Default)]
pub struct Promised {
    enqueued: BTreeSet<String>,
    /// The last end of each job that has ended, unless it was redriven since.
    ended: BTreeMap<String, End>,
    /// How often each job has ended.
    ends: BTreeMap<String, usize>,
    /// How often each job was redriven.
    redriven: BTreeMap<String, usize>,
    noted: BTreeMap<String, usize>,
    edited: BTreeMap<String, String>,
    fence: u64,
}

/// What is there of a store, by id.
type Jobs = BTreeMap<String, JobRecord>;

impl Promised {
    pub fn hear(&mut self, said: &Said) {
        match said {
            Said::Enqueued(ids) => self.enqueued.extend(ids.iter().cloned()),
            Said::Ended(ends) => {
                self.ended.extend(ends.iter().cloned());
                ends.iter().for_each(|(id, _)| *self.ends.entry(id.clone()).or_default() += 1);
            }
            Said::Redriven(id) => {
                self.ended.remove(id);
                *self.redriven.entry(id.clone()).or_default() += 1;
            }
            Said::Noted(id, so_far) => drop(self.noted.insert(id.clone(), *so_far)),
            Said::Edited(id, payload) => drop(self.edited.insert(id.clone(), payload.clone())),
            Said::Claimed(fence) => self.fence = self.fence.max(*fence),
        }
    }

    pub fn count(&self) -> usize {
        self.enqueued.len() + self.ended.len() + self.noted.len() + self.edited.len() + self.redriven.len()
    }
}

/// What is wrong with what was left.
#[derive(Clone, Debug)]
pub enum Found {
    /// It does not open, or SQLite finds the file inconsistent.
    Damaged(String),
    /// It holds together, but what callers were told is no longer true: each case.
    Lost(Vec<String>),
    /// It holds together and cannot be right: half a call, wrong numbers, a job that cannot be brought to its end.
    Wrong(String),
}

/// Looks at an image.
pub async fn look(image: &Image, promised: &Promised, story: &Story) -> Result<(), Found> {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("jobs.db");
    for (name, content) in Name::ALL.iter().zip(image) {
        if let Some(content) = content {
            fs::write(format!("{}{}", path.display(), name.suffix()), content).unwrap();
        }
    }
    // The machine was started again, a minute later.
    let clock = story.clock.clone();
    clock.reboot();
    clock.advance(Duration::from_secs(60));
    // The real disk may take its time: nothing here loses power.
    let url = format!("{}?synchronous=off", path.display());
    let opened = SqliteStore::open(&url, Create::IfMissing, clock.env()).await;
    let store = opened.map_err(|error| Found::Damaged(error.to_string()))?;
    let found = compare(&store, &path, promised, story).await;
    // Closing takes its time; the next image need not wait for it.
    tokio::task::spawn_blocking(move || drop((store, place)));
    found
}

async fn compare(store: &SqliteStore, path: &Path, promised: &Promised, story: &Story) -> Result<(), Found> {
    whole(path)?;
    let damaged = |error: windlass::StoreError| Found::Damaged(error.to_string());
    let jobs = jobs(store).await.map_err(damaged)?;
    let census = store.census().await.map_err(damaged)?;
    let mut lost = lost(&jobs, promised, story);
    lost.extend(edits_lost(&jobs, promised));
    lost.extend(notes_lost(store, promised).await.map_err(damaged)?);
    if !lost.is_empty() {
        return Err(Found::Lost(lost));
    }
    add_up(&jobs, &census)
        .and_then(|()| calls_are_whole(&jobs, story))
        .and_then(|()| story.merges.iter().try_for_each(|merge| is_one_world(&jobs, merge, story)))
        .map_err(Found::Wrong)?;
    goes_on(store, promised.fence).await.map_err(Found::Wrong)
}

fn whole(path: &Path) -> Result<(), Found> {
    let check = || Connection::open(path)?.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    match check() {
        Ok(answer) if answer == "ok" => Ok(()),
        Ok(answer) => Err(Found::Damaged(answer)),
        Err(error) => Err(Found::Damaged(error.to_string())),
    }
}

async fn jobs(store: &SqliteStore) -> Result<Jobs, windlass::StoreError> {
    let (mut jobs, mut after) = (BTreeMap::new(), None);
    loop {
        let page = store.list(&JobFilter::default(), after, 1000).await?;
        jobs.extend(page.items.into_iter().map(|job| (job.spec.id.to_string(), job)));
        after = page.next;
        if after.is_none() {
            return Ok(jobs);
        }
    }
}

/// What callers were told and is not so. A job whose end was under way may have come to it, and one that was about to be
/// redriven may be back.
fn lost(jobs: &Jobs, promised: &Promised, story: &Story) -> Vec<String> {
    let alive = [JobState::Pending, JobState::Running, JobState::Aggregating].map(End::In);
    let mut lost = Vec::new();
    for id in &promised.enqueued {
        let found = jobs.get(id).map_or(End::Gone, |job| End::In(job.state));
        let returns = story.redriven.get(id) > promised.redriven.get(id);
        let next_end = story.ends.get(id).and_then(|ends| ends.get(*promised.ends.get(id).unwrap_or(&0)));
        let right = match promised.ended.get(id) {
            Some(end) => found == *end || (returns && found == End::In(JobState::Pending)),
            None => alive.contains(&found) || next_end == Some(&found),
        };
        if !right {
            lost.push(format!("{id}: {found:?}, and {:?} was told", promised.ended.get(id)));
        }
    }
    lost
}

fn edits_lost(jobs: &Jobs, promised: &Promised) -> Vec<String> {
    let is_there = |id: &str, payload: &str| jobs.get(id).is_some_and(|job| job.spec.payload == payload.as_bytes());
    let lost = promised.edited.iter().filter(|(id, payload)| !is_there(id, payload));
    lost.map(|(id, payload)| format!("{id} is not {payload}, as was told")).collect()
}

/// Of the runs that noted how far they are, and whose jobs have not ended meanwhile.
async fn notes_lost(store: &SqliteStore, promised: &Promised) -> Result<Vec<String>, windlass::StoreError> {
    let mut lost = Vec::new();
    for (id, so_far) in promised.noted.iter().filter(|(id, _)| !promised.ends.contains_key(*id)) {
        let Some(job) = store.get(&id.parse().unwrap()).await? else { continue };
        let checkpoint = job.checkpoint.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
        let noted = checkpoint.or(job.progress.map(|progress| progress.message.to_string()));
        let found = noted.map(|text| text.parse::<usize>().unwrap());
        let may_have_ended = ![JobState::Pending, JobState::Running].contains(&job.state);
        if found < Some(*so_far) && !may_have_ended {
            lost.push(format!("{id} was at {so_far}, as was told, and is at {found:?}"));
        }
    }
    Ok(lost)
}

/// Either the members wait in their group and nothing was made of them, or all have ended and the new job is there.
fn is_one_world(jobs: &Jobs, merge: &Merge, story: &Story) -> Result<(), String> {
    let into = jobs.get(&merge.into).map(|job| &job.spec.id);
    let never_came = merge.members.iter().all(|id| !jobs.contains_key(id));
    let is_member_of = |id: &String, merged: bool| match jobs.get(id) {
        Some(job) if merged => job.state == JobState::Completed && job.flushed_into.as_ref() == into,
        Some(job) => job.state == JobState::Aggregating,
        None if merged => story.ends.get(id).is_some_and(|ends| ends.contains(&End::Gone)),
        None => never_came,
    };
    match merge.members.iter().all(|id| is_member_of(id, into.is_some())) {
        true => Ok(()),
        false => {
            let members = merge.members.iter().map(|id| jobs.get(id).map(|job| job.state)).collect::<Vec<_>>();
            Err(format!("{} is there: {}; of its members there are {members:?}", merge.into, into.is_some()))
        }
    }
}

fn add_up(jobs: &Jobs, census: &Census) -> Result<(), String> {
    let mut by_state = [0; 9];
    for queue in &census.queues {
        for (sum, count) in by_state.iter_mut().zip(queue.by_state) {
            *sum += count;
        }
    }
    let mut found = [0; 9];
    jobs.values().for_each(|job| found[job.state.code() as usize] += 1);
    let sum: u64 = found.iter().sum();
    if by_state != found || census.enqueued != sum + census.removed {
        return Err(format!("the numbers are {census:?}, and there are {found:?}"));
    }
    Ok(())
}

/// Of each call that enqueued, all jobs are there or none.
fn calls_are_whole(jobs: &Jobs, story: &Story) -> Result<(), String> {
    for call in &story.calls {
        let stays = |id: &&String| story.ends.get(*id).is_none_or(|ends| !ends.contains(&End::Gone));
        let there: Vec<bool> = call.iter().filter(stays).map(|id| jobs.contains_key(id)).collect();
        if there.windows(2).any(|two| two[0] != two[1]) {
            return Err(format!("of the jobs {call:?} of one call some are there: {there:?}"));
        }
    }
    Ok(())
}

/// Takes back what the dead held, and runs all that is left under fences that nobody has seen.
async fn goes_on(store: &SqliteStore, fence: u64) -> Result<(), String> {
    let failed = |error: windlass::StoreError| error.to_string();
    store.rescue(&rules()).await.map_err(failed)?;
    let jobs = jobs(store).await.map_err(failed)?;
    let count = |state: JobState| jobs.values().filter(|job| job.state == state).count();
    if count(JobState::Running) > 0 {
        return Err(format!("{} jobs still run after the machine was started again", count(JobState::Running)));
    }
    let claimed = claim_all(store).await.map_err(failed)?;
    if claimed.len() != count(JobState::Pending) {
        return Err(format!("{} of {} jobs in line can be claimed", claimed.len(), count(JobState::Pending)));
    }
    if let Some(old) = claimed.iter().find(|job| job.fence.0 <= fence) {
        return Err(format!("the fence {} is not above {fence}", old.fence.0));
    }
    let answers = store.finish(claimed.iter().map(|job| report(job, Verdict::Complete)).collect()).await;
    let answers = answers.map_err(failed)?;
    match answers.iter().all(|answer| *answer == Finished::Applied(JobState::Completed)) {
        true => Ok(()),
        false => Err(format!("not every outcome is accepted: {answers:?}")),
    }
}

/// All that is in line, suspects one by one.
async fn claim_all(store: &SqliteStore) -> Result<Vec<Claimed>, windlass::StoreError> {
    let mut claimed = Vec::new();
    for sequence in 1_000_000.. {
        let suspect = sequence > 1_000_000;
        let taken = store.claim(&ClaimRequest { suspect, ..request(sequence, 1000) }).await?.jobs;
        if suspect && taken.is_empty() {
            break;
        }
        claimed.extend(taken);
    }
    Ok(claimed)
}
