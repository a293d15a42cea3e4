//! What tests bring along (feature `testing`): a place whose time moves by hand, jobs made in one line, a simulated
//! host with processes that freeze and die, and a network that loses and delays.
//! For tests of stores, servers and of users' own code. Nothing here reads the real clock.

mod faulty;
mod jobs;
mod layer;
mod manual;
mod world;

pub use self::{
    faulty::{Faults, FaultyStore, Network},
    jobs::{JobBuilder, job},
    layer::{Layer, Layered},
    manual::ManualClock,
    world::{Process, World},
};
