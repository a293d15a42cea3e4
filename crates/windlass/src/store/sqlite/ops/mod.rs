//! The operations: plain functions over a [`Step`]. They are tried again when another operation of the same
//! transaction fails, so they take what they need by reference and keep nothing.

mod change;
pub(super) mod claim;
pub(super) mod cluster;
pub(super) mod enqueue;
pub(super) mod finish;
pub(super) mod groups;
pub(super) mod lease;
pub(super) mod locks;
pub(super) mod operate;
pub(super) mod promote;
pub(super) mod prune;
pub(super) mod read;
pub(super) mod report;
pub(super) mod schedules;
pub(super) mod sweep;

pub(super) use super::{fault::Done, step::Step, step::sql};
