//! Puts due jobs into line, and remembers where those stand that are held back.

use std::{collections::BTreeMap, time::Duration};

use tokio_postgres::{Row, types::Type};

use super::{Shared, rows};
use crate::{
    job::Monotonic,
    store::{PromoteRules, Promoted, Result, StoreError},
};

/// How soon after a look at all that waits the next one is due: what came in before a front (a transaction that took long
/// to commit) is found by it.
const WHOLE_EACH: Duration = Duration::from_secs(1);
/// And so many times as long as it took: it walks over the entries of all that have come into line.
const WHOLE_PAUSE: u32 = 20;

const CALL: &str = "SELECT p.*, EXISTS (SELECT 1 FROM windlass.unsettled) AS noted \
                    FROM windlass.promote_jobs($1, $2, $3, $4, $5, $6, $7, $8, $9) AS p";

/// Where the first due job of each stretch is that was held back, so that the next promotion need not walk over the
/// entries of those that came before.
#[derive(Default)]
pub(in super::super) struct Fronts {
    fronts: BTreeMap<i64, Front>,
    whole_again: Option<Monotonic>,
}

#[derive(Clone, Copy)]
struct Front {
    at: i64,
    seq: i64,
    /// The place before which nobody stands in line.
    from: i64,
}

impl Fronts {
    /// What the function is told of; a whole look knows only where the lines begin.
    fn told(&self, whole: bool) -> [Vec<i64>; 4] {
        let (mut stretches, mut ats, mut seqs, mut froms) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (stretch, front) in &self.fronts {
            stretches.push(*stretch);
            ats.push(if whole { i64::MIN } else { front.at });
            seqs.push(if whole { i64::MIN } else { front.seq });
            froms.push(front.from);
        }
        [stretches, ats, seqs, froms]
    }

    /// Notes what the function was told to begin at next.
    fn learn(&mut self, row: &Row) -> Result<()> {
        let numbers = |column| Ok::<_, StoreError>(rows::get::<Option<Vec<i64>>>(row, column)?.unwrap_or_default());
        let (stretches, ats) = (numbers("stretches")?, numbers("ats")?);
        let (seqs, froms) = (numbers("seqs")?, numbers("froms")?);
        let fronts = stretches.into_iter().zip(ats.into_iter().zip(seqs.into_iter().zip(froms)));
        self.fronts = fronts.map(|(stretch, (at, (seq, from)))| (stretch, Front { at, seq, from })).collect();
        Ok(())
    }
}

pub(in super::super) async fn promote(store: &Shared, rules: &PromoteRules) -> Result<Promoted> {
    let asked = store.clock.moment().asked;
    let (whole, [stretches, ats, seqs, froms]) = {
        let fronts = store.fronts.lock();
        let whole = fronts.whole_again.is_none_or(|again| asked >= again);
        (whole, fronts.told(whole))
    };
    let number = |many: u32| i32::try_from(many).unwrap_or(i32::MAX);
    let look_ahead = (rules.look_ahead < u32::MAX).then(|| number(rules.look_ahead));
    let queues: Vec<&str> = rules.beyond.keys().map(|queue| queue.as_str()).collect();
    let beyond: Vec<i32> = rules.beyond.values().copied().map(number).collect();
    let params = [
        (&store.clock.wall() as _, Type::INT8),
        (&number(rules.limit) as _, Type::INT4),
        (&look_ahead as _, Type::INT4),
        (&queues as _, Type::TEXT_ARRAY),
        (&beyond as _, Type::INT4_ARRAY),
        (&stretches as _, Type::INT8_ARRAY),
        (&ats as _, Type::INT8_ARRAY),
        (&seqs as _, Type::INT8_ARRAY),
        (&froms as _, Type::INT8_ARRAY),
    ];
    let row = store.link.row(CALL, &params).await?;
    let moved = rows::get::<i32>(&row, "moved")?;
    if moved >= 0 {
        let mut fronts = store.fronts.lock();
        fronts.learn(&row)?;
        if whole {
            let now = store.clock.moment().asked;
            fronts.whole_again = Some(now.after(WHOLE_EACH.max(now.since(asked) * WHOLE_PAUSE)));
        }
    }
    let mut promoted = Promoted {
        moved: u32::try_from(moved).unwrap_or(0),
        next_due: rows::get::<Option<i64>>(&row, "next_us")?.map(rows::duration),
        held_back: rows::get(&row, "held_back")?,
    };
    if rows::get(&row, "noted")? && settle_notes(store).await? {
        promoted.next_due = Some(Duration::ZERO);
    }
    Ok(promoted)
}

/// Lets in who is next of the exclusive keys that transactions of callers have left; whether there may be more.
// why: a step of its own, so that each step locks its keys once, in one order
async fn settle_notes(store: &Shared) -> Result<bool> {
    let row = store.link.row("SELECT * FROM windlass.settle_notes($1)", &[(&store.clock.wall(), Type::INT8)]).await?;
    if rows::get::<i32>(&row, "unblocked")? > 0 {
        store.tell();
    }
    rows::get(&row, "more")
}
