//! What servers say of themselves.

use rusqlite::params;

use super::{Done, Step, sql};
use crate::job::ServerId;

pub(in super::super) fn beat(step: &mut Step<'_>, server: ServerId, body: &str) -> Done<()> {
    step.conn.prepare_cached(sql!("server_beat"))?.execute(params![server, step.now(), body])?;
    Ok(())
}

pub(in super::super) fn leave(step: &mut Step<'_>, server: ServerId) -> Done<()> {
    step.conn.prepare_cached(sql!("server_leave"))?.execute([server])?;
    step.conn.prepare_cached(sql!("claim_close"))?.execute(params![server, step.clock.mono.0])?;
    Ok(())
}
