//! The scripts, one file an operation. Those on one queue begin with the parts of `lua/lib/` that they need.

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
    ($($name:ident $file:literal [$($part:literal)*],)*) => {
        $(
            pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
                Script::new(concat!(
                    $(include_str!(concat!("lua/lib/", $part, ".lua")),)* include_str!(concat!("lua/", $file, ".lua")),
                ).to_owned())
            });
        )*

        /// All of them, to be loaded at once when a connection is made.
        pub(super) fn all() -> Vec<&'static Script> {
            vec![$(&*$name,)*]
        }
    };
}

scripts! {
    ADOPT "adopt" ["core" "message" "states"],
    ASK_FLUSH "ask_flush" ["core"],
    BEAT "beat" [],
    BURY "bury" ["core" "message" "states" "stats" "ends"],
    CANCELS "cancels" [],
    CENSUS "census" ["core" "message" "states"],
    CLAIM "claim" ["core" "message" "states" "marks"],
    COMPLETE "complete" ["core" "stats"],
    DELETE_MEMBERS "delete_members" ["core" "message" "states" "members"],
    ENQUEUE "enqueue" ["core" "message" "states" "intake"],
    EXTEND "extend" ["core"],
    FETCH "fetch" ["core" "message" "states" "marks"],
    FINISH "finish" ["core" "message" "states" "stats" "news" "ends" "intake"],
    FLUSH "flush" ["core" "message" "states" "stats" "ends" "intake"],
    FORGET "forget" ["core"],
    GOS_CANCEL "gos_cancel" ["core"],
    GROUPS "groups" ["core"],
    INBOX "inbox" ["core" "message" "states" "intake"],
    LEAVE "leave" ["core"],
    LIST "list" ["core"],
    LOOK "look" ["core" "message" "states" "intake"],
    MEMBERS "members" ["core" "message" "members"],
    OPERATE "operate" ["core" "message" "states" "stats" "ends" "marks"],
    OUTBOX "outbox" ["core"],
    PAUSE "pause" ["core"],
    PROMOTE "promote" ["core" "message" "states"],
    PRUNE "prune" ["core" "message" "states" "marks"],
    PULSE "pulse" [],
    RECOVER "recover" ["core" "message" "states" "stats" "ends" "marks" "ended"],
    REPORT "report" ["core" "message" "states" "news"],
    RESCUE "rescue" ["core" "message" "states" "stats" "ends"],
    SCAN "scan" ["core" "message" "states"],
    SERVERS "servers" [],
    TALLIES "tallies" ["core"],
    UNDECLARED "undeclared" ["core"],
}
