//! The contract's calls, each one statement or one call of a function.

pub(super) mod claim;
pub(super) mod cluster;
pub(super) mod copy;
pub(super) mod enqueue;
pub(super) mod finish;
pub(super) mod gather;
pub(super) mod groups;
pub(super) mod lease;
pub(super) mod list;
pub(super) mod locks;
pub(super) mod operate;
pub(super) mod promote;
pub(super) mod prune;
pub(super) mod read;
pub(super) mod schedules;
pub(super) mod tallies;

use super::{Shared, encode, rows};
