//! The conformance suite (feature `conformance`): what every store must do, one file per behaviour area.
//!
//! There are no capability switches: each store runs every fact. A store's tests are one line:
//!
//! ```ignore
//! mod memory {
//!     use windlass::{conformance::Opened, store::memory::MemoryStore};
//!     windlass::conformance_tests!(|env| async { Opened::new(MemoryStore::new(env)) });
//! }
//! ```
//!
//! Each fact gets a new store, whose time only its [`Bench`] moves, and panics when the store does otherwise.

#![allow(missing_docs, reason = "the name of a fact is what it says")]

mod bench;
mod list;

pub mod cancel;
pub mod claim;
pub mod cluster;
pub mod dropped;
pub mod enqueue;
pub mod exclusive;
pub mod fields;
pub mod finish;
pub mod flood;
pub mod groups;
pub mod history;
pub mod inspect;
pub mod leases;
pub mod locks;
pub mod operate;
pub mod promote;
pub mod prune;
pub mod reports;
pub mod rescue;
pub mod schedules;
pub mod suspects;
pub mod unique;
pub mod wakeups;

pub use self::bench::{Bench, DAY, HOUR, LEASE, MINUTE, Opened, POISON_AFTER, REACHABLE, SECOND, rules};
use crate::env::BoxFuture;

/// One fact of the suite.
#[derive(Clone, Copy)]
pub struct Fact {
    /// The behaviour area.
    pub area: &'static str,
    /// What must hold.
    pub name: &'static str,
    /// Panics when it does not.
    pub check: fn(Bench) -> BoxFuture<()>,
}

macro_rules! table {
    (() $($area:ident { $($fact:ident,)* })*) => {
        /// All facts.
        pub const FACTS: &[Fact] = &[$($(
            Fact {
                area: stringify!($area),
                name: stringify!($fact),
                check: |bench| Box::pin($area::$fact(bench)),
            },
        )*)*];
    };
}

crate::__conformance_facts!(table,);

/// Makes one test of each fact, for the store that this factory makes: `Fn(Env) -> impl Future<Output = Opened>`.
///
/// ```
/// use windlass::{Env, conformance::Opened, store::memory::MemoryStore};
///
/// async fn memory(env: Env) -> Opened {
///     Opened::new(MemoryStore::new(env))
/// }
/// windlass::conformance_tests!(memory);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! conformance_tests {
    ($factory:expr) => {
        $crate::__conformance_facts!($crate::__conformance_tests, $factory);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    (($factory:expr) $($area:ident { $($fact:ident,)* })*) => {
        $(
            mod $area {
                #[allow(unused_imports)]
                use super::*;

                $(
                    #[tokio::test]
                    async fn $fact() {
                        let bench = $crate::conformance::Bench::open($factory).await;
                        $crate::conformance::$area::$fact(bench).await;
                    }
                )*
            }
        )*
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::FACTS;

    /// The files of the areas, as they stand.
    const FILES: &[(&str, &str)] = &[
        ("enqueue", include_str!("enqueue.rs")),
        ("fields", include_str!("fields.rs")),
        ("unique", include_str!("unique.rs")),
        ("claim", include_str!("claim.rs")),
        ("suspects", include_str!("suspects.rs")),
        ("leases", include_str!("leases.rs")),
        ("rescue", include_str!("rescue.rs")),
        ("finish", include_str!("finish.rs")),
        ("reports", include_str!("reports.rs")),
        ("promote", include_str!("promote.rs")),
        ("flood", include_str!("flood.rs")),
        ("groups", include_str!("groups.rs")),
        ("locks", include_str!("locks.rs")),
        ("operate", include_str!("operate.rs")),
        ("cancel", include_str!("cancel.rs")),
        ("history", include_str!("history.rs")),
        ("inspect", include_str!("inspect.rs")),
        ("prune", include_str!("prune.rs")),
        ("schedules", include_str!("schedules.rs")),
        ("exclusive", include_str!("exclusive.rs")),
        ("cluster", include_str!("cluster.rs")),
        ("wakeups", include_str!("wakeups.rs")),
        ("dropped", include_str!("dropped.rs")),
    ];

    #[test]
    fn the_list_names_every_fact_of_every_file() {
        let listed: BTreeSet<_> = FACTS.iter().map(|fact| (fact.area, fact.name)).collect();
        let mut written = BTreeSet::new();
        for (area, text) in FILES {
            let names = text.lines().filter_map(|line| line.strip_prefix("pub async fn "));
            written.extend(names.filter_map(|rest| Some((*area, rest.split_once('(')?.0))));
        }
        assert_eq!(listed, written);
        assert_eq!(listed.len(), FACTS.len(), "a fact is listed twice");
    }
}
