//! Removes what may go, in steps: jobs past their retention, keys past their window, old numbers, silent servers.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::{Shared, locks, rows};
use crate::{
    job::{State, micros},
    store::{Prune, Pruned, Result, postgres::link::Param},
};

/// How long minute buckets are kept.
const KEEP_BUCKETS_MINUTES: i64 = 35 * 24 * 60;
/// How many wishes to cancel are kept; servers read them twice a second. Not by age: a stepped clock takes none away.
const KEEP_WISHES: i64 = 10_000;
/// How long the last claim of a server that is gone is remembered: longer than any call of it is under way.
const KEEP_CLAIM: Duration = Duration::from_secs(60);
/// The most steps on parts of history at once that count no job: taking a part out, dropping an empty one.
const DAY_STEPS: u32 = 16;
/// How long silent servers are kept.
const KEEP_SERVERS: Duration = Duration::from_secs(24 * 3600);

pub(in super::super) async fn prune(store: &Shared, what: &Prune, limit: u32) -> Result<Pruned> {
    match what {
        Prune::Expired => {
            let others_left = others(store, limit).await? | locks::prune(store, limit).await?;
            let single = history(store, None, Duration::ZERO, limit).await?;
            let left = limit.saturating_sub(u32::try_from(single.removed).unwrap_or(u32::MAX));
            let whole = days(store, left).await?;
            Ok(Pruned { removed: single.removed + whole.removed, more: single.more || whole.more || others_left })
        }
        Prune::Older { than, states } => {
            let mut all = Pruned::default();
            for state in State::ALL.into_iter().filter(|state| state.is_terminal() && states.contains(state)) {
                let left = limit.saturating_sub(u32::try_from(all.removed).unwrap_or(u32::MAX));
                let pruned = history(store, Some(state), *than, left).await?;
                all = Pruned { removed: all.removed + pruned.removed, more: all.more || pruned.more };
            }
            Ok(all)
        }
    }
}

async fn history(store: &Shared, state: Option<State>, older: Duration, limit: u32) -> Result<Pruned> {
    let row = store
        .link
        .row(
            "SELECT removed, more FROM windlass.prune_history($1, $2, $3, $4)",
            &[
                (&store.clock.wall(), Type::INT8),
                (&state.map(|state| i16::from(state.code())), Type::INT2),
                (&micros(older), Type::INT8),
                (&number(limit), Type::INT4),
            ],
        )
        .await?;
    let removed = u64::try_from(rows::get::<i32>(&row, "removed")?).unwrap_or(0);
    Ok(Pruned { removed, more: rows::get(&row, "more")? })
}

/// Parts of history whose day is over; and those that will be needed are made.
async fn days(store: &Shared, limit: u32) -> Result<Pruned> {
    let mut whole = Pruned::default();
    for _ in 0..DAY_STEPS {
        let params: [Param<'_>; 2] = [(&store.clock.wall(), Type::INT8), (&number(limit), Type::INT4)];
        let row = store.link.row("SELECT removed, more FROM windlass.drop_days($1, $2)", &params).await?;
        let removed = u64::try_from(rows::get::<i32>(&row, "removed")?).unwrap_or(0);
        whole = Pruned { removed, more: rows::get(&row, "more")? };
        if removed > 0 || limit == 0 || !whole.more {
            break;
        }
    }
    let wall: [Param<'_>; 1] = [(&store.clock.wall(), Type::INT8)];
    store.link.row("SELECT windlass.make_days($1)", &wall).await?;
    Ok(whole)
}

/// What is no job. Says whether there may be more of it.
async fn others(store: &Shared, limit: u32) -> Result<bool> {
    let row = store
        .link
        .row(
            "SELECT windlass.prune_others($1, $2, $3, $4, $5, $6) AS more",
            &[
                (&store.clock.wall(), Type::INT8),
                (&KEEP_BUCKETS_MINUTES, Type::INT8),
                (&KEEP_WISHES, Type::INT8),
                (&micros(KEEP_SERVERS), Type::INT8),
                (&micros(KEEP_CLAIM), Type::INT8),
                (&number(limit), Type::INT4),
            ],
        )
        .await?;
    rows::get(&row, "more")
}

fn number(limit: u32) -> i32 {
    // One more is looked for.
    i32::try_from(limit).unwrap_or(i32::MAX).min(i32::MAX - 1)
}
