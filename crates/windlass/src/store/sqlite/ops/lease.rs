//! Renews leases. One row holds all jobs of a claim; only those that are named are renewed.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension, params};

use super::{Done, Step, sql};
use crate::{
    job::{Lease, Monotonic},
    store::{ExtendRequest, sqlite::rows::IdColumn},
};

pub(in super::super) fn extend(step: &mut Step<'_>, request: &ExtendRequest) -> Done<Vec<Lease>> {
    step.counters.stamp(&step.clock, request.lease, request.ran_late);
    let mut lost = Vec::new();
    let mut named: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    for lease in &request.leases {
        match held(step, lease)? {
            Some((seq, held_by)) => drop(named.entry(held_by).or_default().insert(seq)),
            None => lost.push(lease.clone()),
        }
    }
    for (lease, seqs) in named {
        renew(step, lease, &seqs, request)?;
    }
    Ok(lost)
}

/// The job and the lease that holds it, if this fence is its newest.
fn held(step: &Step<'_>, lease: &Lease) -> Done<Option<(i64, i64)>> {
    let mut statement = step.conn.prepare_cached(sql!("lease_find"))?;
    let row = params![IdColumn(&lease.id), lease.fence.0 as i64];
    Ok(statement.query_row(row, |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

fn renew(step: &mut Step<'_>, lease: i64, seqs: &BTreeSet<i64>, request: &ExtendRequest) -> Done<()> {
    let members: i64 = step.conn.prepare_cached(sql!("lease_members"))?.query_row([lease], |row| row.get(0))?;
    let until: Monotonic = step.clock.mono.after(request.lease);
    let mut renewed = lease;
    if members != seqs.len() as i64 {
        // Only the named are renewed: they go under a lease of their own, the others keep the old one.
        renewed = step.next_fence();
        for seq in seqs {
            step.conn.prepare_cached(sql!("lease_move"))?.execute(params![seq, renewed])?;
        }
    }
    let row = params![renewed, request.server, &*step.clock.boot, until.0];
    step.conn.prepare_cached(sql!("lease_put"))?.execute(row)?;
    Ok(())
}
