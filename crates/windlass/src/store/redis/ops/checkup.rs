//! The health of the server: its version, what its memory does when it is full, what an acknowledged job survives,
//! whether it is a cluster's. Reads `INFO`, and decides by a plain function of it. The doctor shows all of it; opening
//! the store warns of what is amiss.

use super::{Shared, reply};
use crate::store::{Check, Result, redis::link::field};

/// Used of the most that it may use, in percent.
const MEMORY_HIGH: u64 = 90;

pub(in super::super) async fn checkup(store: &Shared) -> Result<Vec<Check>> {
    Ok(look(&reply::text(store.link.run(&redis::cmd("INFO")).await?)?))
}

/// What `INFO` says of the server's health.
pub(super) fn look(info: &str) -> Vec<Check> {
    let version = field(info, "redis_version").unwrap_or("unknown");
    let version = Check::ok("version", format!("Redis {version}, windlass {}", env!("CARGO_PKG_VERSION")));
    vec![version, role(info), memory(info), durability(info), cluster(info)]
}

fn role(info: &str) -> Check {
    match field(info, "role") {
        Some("slave") => Check::fail("role", "a replica, which takes no writes", "give the address of its primary"),
        role => Check::ok("role", role.unwrap_or("unknown")),
    }
}

fn memory(info: &str) -> Check {
    let number = |name| field(info, name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let (used, most) = (number("used_memory"), number("maxmemory"));
    let policy = field(info, "maxmemory_policy").unwrap_or("noeviction");
    let of = if most > 0 { format!(" of {} MiB", most >> 20) } else { ", without a limit".into() };
    let found = format!("{} MiB used{of}; when full: {policy}", used >> 20);
    if policy != "noeviction" {
        return Check::warn("memory", found, "it may evict jobs when it is full: set maxmemory-policy noeviction");
    }
    if most > 0 && used / (most / 100).max(1) >= MEMORY_HIGH {
        let advice =
            "make room, or raise maxmemory: a full server takes no new jobs (`windlass prune` removes ended ones)";
        return Check::warn("memory", found, advice);
    }
    Check::ok("memory", found)
}

fn durability(info: &str) -> Check {
    let is = |name, value| field(info, name) == Some(value);
    if is("aof_enabled", "0") {
        return Check::warn(
            "durability",
            "it keeps no log of writes: jobs since its last snapshot are lost if it dies",
            "set appendonly yes",
        );
    }
    if is("aof_last_write_status", "err") {
        return Check::fail("durability", "its log of writes cannot be written", "look at its disk and at its log");
    }
    Check::ok("durability", "it keeps a log of writes; how much of it survives a power loss is its appendfsync")
}

fn cluster(info: &str) -> Check {
    match field(info, "cluster_enabled") {
        Some("1") => Check::warn(
            "cluster",
            "it is a node of a cluster, and queues in the slots of other nodes are not reached",
            "use a server that is no cluster's",
        ),
        _ => Check::ok("cluster", "a server by itself"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Level;

    const WELL: &str = "redis_version:7.0.15\r\nrole:master\r\nused_memory:1048576\r\nmaxmemory:104857600\r\n\
        maxmemory_policy:noeviction\r\naof_enabled:1\r\naof_last_write_status:ok\r\ncluster_enabled:0\r\n";

    fn levels(info: &str) -> Vec<(&'static str, Level)> {
        look(info).into_iter().filter(|check| check.level > Level::Ok).map(|check| (check.name, check.level)).collect()
    }

    #[test]
    fn a_server_as_it_should_be_gives_no_advice() {
        assert_eq!(levels(WELL), []);
    }

    #[test]
    fn what_may_lose_jobs_or_takes_none_is_found() {
        let with = |was: &str, is: &str| {
            assert!(WELL.contains(was));
            levels(&WELL.replace(was, is))
        };
        assert_eq!(with("noeviction", "allkeys-lru"), [("memory", Level::Warn)]);
        assert_eq!(with("used_memory:1048576", "used_memory:99614720"), [("memory", Level::Warn)]);
        assert_eq!(with("aof_enabled:1", "aof_enabled:0"), [("durability", Level::Warn)]);
        assert_eq!(with("write_status:ok", "write_status:err"), [("durability", Level::Fail)]);
        assert_eq!(with("cluster_enabled:0", "cluster_enabled:1"), [("cluster", Level::Warn)]);
        assert_eq!(with("role:master", "role:slave"), [("role", Level::Fail)]);
    }
}
