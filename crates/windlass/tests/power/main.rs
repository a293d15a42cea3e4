//! Power lost at any write on SQLite: what is acknowledged at `synchronous=FULL` is there afterwards, the file opens, and
//! its numbers are right. What `NORMAL` and `OFF` can lose is measured; docs/durability.md has the figures.
//!
//! `vfs.rs` records what SQLite does to its files while `work.rs` works; `disk.rs` plays the record up to a point, loses
//! what was not synced, or parts of it, in any order; `check.rs` opens what is left. A failure names its point and seed.
//!
//! WINDLASS_POWER_CUTS=N: that many points instead of the default (`all`: each write). WINDLASS_POWER_ROUNDS: more work.
#![cfg(all(unix, feature = "sqlite", feature = "testing"))]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod check;
mod disk;
mod vfs;
mod work;

use std::collections::BTreeSet;

use self::{
    check::{Found, Promised},
    disk::{Chance, Disk, Op},
    work::{Story, Twist},
};

/// Points of the run that proves the promise; the controls and measurements need fewer.
const CUTS: usize = 560;
const CUTS_OF_A_CONTROL: usize = 120;

/// What was found at all points of one story.
#[derive(Debug, Default)]
struct Tally {
    points: usize,
    damaged: usize,
    lossy: usize,
    /// The most things lost at one point, of how many that had been told.
    most_lost: (usize, usize),
    /// The first that should not be, in words.
    first: Option<String>,
    wrong: usize,
}

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or(usize::MAX))
}

async fn story(synchronous: &str) -> Story {
    twisted(synchronous, Twist::None).await
}

async fn twisted(synchronous: &str, twist: Twist) -> Story {
    work::record(synchronous, number("WINDLASS_POWER_ROUNDS").unwrap_or(40), twist).await
}

/// The points before and after each sync, then as many others as are wanted, evenly.
fn points(log: &[Op], wanted: usize) -> BTreeSet<usize> {
    let all: Vec<usize> = (0..=log.len()).filter(|at| !matches!(log.get(*at), Some(Op::Told(_)))).collect();
    let near = |at: &&usize| {
        let sync = |at: usize| matches!(log.get(at), Some(Op::Sync(_)));
        sync(**at) || at.checked_sub(1).is_some_and(sync)
    };
    let syncs: Vec<usize> = all.iter().filter(near).copied().collect();
    let spread = |from: &[usize], count: usize| {
        let count = count.min(from.len());
        (0..count).map(|n| from[n * from.len() / count]).collect::<BTreeSet<_>>()
    };
    let mut points = spread(&syncs, wanted / 2);
    points.extend(spread(&all, wanted - points.len()));
    points
}

/// Cuts the power at these points of a story, on a disk whose sync does something, or not.
async fn cut(story: &Story, honest: bool, wanted: usize) -> Tally {
    let (mut disk, mut promised, mut played) = (Disk::new(honest), Promised::default(), 0);
    let mut tally = Tally::default();
    for point in points(&story.log, wanted) {
        // What is told after the last write before the point has been told when the power goes.
        let told = story.log[point..].iter().take_while(|op| matches!(op, Op::Told(_))).count();
        for op in &story.log[played..point + told] {
            disk.play(op);
            if let Op::Told(what) = op {
                promised.hear(&story.said[*what]);
            }
        }
        played = point + told;
        let mut chance = Chance(point as u64);
        let luck = chance.luck();
        let image = disk.cut(luck, &mut chance);
        let found = check::look(&image, &promised, story).await;
        tally.note(found, promised.count(), || format!("at {point} of {}, {luck:?}", story.log.len()));
    }
    tally
}

impl Tally {
    fn note(&mut self, found: Result<(), Found>, told: usize, place: impl Fn() -> String) {
        self.points += 1;
        let Err(found) = found else { return };
        let what = match found {
            Found::Damaged(what) => {
                self.damaged += 1;
                format!("damaged: {what}")
            }
            Found::Wrong(what) => {
                self.wrong += 1;
                what
            }
            Found::Lost(lost) => {
                self.lossy += 1;
                self.most_lost = self.most_lost.max((lost.len(), told));
                lost.join("; ")
            }
        };
        self.first.get_or_insert_with(|| format!("{}: {what}", place()));
    }
}

#[tokio::test]
async fn at_full_nothing_acknowledged_is_lost_at_any_point() {
    let story = story("full").await;
    let wanted = number("WINDLASS_POWER_CUTS").unwrap_or(CUTS);
    let tally = cut(&story, true, wanted).await;
    println!("full: {tally:?} of {} writes and syncs", story.log.len());
    assert!(tally.points >= wanted.min(500), "{tally:?}");
    assert_eq!((tally.damaged, tally.lossy, tally.wrong), (0, 0, 0), "{}", tally.first.unwrap());
}

#[tokio::test]
async fn a_sync_that_does_nothing_is_caught() {
    let tally = cut(&story("full").await, false, CUTS_OF_A_CONTROL).await;
    assert!(tally.lossy + tally.damaged > 0, "{tally:?}");
}

#[tokio::test]
async fn a_note_that_is_not_synced_is_caught() {
    let tally = cut(&twisted("full", Twist::NotesUnsynced).await, true, CUTS_OF_A_CONTROL).await;
    assert_eq!((tally.damaged, tally.wrong), (0, 0), "{tally:?}");
    assert!(tally.lossy > 0 && tally.first.as_ref().is_some_and(|what| what.contains("was at")), "{tally:?}");
}

#[tokio::test]
async fn a_group_that_becomes_a_job_in_two_steps_is_caught() {
    let tally = cut(&twisted("full", Twist::FlushesInTwo).await, true, CUTS_OF_A_CONTROL).await;
    assert_eq!((tally.damaged, tally.lossy), (0, 0), "{tally:?}");
    assert!(tally.wrong > 0 && tally.first.as_ref().is_some_and(|what| what.contains("members")), "{tally:?}");
}

#[tokio::test]
async fn at_normal_the_file_stays_whole_and_the_newest_may_be_lost() {
    let tally = cut(&story("normal").await, true, CUTS_OF_A_CONTROL).await;
    println!("normal: {tally:?}");
    assert_eq!((tally.damaged, tally.wrong), (0, 0), "{}", tally.first.unwrap());
    assert!(tally.lossy > 0, "the control: without the sync the check finds a loss");
}

#[tokio::test]
async fn at_off_the_file_itself_may_be_damaged() {
    let tally = cut(&story("off").await, true, CUTS_OF_A_CONTROL).await;
    println!("off: {tally:?}");
    assert!(tally.damaged > 0 && tally.lossy > 0, "{tally:?}");
}
