//! Compiles and runs the Rust blocks of the guide (`docs/`) and of the README. In no build but the documentation tests.

macro_rules! pages {
    ($($name:ident $file:literal)*) => {
        $(
            #[doc = include_str!($file)]
            struct $name;
        )*
    };
}

pages! {
    GettingStarted "../docs/getting-started.md"
    JobsAndOptions "../docs/jobs-and-options.md"
    HandlersAndServers "../docs/handlers-and-servers.md"
    ResultsAndProgress "../docs/results-and-progress.md"
    RetriesAndErrors "../docs/retries-and-errors.md"
    ExclusiveJobs "../docs/exclusive-jobs.md"
    Groups "../docs/groups.md"
    Queues "../docs/queues.md"
    Schedules "../docs/schedules.md"
    Locks "../docs/locks.md"
    ChangingPayloads "../docs/changing-payloads.md"
    ChoosingAStore "../docs/choosing-a-store.md"
    Troubleshooting "../docs/troubleshooting.md"
    InProcessTools "../docs/in-process-tools.md"
    LimitsAndGuarantees "../docs/limits-and-guarantees.md"
    Durability "../docs/durability.md"
    Postgres "../docs/postgres.md"
    Asynq "../docs/asynq.md"
    MigratingFromAsynq "../docs/migrating-from-asynq.md"
    MigratingFromRustAsynq "../docs/migrating-from-rust-asynq.md"
    Operating "../docs/operating.md"
    ShutdownAndDeploying "../docs/shutdown-and-deploying.md"
    Testing "../docs/testing.md"
    WritingAStore "../docs/writing-a-store.md"
}
