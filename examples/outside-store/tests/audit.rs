//! What this store does beside what every store does; and that the suite would find a store that does less.

use std::{fs, sync::Arc};

use async_trait::async_trait;
use outside_store::Audited;
use windlass::{
    Client, Env, Job, Router, StoreError,
    conformance::{Bench, FACTS, Opened},
    store::{Backend, Finish, Finished, memory::MemoryStore},
    testing::{Kit, Layer, Layered, ManualClock},
};

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "greet")]
struct Greet;

async fn greet(_: Greet) -> windlass::Result {
    Ok(())
}

#[tokio::test]
async fn the_file_says_what_came_in_and_what_became_of_it() {
    let (place, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let file = place.path().join("audit.jsonl");
    let store = Audited::around(Arc::new(MemoryStore::new(clock.env())), &file).unwrap();
    let kit = Kit::builder(Router::new().job(greet)).store(store, clock).build();
    let id = kit.client().enqueue(Greet).await.unwrap().id().to_string();
    assert_eq!(kit.run_due().await.completed, 1);
    let written = fs::read_to_string(file).unwrap();
    let expected =
        format!("{{\"enqueued\":\"{id}\",\"kind\":\"greet\"}}\n{{\"finished\":\"{id}\",\"state\":\"completed\"}}\n");
    assert_eq!(written, expected);
}

#[tokio::test]
async fn any_client_uses_it() {
    let place = tempfile::tempdir().unwrap();
    let store = Audited::around(Arc::new(MemoryStore::new(Env::system())), &place.path().join("audit.jsonl")).unwrap();
    let client = Client::builder().on(store);
    assert!(client.enqueue(Greet).await.unwrap().is_new());
}

/// A store that says that a report was applied although the caller had lost the job.
struct Forgiving(Arc<dyn Backend>);

#[async_trait]
impl Layer for Forgiving {
    fn inner(&self) -> &dyn Backend {
        &*self.0
    }

    async fn finish(&self, batch: Vec<Finish>) -> Result<Vec<Finished>, StoreError> {
        let answers = self.0.finish(batch).await?;
        let applied = Finished::Applied(windlass::JobState::Completed);
        Ok(answers.into_iter().map(|answer| if answer == Finished::Stale { applied } else { answer }).collect())
    }
}

#[tokio::test]
async fn the_suite_finds_a_store_that_lets_a_stale_report_pass() {
    let mut failed = Vec::new();
    for fact in FACTS.iter().filter(|fact| fact.area == "finish") {
        let bench = Bench::open(async |env| Opened::new(Layered(Forgiving(Arc::new(MemoryStore::new(env)))))).await;
        if tokio::spawn((fact.check)(bench)).await.is_err() {
            failed.push(fact.name);
        }
    }
    assert!(failed.contains(&"the_second_report_of_a_run_is_stale"), "the suite found {failed:?}");
}
