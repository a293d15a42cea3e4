//! The contract's calls, put together from scripts on single queues.

pub(super) mod calm;
pub(super) mod cancel;
pub(super) mod claim;
pub(super) mod cluster;
pub(super) mod enqueue;
pub(super) mod finish;
pub(super) mod gather;
pub(super) mod groups;
mod heal;
pub(super) mod lease;
pub(super) mod list;
pub(super) mod locks;
pub(super) mod open;
pub(super) mod operate;
pub(super) mod promote;
pub(super) mod prune;
pub(super) mod read;
pub(super) mod report;
pub(super) mod runs;
pub(super) mod scan;
pub(super) mod tallies;
pub(super) mod unknown;

use super::{Held, Shared, arg, encode, pack, record, reply, scripts};
