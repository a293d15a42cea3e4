//! Go's Asynq and this store on the same queues: its own client, server, inspector and scheduler (`interop/`) against
//! ours. Where Go is missing this says so and checks nothing; in CI its absence fails.
#![cfg(all(feature = "redis", feature = "testing"))]

mod archive;
mod cancel;
mod defects;
mod exclusive;
mod fence;
mod ghosts;
mod groups;
mod jobs;
mod keys;
mod kinds;
mod mixed;
mod monitor;
mod operators;
mod options;
mod periodic;
#[path = "../servers/mod.rs"]
mod servers;
mod sides;
mod unique;

use sides::{Both, Go, both, queue};
