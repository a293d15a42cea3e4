//! Decisions: plain functions from data and a moment to data. No clock, no store, no randomness but what is handed in.

pub mod breaker;
pub mod budget;
pub(crate) mod chance;
pub mod entry;
pub(crate) mod flood;
pub mod group;
pub mod lock;
pub mod operate;
pub(crate) mod pace;
pub mod queues;
pub mod rescue;
pub mod retention;
pub mod retry;
pub mod schedule;
pub mod ticks;
pub mod unique;
pub mod verdict;
