//! After each step of each scenario the whole database is what Go's own steps leave, but for what
//! `interop/differences.toml` lists with a reason. How dumps are made comparable: see `dump.rs`.

mod differences;
mod dump;
mod go_side;
mod messages;
mod rust_side;
mod steps;

use std::collections::BTreeMap;

use self::{
    differences::Differences,
    dump::Dumper,
    go_side::GoSide,
    rust_side::RustSide,
    steps::{
        Opt::{At, Deadline, Exclusive, Group, Header, In, MaxRetry, Payload, Retain, Timeout, Unique},
        Step::{self, *},
    },
};
use crate::{Both, servers};

/// Beyond all waits of the scenarios, and with a part of a second.
const FAR: u64 = 4_000_000_000_900;

fn scenarios() -> Vec<(&'static str, Vec<Step>)> {
    vec![
        ("plain", vec![Enqueue("a", &[]), Claim("a"), Extend("a"), Complete("a"), Leave]),
        (
            "retained",
            vec![
                Enqueue("a", &[MaxRetry(3), Timeout(90), Deadline(FAR), Retain(1200), Header("k", "v")]),
                Claim("a"),
                Complete("a"),
                Leave,
                Pause,
                Prune("a"),
            ],
        ),
        ("kept", vec![Enqueue("a", &[Retain(1200)]), Claim("a"), Complete("a"), Leave, Delete("a")]),
        ("scheduled", vec![Enqueue("a", &[In(600)]), Pause, Promote("a"), Unpause, Delete("a")]),
        ("at", vec![Enqueue("a", &[At(FAR)]), Edit("a", "[]"), Run("a"), Claim("a"), Complete("a")]),
        // Who holds its key stands where any other job does.
        (
            "exclusive",
            vec![
                Enqueue("a", &[Exclusive("key"), In(600)]),
                Pause,
                Promote("a"),
                Unpause,
                Claim("a"),
                Complete("a"),
                Enqueue("b", &[Exclusive("key"), Retain(1200)]),
                Claim("b"),
                Complete("b"),
                Leave,
            ],
        ),
        ("unscheduled", vec![Enqueue("a", &[In(600)]), Delete("a")]),
        ("shelved", vec![Enqueue("a", &[In(600)]), Archive("a"), Run("a"), Archive("a"), Delete("a")]),
        ("grouped", vec![Enqueue("a", &[Group("g")]), Delete("a")]),
        ("alone", vec![Enqueue("a", &[Group("g")]), Run("a"), Claim("a"), Complete("a")]),
        ("ungrouped", vec![Enqueue("a", &[Group("g")]), Archive("a"), Delete("a")]),
        (
            "flushed",
            vec![
                Enqueue("a", &[Group("g"), Payload("1")]),
                Enqueue("b", &[Group("g"), Payload("2")]),
                Pause,
                Flush("g"),
            ],
        ),
        ("joining", vec![Enqueue("a", &[Group("g"), In(600)]), Pause, Promote("a")]),
        ("run_again", vec![Enqueue("a", &[]), Claim("a"), Fail("a"), Leave, Run("a"), Claim("a"), Complete("a")]),
        (
            "tried_again",
            vec![
                Enqueue("a", &[MaxRetry(1)]),
                Claim("a"),
                Fail("a"),
                Leave,
                Pause,
                Promote("a"),
                Unpause,
                Claim("a"),
                Fail("a"),
                Leave,
                Run("a"),
                Delete("a"),
            ],
        ),
        ("given_up", vec![Enqueue("a", &[]), Claim("a"), Fail("a"), Leave, Archive("a")]),
        ("forgotten", vec![Enqueue("a", &[]), Claim("a"), Fail("a"), Leave, Delete("a")]),
        ("skipped", vec![Enqueue("a", &[]), Claim("a"), Skip("a"), Leave, Run("a"), Claim("a"), Complete("a")]),
        ("snoozed", vec![Enqueue("a", &[]), Claim("a"), Snooze("a"), Leave]),
        ("released", vec![Enqueue("a", &[]), Claim("a"), Release("a"), Claim("a"), Complete("a")]),
        ("crashed", vec![Enqueue("a", &[]), Claim("a"), Kill("a"), Recover("a")]),
        ("lost_by_go", vec![Enqueue("a", &[]), ClaimByGo("a"), Kill("a"), Recover("a")]),
        // Asynq's channel is one for all databases of a server, so nobody else may have this id.
        ("stopped", vec![Enqueue("stopped", &[]), Claim("stopped"), CancelByGo("stopped"), Leave]),
        ("archived", vec![Enqueue("a", &[]), Archive("a"), Run("a"), Claim("a"), Complete("a")]),
        ("cancelled", vec![Enqueue("a", &[]), Cancel("a"), Delete("a")]),
        ("nowhere", vec![Pause]),
        ("deleted", vec![Enqueue("a", &[]), Delete("a")]),
        // Ours is another lock: see the list.
        ("unique_here", vec![Enqueue("a", &[Unique(600)]), Delete("a")]),
        ("unique", vec![EnqueueByGo("a", &[Unique(600)]), Claim("a"), Complete("a")]),
        (
            "unique_kept",
            vec![EnqueueByGo("a", &[Unique(600), Retain(1200)]), Claim("a"), Complete("a"), Leave, Delete("a")],
        ),
        ("unique_dead", vec![EnqueueByGo("a", &[Unique(600)]), Claim("a"), Skip("a"), Leave, Delete("a")]),
        ("unique_shelved", vec![EnqueueByGo("a", &[Unique(600)]), Archive("a"), Run("a"), Delete("a")]),
        ("unique_group", vec![EnqueueByGo("a", &[Unique(600), Group("g")]), Pause, Flush("g")]),
    ]
}

type Dump = BTreeMap<String, String>;

/// Both sides' dumps after each step; none where Go is missing.
async fn walk(name: &str, steps: Vec<Step>) -> Option<Vec<(String, Dump, Dump)>> {
    let url = servers::database_url();
    let mut go = GoSide::open(&url)?;
    let both = Both::open().await?;
    let open = |url: &str| redis::Client::open(url).expect("a URL").get_connection().expect("a connection");
    let (mut of_go, mut of_rust) = (Dumper::new(open(&url)), Dumper::new(open(&both.url)));
    let mut rust = RustSide::over(both);
    let mut dumps = Vec::new();
    for step in steps {
        go.take(&step).await;
        let after_go = of_go.take();
        rust.take(&step).await;
        dumps.push((format!("{name}/{}", step.name()), after_go, of_rust.take()));
    }
    Some(dumps)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn every_step_leaves_the_keys_that_go_leaves() {
    let walks: Vec<_> = scenarios().into_iter().map(|(name, steps)| tokio::spawn(walk(name, steps))).collect();
    let differences = Differences::read();
    let mut unexplained = Vec::new();
    for walk in walks {
        let Some(dumps) = walk.await.expect("a scenario") else { return };
        for (at, go, rust) in dumps {
            assert!(!go.is_empty(), "{at}: there is nothing to compare");
            unexplained.extend(differences.unexplained(&at, &go, &rust));
        }
    }
    assert!(unexplained.is_empty(), "no entry of interop/differences.toml explains:\n{}", unexplained.join("\n"));
    let unused = differences.unused();
    assert!(unused.is_empty(), "these entries of interop/differences.toml explain nothing:\n{}", unused.join("\n"));
}
