//! What tests bring along (feature `testing`). Nothing here reads the real clock.
//!
//! | to test | take |
//! | --- | --- |
//! | a program that enqueues and handles jobs | [`Kit`]: a store, a clock, runs on demand |
//! | what is in line, on any client | [`enqueued`], [`assert_enqueued`], [`refute_enqueued`] |
//! | one handler | [`Kit::perform`] |
//! | what happens when the store fails | [`FaultyStore`], over any store |
//! | a store of your own | [`ManualClock`], [`job()`], and the feature `conformance` |
//! | whole fleets, with crashes and frozen processes | [`World`], [`Process`], [`Network`] |

mod drive;
mod enqueued;
mod faulty;
mod jobs;
mod kit;
mod layer;
mod manual;
mod perform;
mod planned;
mod world;

pub use self::{
    drive::Drained,
    enqueued::{EnqueuedJob, assert_enqueued, enqueued, refute_enqueued},
    faulty::{Faults, FaultyStore, Network},
    jobs::{JobBuilder, job},
    kit::{Kit, KitBuilder},
    layer::{Layer, Layered},
    manual::ManualClock,
    perform::Performed,
    planned::Call,
    world::{Process, World},
};
