//! Faults that a test orders one by one: the next calls of one kind fail, lose their answer, or take their time.
//! `faulty.rs` carries them out.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

macro_rules! calls {
    ($($name:ident $text:literal)*) => {
        /// A call of the [store traits](crate::store), for faults that are about one of them.
        ///
        /// ```
        /// assert_eq!(windlass::testing::Call::Finish.as_str(), "finish");
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "the store traits document each call")]
        pub enum Call {
            $($name,)*
        }

        impl Call {
            /// All calls.
            pub const ALL: &[Call] = &[$(Call::$name),*];

            /// The name of the method.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Call::$name => $text,)*
                }
            }
        }
    };
}

calls! {
    Enqueue "enqueue"
    Claim "claim"
    Extend "extend"
    Finish "finish"
    Report "report"
    Promote "promote"
    Rescue "rescue"
    Cancelled "cancelled"
    Get "get"
    List "list"
    Census "census"
    Outstanding "outstanding"
    Tallies "tallies"
    Servers "servers"
    Operate "operate"
    Pause "pause"
    Prune "prune"
    Groups "groups"
    Members "members"
    Flush "flush"
    AskFlush "ask_flush"
    DeleteMembers "delete_members"
    AcquireLock "acquire_lock"
    ExtendLock "extend_lock"
    ReleaseLock "release_lock"
    Locks "locks"
    BreakLock "break_lock"
    ChangeSchedule "change_schedule"
    Schedules "schedules"
    SchedulesNamed "schedules_named"
    ScheduleHistory "schedule_history"
    Beat "beat"
    Leave "leave"
    SweepUnknown "sweep_unknown"
}

impl Call {
    /// The call of a method. A method that is missing above does not build where it is sent.
    pub(super) const fn of(method: &str) -> Call {
        let mut at = 0;
        while at < Call::ALL.len() {
            if same(Call::ALL[at].as_str().as_bytes(), method.as_bytes()) {
                return Call::ALL[at];
            }
            at += 1;
        }
        panic!("a store has a call that is not in the list of testing/planned.rs; add it")
    }
}

const fn same(one: &[u8], two: &[u8]) -> bool {
    if one.len() != two.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != two[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// What is to happen to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It does not arrive.
    Fail,
    /// It is applied, and its answer does not come back.
    LoseReply,
    /// It arrives this much later.
    Delay(Duration),
}

/// The orders of a test, by call, and how many calls there were.
#[derive(Debug, Default)]
pub(super) struct Plan {
    orders: BTreeMap<Call, VecDeque<Fault>>,
    made: BTreeMap<Call, u64>,
}

impl Plan {
    pub(super) fn order(&mut self, call: Call, times: usize, fault: Fault) {
        self.orders.entry(call).or_default().extend(std::iter::repeat_n(fault, times));
    }

    /// Counts a call, and answers what is to happen to it.
    pub(super) fn next(&mut self, call: Call) -> Option<Fault> {
        *self.made.entry(call).or_default() += 1;
        self.orders.get_mut(&call)?.pop_front()
    }

    pub(super) fn made(&self, call: Call) -> u64 {
        self.made.get(&call).copied().unwrap_or(0)
    }
}
