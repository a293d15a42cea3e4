//! The scripts, one file an operation. Those on one queue begin with the parts of `lua/lib/` that they need.

use std::sync::LazyLock;

/// A script and the hash by which Redis knows it.
pub(super) struct Script {
    pub(super) code: String,
    pub(super) hash: String,
}

/// Stands before the scripts that also run while Redis is full. It refuses one whose first write may need memory, and
/// lets all pass once a write that needs none was made, even if that found nothing. This holds from 6.2 on and in Valkey;
/// the flag by which newer ones can be told (`allow-oom`) is an error to 6.2.
const THOUGH_FULL: &str = "redis.call('DEL', KEYS[1] .. 'x:none')\n";

/// What only brings in more; and what writes nothing, so that it can be read even where nothing can be written.
const WITHOUT: [&str; 16] = [
    "add",
    "change_schedule",
    "enqueue",
    "census",
    "fetch",
    "groups",
    "list",
    "lock_show",
    "look",
    "members",
    "outstanding",
    "scan",
    "schedules",
    "sizes",
    "tallies",
    "ticked",
];

impl Script {
    fn new(file: &str, code: String) -> Self {
        let code = if WITHOUT.contains(&file) { code } else { format!("{THOUGH_FULL}{code}") };
        let hash = redis::Script::new(&code).get_hash().to_owned();
        Self { code, hash }
    }
}

macro_rules! scripts {
    ($($name:ident $file:literal [$($part:literal)*],)*) => {
        $(
            pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
                Script::new($file, concat!(
                    $(include_str!(concat!("lua/lib/", $part, ".lua")),)* include_str!(concat!("lua/", $file, ".lua")),
                ).to_owned())
            });
        )*
    };
}

scripts! {
    ADD "add" ["core" "order"],
    ADOPT "adopt" ["core" "message" "states" "order"],
    ASK_FLUSH "ask_flush" ["core" "members"],
    BEAT "beat" [],
    BURY "bury" ["core" "message" "states" "slots" "exclusive" "stats" "ends"],
    CANCELS "cancels" [],
    CENSUS "census" ["core" "message" "states"],
    CHANGE_SCHEDULE "change_schedule" ["core" "message" "states" "slots" "exclusive" "order" "intake"],
    CLAIM "claim" ["core" "message" "states" "slots" "marks"],
    COMPLETE "complete" ["core" "stats"],
    DELETE_MEMBERS "delete_members" ["core" "message" "states" "members"],
    ENQUEUE "enqueue" ["core" "message" "states" "slots" "exclusive" "order" "intake"],
    EXTEND "extend" ["core"],
    FETCH "fetch" ["core" "message" "states" "marks"],
    FINISH "finish" ["core" "message" "states" "slots" "exclusive" "stats" "news" "ends" "order" "intake"],
    FLUSH "flush" ["core" "message" "states" "slots" "exclusive" "stats" "ends" "order" "intake"],
    FORGET "forget" ["core"],
    GONE "gone" ["core" "order"],
    GOS_CANCEL "gos_cancel" ["core"],
    GROUPS "groups" ["core" "members"],
    HEAL "heal" ["core" "message" "states" "slots" "marks" "ended" "order"],
    INBOX "inbox" ["core" "message" "states" "slots" "exclusive" "order" "intake"],
    LEAVE "leave" ["core"],
    LIST "list" ["core" "order"],
    LOCK_ACQUIRE "lock_acquire" ["core" "lock"],
    LOCK_BREAK "lock_break" ["core" "lock"],
    LOCK_EXTEND "lock_extend" ["core" "lock"],
    LOCK_RELEASE "lock_release" ["core" "lock"],
    LOCK_SHOW "lock_show" ["core" "lock"],
    LOOK "look" ["core" "message" "states" "order" "intake"],
    MEMBERS "members" ["core" "message" "members"],
    OPERATE "operate" ["core" "message" "states" "slots" "exclusive" "stats" "ends" "marks"],
    OUTBOX "outbox" ["core"],
    OUTSTANDING "outstanding" ["core" "message"],
    PAUSE "pause" ["core"],
    PROMOTE "promote" ["core" "message" "states" "slots" "exclusive"],
    PRUNE "prune" ["core" "message" "states" "marks" "ended"],
    PULSE "pulse" [],
    RECOVER "recover" ["core" "message" "states" "slots" "exclusive" "stats" "ends" "marks" "ended"],
    REPORT "report" ["core" "message" "states" "news"],
    RESCUE "rescue" ["core" "message" "states" "slots" "exclusive" "stats" "ends"],
    SCAN "scan" ["core" "message" "states"],
    SCHEDULES "schedules" ["core"],
    SERVERS "servers" [],
    SHOW "show" [],
    SHOW_ENTRIES "show_entries" [],
    SIZES "sizes" ["core"],
    TALLIES "tallies" ["core"],
    TICKED "ticked" ["core"],
    TIDY "tidy" ["core" "order"],
    UNBLOCK "unblock" ["core" "message" "states" "slots" "exclusive"],
    UNDECLARED "undeclared" ["core"],
}
