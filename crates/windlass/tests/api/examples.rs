//! Whether what is public has an example: in its own docs, or (a type, a trait) in those of one of its methods.

use std::collections::BTreeSet;

use syn::{Attribute, Expr, ImplItem, Item, Lit, Meta, TraitItem, Type};

use crate::{
    surface::public_path,
    tree::{Crate, attributes},
};

/// Modules that are shown as a whole, and where.
const AS_A_WHOLE: &[(&str, &str)] = &[
    ("conformance", "the suite is used through its macro: the module's docs, docs/writing-a-store.md"),
    ("decide", "plain functions that servers and stores call; their unit tests show each"),
    ("store", "the contract for authors of stores: docs/writing-a-store.md, examples/outside-store"),
];

/// Items without an example of their own, and the item whose example uses them, or that answers or takes them.
const SHOWN_AT: &[(&str, &str)] = &[
    ("Action", "Client"),
    ("CatchUp", "DueRules"),
    ("Committed", "JobContext"),
    ("Cursor", "JobFilter"),
    ("Decode", "Router"),
    ("Enqueue", "Client"),
    ("ErrorClass", "JobRecord"),
    ("ErrorEntry", "JobRecord"),
    ("EventKind", "Event"),
    ("Fence", "JobContext"),
    ("Flavor", "ScheduleSpec"),
    ("Fold", "ScheduleSpec"),
    ("Gap", "ScheduleSpec"),
    ("GaveUp", "retry"),
    ("GroupInfo", "Client"),
    ("GroupKey", "Client"),
    ("GroupMember", "Client"),
    ("Handler", "Router"),
    ("Health", "RunningServer"),
    ("Host", "testing::ManualClock"),
    ("IntoOutcome", "middleware::from_fn"),
    ("InvalidJob", "Error"),
    ("Jitter", "RetryPolicy"),
    ("JobPage", "JobFilter"),
    ("JobQueueBuilder", "JobQueue"),
    ("JobSpec", "JobRecord"),
    ("Json", "testing::Kit"),
    ("KindFilter", "Pattern"),
    ("KindRule", "Pattern"),
    ("Lease", "JobContext"),
    ("MarkedError", "ResultExt"),
    ("Monotonic", "Env"),
    ("NewJob", "testing::job"),
    ("Outcome", "middleware::from_fn"),
    ("Output", "testing::Kit"),
    ("Periodic", "periodic"),
    ("QueueError", "JobQueue"),
    ("Retry", "retry"),
    ("RetryError", "retry"),
    ("RunningCron", "Cron"),
    ("ServerId", "Env"),
    ("JobTemplate", "Client"),
    ("ScheduleDefinition", "Client"),
    ("ScheduleEvent", "Client"),
    ("ScheduleHistory", "Client"),
    ("ScheduleInfo", "Client"),
    ("ScheduleNews", "Client"),
    ("ScheduleOrigin", "Client"),
    ("SchedulePage", "Client"),
    ("ScheduleRecord", "Client"),
    ("UnendedJob", "Client"),
    ("SpecError", "ScheduleSpec"),
    ("SpecWarning", "ScheduleSpec"),
    ("Start", "Client"),
    ("Status", "JobState"),
    ("StoreError", "Error"),
    ("Ticker", "periodic"),
    ("Unique", "UniqueBy"),
    ("UniqueKey", "UniqueBy"),
    ("UniqueMode", "UniqueBy"),
    ("Verdict", "testing::Kit"),
    ("Defaults", "JobOptions"),
    ("Blocking", "testing::ManualClock"),
    ("BlockingHandler", "Router"),
    ("BreakerInfo", "Breaker"),
    ("BreakerState", "Breaker"),
    ("Each", "JobContext"),
    ("FailedJob", "Client"),
    ("Line", "JobContext"),
    ("LogLine", "JobContext"),
    ("Monitor", "RunningServer"),
    ("News", "JobContext"),
    ("Progress", "JobContext"),
    ("Returns", "Client"),
    ("Steps", "JobContext"),
    ("Update", "Client"),
    ("Updates", "Client"),
    ("codec::Coding", "codec::Codec"),
    ("codec::Json", "codec::Codec"),
    ("codec::MsgPack", "codec::Codec"),
    ("middleware::Call", "middleware::tower"),
    ("middleware::HandlerError", "middleware::tower"),
    ("middleware::Handlers", "middleware::tower"),
    ("middleware::Layer", "middleware::from_fn"),
    ("Cause", "JobState"),
    ("middleware::Next", "middleware::from_fn"),
    ("pool::Finished", "WorkerPool"),
    ("pool::Handle", "WorkerPool"),
    ("pool::RunError", "WorkerPool"),
    ("pool::SubmitError", "WorkerPool"),
    ("pool::Submitter", "WorkerPool"),
    ("testing::EnqueuedJob", "testing::assert_enqueued"),
    ("testing::Faults", "testing::FaultyStore"),
    ("testing::JobBuilder", "testing::job"),
    ("testing::Network", "testing::FaultyStore"),
    ("testing::Performed", "testing::Kit"),
    ("testing::Process", "testing::World"),
    ("testing::refute_enqueued", "testing::assert_enqueued"),
];

/// Those that lack an example, and the excuses that nobody needs or that lead to no example.
pub fn judge(library: &Crate) -> (Vec<String>, Vec<String>) {
    let missing = missing(library);
    let (found, _) = library.public();
    let lacks = |path: &str| missing.iter().any(|other| other == path);
    let whole = |path: &str| AS_A_WHOLE.iter().any(|(module, _)| path.starts_with(&format!("{module}::")));
    let excused = |path: &str| SHOWN_AT.iter().any(|(name, _)| *name == path);
    let shows = |path: &str| found.contains_key(path) && !lacks(path);
    let without = missing.iter().filter(|path| !whole(path) && !excused(path)).cloned().collect();
    let idle = SHOWN_AT.iter().filter(|(name, at)| !lacks(name) || !shows(at));
    (without, idle.map(|(name, at)| format!("{name}, at {at}")).collect())
}

/// The public paths of everything that has no example anywhere.
pub fn missing(library: &Crate) -> Vec<String> {
    let (found, _) = library.public();
    let mut shown = BTreeSet::new();
    for (module, content) in &library.modules {
        for item in &content.items {
            let Item::Impl(block) = item else { continue };
            let Type::Path(own) = &*block.self_ty else { continue };
            let has_one = |part: &ImplItem| matches!(part, ImplItem::Fn(method) if is_shown(&method.attrs));
            if block.items.iter().any(has_one)
                && let Some(name) = own.path.segments.last()
                && let Some(path) = public_path(library, &found, module, &name.ident.to_string())
            {
                shown.insert(path);
            }
        }
    }
    let needs_one =
        |item: &Item| matches!(item, Item::Struct(_) | Item::Enum(_) | Item::Trait(_) | Item::Fn(_) | Item::Macro(_));
    let in_a_method = |item: &Item| match item {
        Item::Trait(item) => item.items.iter().any(|part| matches!(part, TraitItem::Fn(part) if is_shown(&part.attrs))),
        _ => false,
    };
    let lacks = found.iter().filter(|(path, public)| {
        needs_one(public.item)
            && !(is_shown(attributes(public.item)) || in_a_method(public.item) || shown.contains(*path))
    });
    lacks.map(|(path, _)| path.clone()).collect()
}

/// Whether the docs hold a block of Rust that is compiled.
fn is_shown(attributes: &[Attribute]) -> bool {
    let mut inside = false;
    let mut shown = false;
    for line in attributes.iter().filter_map(doc).flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()) {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let compiled = language.split(',').all(|word| {
                matches!(word.trim(), "" | "rust" | "no_run" | "should_panic" | "compile_fail" | "edition2024")
            });
            shown |= !inside && compiled;
            inside = !inside;
        }
    }
    shown
}

fn doc(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(value) = &attribute.meta else { return None };
    match &value.value {
        Expr::Lit(text) if attribute.path().is_ident("doc") => match &text.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}
