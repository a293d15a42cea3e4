//! Puts due jobs into line, the earliest first over all queues, and no more of a queue than should stand there.
//! Asynq's list is one line for all kinds. So a queue has two lines here: of those with a priority above zero, and of the
//! others.

use std::time::Duration;

use super::{
    Shared, arg,
    reply::{list, number, odd},
    scripts,
};
use crate::{
    decide::flood::{Due, DueLine, choose},
    job::QueueName,
    store::{Claim, ClaimRequest, PromoteRules, Promoted, Result},
};

/// The most jobs of one script: Redis serves nobody else meanwhile.
const MOST: u32 = 100;
/// So long after claims have begun to find nothing in a queue's full line that they may take, more comes in.
const IDLE: Duration = Duration::from_secs(1);
/// How often it is looked whom holders of exclusive keys block that are none any more: at each promotion of those that come
/// every second by themselves.
const UNBLOCK_EVERY: Duration = Duration::from_millis(900);

pub(in super::super) async fn promote(store: &Shared, rules: &PromoteRules) -> Result<Promoted> {
    let (mut promoted, mut first) = (Promoted::default(), true);
    let mut rules = rules.clone();
    loop {
        let limit = rules.limit;
        rules.limit = limit.min(MOST);
        let (round, moved_of) = promote_round(store, &rules, first).await?;
        first = false;
        promoted = Promoted { moved: promoted.moved + round.moved, ..round };
        rules.limit = limit - round.moved.min(limit);
        for (queue, moved) in moved_of {
            if let Some(beyond) = rules.beyond.get_mut(&queue) {
                *beyond = beyond.saturating_sub(moved);
            }
        }
        if rules.limit == 0 || round.moved == 0 || round.next_due != Some(Duration::ZERO) {
            break;
        }
    }
    if promoted.moved > 0 {
        store.waker.wake();
    }
    Ok(promoted)
}

/// A queue as a look at it found it, and what is known of it since.
struct Seen {
    queue: QueueName,
    looked: Looked,
    lines: [DueLine; 2],
}

/// Looks at every queue, and moves those that are due first: up to the limit, as far as there is room. The first round
/// looks after those who are blocked, too.
async fn promote_round(store: &Shared, rules: &PromoteRules, first: bool) -> Result<(Promoted, Vec<(QueueName, u32)>)> {
    let mut seen = Vec::new();
    for queue in store.all_queues().await? {
        match ask(store, &queue, None).await {
            Ok(looked) => {
                let lines = rooms(store, rules, seen.len(), &queue, &looked);
                seen.push(Seen { queue, looked, lines });
            }
            Err(error) => store.pass_over(&queue, error)?,
        }
    }
    if first {
        unblock(store, &seen).await?;
    }
    let chosen = choose_due(rules, &seen);
    let (mut promoted, mut moved_of) = (Promoted::default(), Vec::new());
    for (place, of) in seen.iter_mut().enumerate() {
        let many = [0, 1].map(|line| chosen.iter().filter(|due| due.line == 2 * place + line).count() as u32);
        if many != [0, 0] {
            match ask(store, &of.queue, Some(many)).await {
                Ok(moved) => {
                    promoted.moved += moved.moved;
                    moved_of.push((of.queue.clone(), moved.moved));
                    of.looked = moved;
                    of.lines = rooms(store, rules, place, &of.queue, &of.looked);
                }
                Err(error) => {
                    // It would be due at once, for ever.
                    of.looked = Looked::default();
                    store.pass_over(&of.queue, error)?;
                }
            }
        }
    }
    for of in &seen {
        let waits = if !of.looked.any_due {
            of.looked.next
        } else if promoted.moved > 0 && of.lines.iter().any(|line| line.room > 0) {
            Some(Duration::ZERO)
        } else {
            promoted.held_back = true;
            of.looked.next
        };
        promoted.next_due = promoted.next_due.into_iter().chain(waits).min();
    }
    Ok((promoted, moved_of))
}

/// Lets in who is blocked by what Go has ended or put off. Our own ends do that by themselves, so it is enough to look each
/// second, however often a promotion is asked for; after a look that found somebody, at once.
async fn unblock(store: &Shared, seen: &[Seen]) -> Result<()> {
    let now = store.env.monotonic();
    let lately = store.unblocked.lock().is_some_and(|last| now.since(last) < UNBLOCK_EVERY);
    if lately || !seen.iter().any(|of| of.looked.blocked) {
        return Ok(());
    }
    let mut again = false;
    for of in seen.iter().filter(|of| of.looked.blocked) {
        match store.on(&of.queue, &scripts::UNBLOCK, []).await {
            Ok(answer) => {
                let answer = list(answer)?.iter().map(number).collect::<Result<Vec<_>>>()?;
                let &[let_in, more] = &answer[..] else { return Err(odd("an unblocking")) };
                again |= more > 0;
                if let_in > 0 {
                    store.waker.wake();
                }
            }
            Err(error) => store.pass_over(&of.queue, error)?,
        }
    }
    *store.unblocked.lock() = (!again).then_some(now);
    Ok(())
}

fn choose_due(rules: &PromoteRules, seen: &[Seen]) -> Vec<Due> {
    let due = seen.iter().enumerate().flat_map(|(place, of)| {
        of.looked.due.iter().map(move |(at, seq, urgent)| Due {
            at: *at,
            seq: *seq,
            line: 2 * place + usize::from(!urgent),
        })
    });
    let lines: Vec<_> = seen.iter().flat_map(|of| of.lines).collect();
    let beyond: Vec<_> = seen.iter().map(|of| rules.beyond.get(&of.queue).copied().unwrap_or(0)).collect();
    choose(due.collect(), &lines, &beyond, rules.limit)
}

/// How many more may come into the lines of a queue: the urgent one, and that of the others.
fn rooms(store: &Shared, rules: &PromoteRules, place: usize, queue: &QueueName, looked: &Looked) -> [DueLine; 2] {
    let [urgent, mut others] = looked.standing.map(|many| rules.look_ahead.saturating_sub(many));
    // The list may be full of kinds that nobody takes now, and those who could take others find none: some of what is
    // behind them comes in.
    if others == 0 && looked.any_due && long_idle(store, queue) {
        others = rules.look_ahead;
    }
    [urgent, others].map(|room| DueLine { queue: place, room })
}

/// Notes of which queues a claim found something, and of which nothing.
pub(super) fn note_claim(store: &Shared, request: &ClaimRequest, claim: &Claim) {
    if request.limit == 0 || request.suspect {
        return;
    }
    let now = store.env.monotonic();
    let mut idle = store.idle.lock();
    for job in &claim.jobs {
        idle.remove(&job.spec.queue);
    }
    if claim.jobs.is_empty() {
        for share in &request.shares {
            idle.entry(share.queue.clone()).or_insert(now);
        }
    }
}

/// Whether claims have found nothing for long; then it is counted anew.
fn long_idle(store: &Shared, queue: &QueueName) -> bool {
    let now = store.env.monotonic();
    let mut idle = store.idle.lock();
    let since = idle.get_mut(queue).filter(|since| now.since(**since) >= IDLE);
    since.map(|since| *since = now).is_some()
}

#[derive(Default)]
struct Looked {
    moved: u32,
    /// In how long the next one is due that is not due yet.
    next: Option<Duration>,
    any_due: bool,
    standing: [u32; 2],
    /// Somebody waits for the holder of an exclusive key.
    blocked: bool,
    /// When the due ones were due, their places in the order of enqueueing, and whether they have a priority above zero.
    due: Vec<(i64, i64, bool)>,
}

/// Looks at a queue, or moves so many of its due jobs: urgent ones, and others.
async fn ask(store: &Shared, queue: &QueueName, moving: Option<[u32; 2]>) -> Result<Looked> {
    let [urgent, others] = moving.unwrap_or_default();
    let asked = [arg(u8::from(moving.is_some())), arg(urgent), arg(others)];
    let answer = list(store.on(queue, &scripts::PROMOTE, asked).await?)?;
    let [moved, next, any_due, urgent, others, blocked, due @ ..] = answer.as_slice() else {
        return Err(odd("a promotion"));
    };
    let many = |value| Ok::<_, crate::store::StoreError>(u32::try_from(number(value)?).unwrap_or(u32::MAX));
    let due = due.chunks_exact(3).map(|due| Ok((number(&due[0])?, number(&due[1])?, number(&due[2])? == 1)));
    Ok(Looked {
        moved: many(moved)?,
        next: u64::try_from(number(next)?).ok().map(Duration::from_micros),
        any_due: number(any_due)? == 1,
        standing: [many(urgent)?, many(others)?],
        blocked: number(blocked)? == 1,
        due: due.collect::<Result<_>>()?,
    })
}
