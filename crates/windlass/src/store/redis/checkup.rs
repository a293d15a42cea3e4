//! What a Redis says of itself: its version and role, whether it evicts, how full it is, what it keeps on disk. Plain
//! functions of its `INFO`; opening a store refuses what fails of it and warns of the rest, `windlass doctor` shows all.

use super::link::{RIGHTS, field};
use crate::store::{Check, Level, Result, StoreError};

/// The oldest version whose commands the scripts use.
const OLDEST: (u32, u32) = (6, 2);
/// Worth a word: new jobs are refused at 100 %.
const NEARLY_FULL: u64 = 80;

pub(super) fn checks(info: &str) -> Vec<Check> {
    [version, role, cluster, eviction, memory, durability].iter().map(|look| look(info)).collect()
}

/// Refuses a server that cannot be worked with. A full memory is no reason: what is there can still be worked off.
pub(super) fn refuse(checks: &[Check]) -> Result<()> {
    let unfit = |check: &&Check| check.level == Level::Fail && ["version", "role"].contains(&check.name);
    match checks.iter().find(unfit) {
        Some(Check { found, advice, .. }) => {
            let advice = advice.as_deref().unwrap_or_default();
            Err(StoreError::Unsupported(format!("{found}; {advice}")))
        }
        None => Ok(()),
    }
}

fn version(info: &str) -> Check {
    // Valkey gives the version of Redis that it is compatible with under the old name, and its own beside it.
    let version = field(info, "redis_version").unwrap_or("of an unknown version");
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < OLDEST {
        return Check::fail(
            "version",
            format!("this Redis is {version}"),
            "windlass needs Redis 6.2 or newer, or Valkey",
        );
    }
    Check::ok("version", format!("Redis {version}"))
}

fn role(info: &str) -> Check {
    if field(info, "role") == Some("slave") {
        return Check::fail("role", "this Redis is a replica", "give the address of its primary");
    }
    Check::ok("role", "it is a primary")
}

fn cluster(info: &str) -> Check {
    if field(info, "cluster_enabled") == Some("1") {
        let advice = "use a Redis without cluster mode: calls on a queue whose slot another node holds fail";
        return Check::warn("cluster", "this Redis is a node of a cluster, which windlass does not follow", advice);
    }
    Check::ok("cluster", "it is no node of a cluster")
}

fn eviction(info: &str) -> Check {
    let policy = field(info, "maxmemory_policy").unwrap_or("noeviction");
    if policy != "noeviction" {
        let found = format!("this Redis may evict jobs when its memory is full (maxmemory-policy {policy})");
        return Check::warn("eviction", found, "set maxmemory-policy noeviction");
    }
    Check::ok("eviction", "it evicts nothing")
}

fn memory(info: &str) -> Check {
    let number = |name| field(info, name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let (used, limit) = (number("used_memory"), number("maxmemory"));
    let found = match limit {
        0 => format!("{} MiB used, without a limit", used >> 20),
        _ => format!("{} of {} MiB used", used >> 20, limit >> 20),
    };
    let advice = "raise maxmemory, or remove what needs no keeping (windlass prune, a shorter retention)";
    match used.saturating_mul(100).checked_div(limit) {
        Some(100..) => Check::fail("memory", format!("{found}: new jobs are refused until there is room"), advice),
        Some(NEARLY_FULL..) => Check::warn("memory", found, advice),
        _ => Check::ok("memory", found),
    }
}

fn durability(info: &str) -> Check {
    if field(info, "aof_enabled") == Some("0") {
        let found = "this Redis keeps no log of writes: jobs since its last snapshot are lost if it dies";
        return Check::warn("durability", found, "set appendonly yes");
    }
    if field(info, "aof_last_write_status").is_some_and(|status| status != "ok") {
        return Check::fail("durability", "the last write to its log failed", "look at the disk of the Redis server");
    }
    Check::ok("durability", "it keeps a log of writes; appendfsync says how much of it a crash may cost")
}

/// Whether the user may publish, as was tried.
pub(super) fn hints(may_publish: bool) -> Check {
    if may_publish {
        return Check::ok("hints", "whoever waits for jobs is told of new ones");
    }
    let found = "this user may not publish: nobody is told of new jobs, and they wait until they are looked for";
    let advice = format!("grant the channels in the user's ACL, all in all: {RIGHTS}");
    Check::warn("hints", found, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "redis_version:7.0.15\r\nrole:master\r\ncluster_enabled:0\r\nmaxmemory_policy:noeviction\r\n\
                         used_memory:1048576\r\nmaxmemory:0\r\naof_enabled:1\r\naof_last_write_status:ok\r\n";

    fn levels(info: &str) -> Vec<(&'static str, Level)> {
        checks(info)
            .into_iter()
            .filter(|check| check.level != Level::Ok)
            .map(|check| (check.name, check.level))
            .collect()
    }

    #[test]
    fn a_sound_server_is_not_spoken_of() {
        assert_eq!(levels(SOUND), []);
    }

    #[test]
    fn each_trouble_is_named_with_advice() {
        let cases = [
            ("role:master", "role:slave", "role", Level::Fail),
            ("7.0.15", "6.0.16", "version", Level::Fail),
            ("cluster_enabled:0", "cluster_enabled:1", "cluster", Level::Warn),
            ("noeviction", "allkeys-lru", "eviction", Level::Warn),
            ("maxmemory:0", "maxmemory:1200000", "memory", Level::Warn),
            ("maxmemory:0", "maxmemory:1000000", "memory", Level::Fail),
            ("aof_enabled:1", "aof_enabled:0", "durability", Level::Warn),
            ("status:ok", "status:err", "durability", Level::Fail),
        ];
        for (sound, troubled, name, level) in cases {
            let info = SOUND.replace(sound, troubled);
            assert_eq!(levels(&info), [(name, level)], "{troubled}");
            assert!(checks(&info).iter().all(|check| check.level == Level::Ok || check.advice.is_some()));
            assert_eq!(refuse(&checks(&info)).is_err(), ["role", "version"].contains(&name), "{troubled}");
        }
    }

    #[test]
    fn a_server_that_says_nothing_of_its_version_is_refused() {
        assert!(refuse(&checks("")).is_err());
    }
}
