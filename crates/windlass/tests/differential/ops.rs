//! What can happen to a store, in small numbers, so that random histories meet each other often: few ids, few keys,
//! two queues, three kinds, two servers. Durations are odd, so that no two moments fall together by chance.

use std::time::Duration;

use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*};
use windlass::{
    Action, DeadReason, JobOptions, JobState as State, Line, News, Progress, Start, Timestamp, UniqueBy, Verdict,
    store::Prune,
};

use super::pair::{LockOp, ScheduleOp, lock_op, schedule_op};

pub(crate) const QUEUES: [&str; 2] = ["default", "low"];
pub(crate) const KINDS: [&str; 3] = ["mail:send", "mail:read", "image"];
/// Groups: the first two of the first queue.
pub(crate) const GROUPS: [&str; 2] = ["digest", "digests"];
/// What a claim or a server may handle.
pub(crate) const HANDLES: [&[&str]; 4] = [&["*"], &["mail:*"], &["image"], &["mail:send", "image"]];

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Enqueue(Vec<New>),
    Claim(Ask),
    ClaimAgain { server: usize },
    Extend { picks: Vec<usize>, ran_late: bool },
    Finish(Vec<End>),
    Report(Vec<(usize, Said)>),
    Promote { limit: u32 },
    Rescue { poison_after: u32, ran_late: bool },
    Operate { job: usize, action: Action },
    Pause { queue: usize, paused: bool },
    Prune(Prune),
    Advance(Duration),
    StepWall { seconds: i64 },
    Reboot,
    Beat { server: usize, handles: usize },
    Leave { server: usize },
    Sweep,
    ReadCancelLog,
    ReadGroup { group: usize, limit: u32 },
    Flush { back: usize, into: New },
    AskFlush { group: usize },
    DeleteMembers { group: usize, limit: u32 },
    List { state: usize, kind: Option<usize>, tagged: bool, limit: u32 },
    Lock(LockOp),
    Schedule(ScheduleOp),
}

/// A job to enqueue.
#[derive(Clone, Debug)]
pub(crate) struct New {
    /// One of a few ids that come again, or a new one.
    pub(crate) id: Option<u8>,
    pub(crate) kind: usize,
    pub(crate) queue: usize,
    pub(crate) priority: i32,
    pub(crate) start: Start,
    pub(crate) retention: Duration,
    pub(crate) unique: Option<Key>,
    pub(crate) tenant: bool,
    pub(crate) tagged: bool,
    pub(crate) group: Option<usize>,
}

#[derive(Clone, Debug)]
pub(crate) enum Key {
    UntilDone(u8),
    Idempotency(u8, Duration),
}

/// A claim.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) server: usize,
    pub(crate) limit: u32,
    /// Of them at most so many that are not quick.
    pub(crate) slots: u32,
    pub(crate) quick: Option<usize>,
    /// The quota of each queue, and which of them comes first.
    pub(crate) quotas: [u32; 2],
    pub(crate) low_first: bool,
    pub(crate) handles: usize,
    pub(crate) room: Option<u32>,
    pub(crate) suspect: bool,
    pub(crate) lease: Duration,
}

/// The report of one run.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) pick: usize,
    pub(crate) verdict: Verdict,
    pub(crate) error: bool,
    pub(crate) result: Option<u8>,
    pub(crate) then: Option<New>,
    pub(crate) ran: Duration,
    pub(crate) news: Option<Said>,
}

/// What a run says; its numbers come again and late.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    number: u64,
    progress: Option<u8>,
    checkpoint: Option<u8>,
    lines: u8,
}

impl Said {
    pub(crate) fn news(&self) -> News {
        let line = |line| Line::new(Timestamp::from_micros(7), format!("line {line}"));
        News {
            number: self.number,
            progress: self.progress.map(|part| Progress::new(f64::from(part) / 255.0, "under way")),
            checkpoint: self.checkpoint.map(|byte| Bytes::copy_from_slice(&[byte])),
            lines: (0..self.lines).map(line).collect(),
        }
    }
}

/// Histories of this many steps.
pub(crate) fn history(steps: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Op>> {
    vec(op(), steps)
}

/// Histories of locks, and of what may end a hold.
pub(crate) fn of_locks(steps: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        12 => lock_op().prop_map(Op::Lock),
        5 => span(30).prop_map(Op::Advance),
        1 => (-7200..7200i64).prop_map(|seconds| Op::StepWall { seconds }),
        1 => Just(Op::Reboot),
        1 => Just(Op::Prune(Prune::Expired)),
    ];
    vec(op, steps)
}

/// Histories of schedules, and of what becomes of their jobs.
pub(crate) fn of_schedules(steps: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Op>> {
    vec(prop_oneof![2 => schedule_op().prop_map(Op::Schedule), 1 => op()], steps)
}

fn op() -> impl Strategy<Value = Op> {
    let picks = vec(any::<usize>(), 0..4);
    prop_oneof![
        6 => vec(new(), 1..5).prop_map(Op::Enqueue),
        6 => ask().prop_map(Op::Claim),
        1 => (0..2usize).prop_map(|server| Op::ClaimAgain { server }),
        3 => (picks, any::<bool>()).prop_map(|(picks, late)| Op::Extend { ran_late: late && picks.len() == 1, picks }),
        5 => vec(end(), 1..4).prop_map(Op::Finish),
        3 => vec((any::<usize>(), said()), 1..4).prop_map(Op::Report),
        3 => (1..6u32).prop_map(|limit| Op::Promote { limit }),
        4 => (2..4u32, 0..8u8).prop_map(|(poison_after, late)| Op::Rescue { poison_after, ran_late: late == 0 }),
        3 => (any::<usize>(), action()).prop_map(|(job, action)| Op::Operate { job, action }),
        1 => (0..2usize, any::<bool>()).prop_map(|(queue, paused)| Op::Pause { queue, paused }),
        1 => prune().prop_map(Op::Prune),
        5 => of_groups(),
        6 => span(40).prop_map(Op::Advance),
        1 => (-7200..7200i64).prop_map(|seconds| Op::StepWall { seconds }),
        1 => Just(Op::Reboot),
        2 => (0..2usize, 0..HANDLES.len()).prop_map(|(server, handles)| Op::Beat { server, handles }),
        1 => (0..2usize).prop_map(|server| Op::Leave { server }),
        2 => Just(Op::Sweep),
        1 => Just(Op::ReadCancelLog),
        1 => (0..State::ALL.len(), option::of(0..KINDS.len()), any::<bool>(), 1..5u32)
            .prop_map(|(state, kind, tagged, limit)| Op::List { state, kind, tagged, limit }),
        2 => lock_op().prop_map(Op::Lock),
        2 => schedule_op().prop_map(Op::Schedule),
    ]
}

/// What aggregators and operators do: readings are flushed at once, later, twice or not at all.
fn of_groups() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..GROUPS.len(), 1..5u32).prop_map(|(group, limit)| Op::ReadGroup { group, limit }),
        4 => (0..3usize, new()).prop_map(|(back, into)| Op::Flush { back, into }),
        1 => (0..GROUPS.len()).prop_map(|group| Op::AskFlush { group }),
        1 => (0..GROUPS.len(), 1..3u32).prop_map(|(group, limit)| Op::DeleteMembers { group, limit }),
    ]
}

/// Up to this many times 137 ms: no sum of them soon meets a whole second.
fn span(most: u32) -> impl Strategy<Value = Duration> {
    (0..=most).prop_map(|units| Duration::from_millis(137) * units)
}

pub(crate) fn new() -> impl Strategy<Value = New> {
    let place = (0..KINDS.len(), 0..QUEUES.len(), -1..2i32);
    let extras = (any::<bool>(), any::<bool>(), option::weighted(0.3, 0..GROUPS.len()));
    let retention = prop_oneof![Just(Duration::ZERO), Just(Duration::from_secs(20))];
    (option::weighted(0.3, 0..8u8), place, start(), retention, option::weighted(0.3, key()), extras).prop_map(
        |(id, (kind, queue, priority), start, retention, unique, (tenant, tagged, group))| New {
            id,
            kind,
            queue,
            priority,
            start,
            retention,
            unique,
            tenant,
            tagged,
            group,
        },
    )
}

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![
        4 => Just(Start::Now),
        2 => span(60).prop_map(Start::In),
        1 => (-100..100i64).prop_map(|seconds| Start::At(Timestamp::from_micros((1_767_225_600 + seconds) * 1_000_000))),
    ]
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![(0..3u8).prop_map(Key::UntilDone), (0..3u8, span(80)).prop_map(|(key, ttl)| Key::Idempotency(key, ttl)),]
}

fn ask() -> impl Strategy<Value = Ask> {
    let lease = prop_oneof![Just(Duration::from_secs(10)), Just(Duration::from_secs(4))];
    let shares = ([0..6u32, 0..6u32], any::<bool>());
    let limits = (0..6u32, 0..8u32, option::of(0..KINDS.len()));
    (0..2usize, limits, shares, 0..HANDLES.len(), option::of(0..3u32), 0..4u8, lease).prop_map(
        |(server, (limit, slots, quick), (quotas, low_first), handles, room, suspect, lease)| Ask {
            server,
            limit: limit.max(u32::from(suspect == 0)),
            slots: slots.max(u32::from(suspect == 0)),
            quick,
            quotas,
            low_first,
            handles,
            room,
            suspect: suspect == 0,
            lease,
        },
    )
}

fn end() -> impl Strategy<Value = End> {
    let left = (any::<bool>(), option::of(any::<u8>()), option::weighted(0.2, new()), option::weighted(0.3, said()));
    (any::<usize>(), verdict(), left, span(20)).prop_map(|(pick, verdict, (error, result, then, news), ran)| End {
        pick,
        verdict,
        error,
        result,
        then,
        ran,
        news,
    })
}

fn said() -> impl Strategy<Value = Said> {
    // Now and then so many lines that the oldest have to go.
    let lines = prop_oneof![3 => 0..3u8, 1 => 40..120u8];
    (1..5u64, option::of(any::<u8>()), option::of(any::<u8>()), lines)
        .prop_map(|(number, progress, checkpoint, lines)| Said { number, progress, checkpoint, lines })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        3 => Just(Verdict::Complete),
        3 => span(40).prop_map(Verdict::RetryIn),
        2 => span(40).prop_map(Verdict::Snooze),
        2 => Just(Verdict::Release),
        1 => prop_oneof![Just(DeadReason::Exhausted), Just(DeadReason::Deadline)].prop_map(Verdict::Bury),
        1 => Just(Verdict::Cancel("the handler said so".into())),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => Just(Action::Cancel { reason: "the operator said so".into() }),
        3 => Just(Action::Redrive),
        2 => Just(Action::Bury),
        1 => Just(Action::Delete),
        1 => Just(Action::RunNow),
        1 => any::<[u8; 3]>().prop_map(|bytes| Action::Edit { payload: Bytes::copy_from_slice(&bytes) }),
        1 => start().prop_map(|start| Action::Reschedule { start }),
    ]
}

/// Whole sweeps only: which jobs a limited one takes first is the store's own affair.
fn prune() -> impl Strategy<Value = Prune> {
    prop_oneof![
        3 => Just(Prune::Expired),
        1 => (span(100), vec(0..State::ALL.len(), 0..3)).prop_map(|(than, states)| Prune::Older {
            than,
            states: states.into_iter().map(|state| State::ALL[state]).collect(),
        }),
    ]
}

impl New {
    /// Its options; `fresh` names it when it brings no id.
    pub(crate) fn options(&self, fresh: usize) -> JobOptions {
        let id = self.id.map_or_else(|| format!("fresh-{fresh}"), |id| format!("again-{id}"));
        let mut options =
            JobOptions::new().id(id).queue(QUEUES[self.queue]).priority(self.priority).retention(self.retention);
        options = match &self.unique {
            Some(Key::UntilDone(key)) => options.unique(UniqueBy::until_done(key)),
            Some(Key::Idempotency(key, ttl)) => options.unique(UniqueBy::idempotency(key, *ttl)),
            None => options,
        };
        if self.tenant {
            options = options.tenant("acme");
        }
        if let Some(group) = self.group {
            options = options.group(GROUPS[group]);
        }
        if self.tagged { options.tag("tagged") } else { options }
    }
}
