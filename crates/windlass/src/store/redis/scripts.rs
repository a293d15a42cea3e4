//! The scripts, one file an operation. Those on one queue begin with `lib.lua`.

use std::sync::LazyLock;

/// A script and the hash by which Redis knows it.
pub(super) struct Script {
    pub(super) code: String,
    pub(super) hash: String,
}

impl Script {
    fn new(code: String) -> Self {
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
                Script::new(format!("{lib}{part}{}", include_str!(concat!("lua/", $file))))
            });
        )*

        /// All of them, to be loaded at once when a connection is made.
        pub(super) fn all() -> Vec<&'static Script> {
            vec![$(&*$name,)*]
        }
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
    GOS_CANCEL "gos_cancel.lua" true,
    GROUPS "groups.lua" true,
    INBOX "inbox.lua" true,
    LEAVE "leave.lua" true,
    LIST "list.lua" true,
    LOOK "look.lua" true,
    MEMBERS "members.lua" true,
    OPERATE "operate.lua" true "marks.lua",
    OUTBOX "outbox.lua" true,
    PAUSE "pause.lua" true,
    PROMOTE "promote.lua" true,
    PRUNE "prune.lua" true "marks.lua",
    PULSE "pulse.lua" false,
    RECOVER "recover.lua" true "marks.lua" "ended.lua",
    REPORT "report.lua" true,
    RESCUE "rescue.lua" true,
    SCAN "scan.lua" true,
    SERVERS "servers.lua" false,
    TALLIES "tallies.lua" true,
    UNDECLARED "undeclared.lua" true,
}
