//! The scripts, one file an operation. Those on one queue begin with `lib.lua`.

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
const WITHOUT: [&str; 9] = [
    "enqueue.lua",
    "census.lua",
    "fetch.lua",
    "groups.lua",
    "list.lua",
    "look.lua",
    "members.lua",
    "scan.lua",
    "tallies.lua",
];

impl Script {
    fn new(file: &str, code: String) -> Self {
        let code = if WITHOUT.contains(&file) { code } else { format!("{THOUGH_FULL}{code}") };
        let hash = redis::Script::new(&code).get_hash().to_owned();
        Self { code, hash }
    }
}

macro_rules! scripts {
    ($($name:ident $file:literal $lib:literal $($part:literal)*,)*) => {
        $(
            pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
                let lib = if $lib { include_str!("lua/lib.lua") } else { "" };
                let part = concat!($(include_str!(concat!("lua/", $part))),*);
                Script::new($file, format!("{lib}{part}{}", include_str!(concat!("lua/", $file))))
            });
        )*
    };
}

scripts! {
    ADOPT "adopt.lua" true,
    ASK_FLUSH "ask_flush.lua" true,
    BEAT "beat.lua" false,
    BURY "bury.lua" true,
    CANCELS "cancels.lua" false,
    CENSUS "census.lua" true,
    CLAIM "claim.lua" true "marks.lua",
    DELETE_MEMBERS "delete_members.lua" true,
    ENQUEUE "enqueue.lua" true,
    EXTEND "extend.lua" true,
    FETCH "fetch.lua" true "marks.lua",
    FINISH "finish.lua" true,
    FLUSH "flush.lua" true,
    FORGET "forget.lua" true,
    GONE "gone.lua" true,
    GOS_CANCEL "gos_cancel.lua" true,
    GROUPS "groups.lua" true,
    HEAL "heal.lua" true "marks.lua" "ended.lua",
    INBOX "inbox.lua" true,
    LEAVE "leave.lua" true,
    LIST "list.lua" true,
    LOOK "look.lua" true,
    MEMBERS "members.lua" true,
    OPERATE "operate.lua" true "marks.lua",
    OUTBOX "outbox.lua" true,
    PAUSE "pause.lua" true,
    PROMOTE "promote.lua" true,
    PRUNE "prune.lua" true "marks.lua" "ended.lua",
    PULSE "pulse.lua" false,
    RECOVER "recover.lua" true "marks.lua" "ended.lua",
    REPORT "report.lua" true,
    RESCUE "rescue.lua" true,
    SCAN "scan.lua" true,
    SERVERS "servers.lua" false,
    SHOW "show.lua" false,
    TALLIES "tallies.lua" true,
    UNDECLARED "undeclared.lua" true,
}
