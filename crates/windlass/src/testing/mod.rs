//! What tests bring along (feature `testing`): a place whose time moves by hand, and jobs made in one line.
//! For tests of stores, servers and of users' own code. Nothing here reads the real clock.

mod jobs;
mod manual;

pub use self::{
    jobs::{JobBuilder, job},
    manual::ManualClock,
};
