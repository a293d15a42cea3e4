//! The client, the router and the server from the outside, on every store.
//!
//! Tests run on tokio's paused time (`place.rs`), so that hours pass in milliseconds and the same thing happens in
//! every run; those that block threads on purpose run on real time with short leases. Faults come from `faulty.rs`.

#![cfg(feature = "testing")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

#[macro_use]
mod place;
mod basics;
mod blocking;
mod breaker;
mod budget;
mod cancel;
mod client;
mod codec;
mod crash;
mod events;
mod exclusive;
mod faulty;
mod flood;
mod groups;
mod limits;
mod log;
mod outcomes;
mod reports;
mod router;
mod schedules;
#[cfg(any(feature = "redis", feature = "postgres"))]
#[path = "../servers/mod.rs"]
mod servers;
mod shutdown;
mod stream;
mod timeouts;
#[cfg(feature = "tower")]
mod tower;
mod trouble;
mod waiting;
