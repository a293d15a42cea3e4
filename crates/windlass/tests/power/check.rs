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
    JobFilter, JobState, Verdict,
    store::{Census, ClaimRequest, Claimed, Create, Finished, Inspect, Store, sqlite::SqliteStore},
};

use crate::{
    disk::{Image, Name},
    work::{End, Said, Story, report, request, rules},
};

/// What callers had been told when the power went.
#[derive(Clone, Debug, Default)]
pub struct Promised {
    enqueued: BTreeSet<String>,
    ended: BTreeMap<String, End>,
    fence: u64,
}

impl Promised {
    pub fn hear(&mut self, said: &Said) {
        match said {
            Said::Enqueued(ids) => self.enqueued.extend(ids.iter().cloned()),
            Said::Ended(ends) => self.ended.extend(ends.iter().cloned()),
            Said::Claimed(fence) => self.fence = self.fence.max(*fence),
        }
    }

    pub fn count(&self) -> usize {
        self.enqueued.len() + self.ended.len()
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
    let states = states(store).await.map_err(damaged)?;
    let census = store.census().await.map_err(damaged)?;
    let lost = lost(&states, promised, story);
    if !lost.is_empty() {
        return Err(Found::Lost(lost));
    }
    add_up(&states, &census).and_then(|()| calls_are_whole(&states, story)).map_err(Found::Wrong)?;
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

async fn states(store: &SqliteStore) -> Result<BTreeMap<String, JobState>, windlass::StoreError> {
    let (mut states, mut after) = (BTreeMap::new(), None);
    loop {
        let page = store.list(&JobFilter::default(), after, 1000).await?;
        states.extend(page.items.iter().map(|job| (job.spec.id.to_string(), job.state)));
        after = page.next;
        if after.is_none() {
            return Ok(states);
        }
    }
}

/// What callers were told and is not so. A job whose end was under way may have come to it.
fn lost(states: &BTreeMap<String, JobState>, promised: &Promised, story: &Story) -> Vec<String> {
    let alive = [JobState::Pending, JobState::Running];
    let mut lost = Vec::new();
    for id in &promised.enqueued {
        let found = states.get(id).map_or(End::Gone, |state| End::In(*state));
        let right = match promised.ended.get(id) {
            Some(end) => found == *end,
            None => alive.map(End::In).contains(&found) || story.ends.get(id) == Some(&found),
        };
        if !right {
            lost.push(format!("{id}: {found:?}, and {:?} was told", promised.ended.get(id)));
        }
    }
    lost
}

fn add_up(states: &BTreeMap<String, JobState>, census: &Census) -> Result<(), String> {
    let mut by_state = [0; 9];
    for queue in &census.queues {
        for (sum, count) in by_state.iter_mut().zip(queue.by_state) {
            *sum += count;
        }
    }
    let mut found = [0; 9];
    states.values().for_each(|state| found[state.code() as usize] += 1);
    let sum: u64 = found.iter().sum();
    if by_state != found || census.enqueued != sum + census.removed {
        return Err(format!("the numbers are {census:?}, and there are {found:?}"));
    }
    Ok(())
}

/// Of each call that enqueued, all jobs are there or none.
fn calls_are_whole(states: &BTreeMap<String, JobState>, story: &Story) -> Result<(), String> {
    for call in &story.calls {
        let stays = |id: &&String| story.ends.get(*id) != Some(&End::Gone);
        let there: Vec<bool> = call.iter().filter(stays).map(|id| states.contains_key(id)).collect();
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
    let states = states(store).await.map_err(failed)?;
    let count = |state: JobState| states.values().filter(|found| **found == state).count();
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
