//! What seeds once found, each as a small story of its own, so that it stays found when the plans change.

use std::{sync::Arc, time::Duration};

use windlass::{
    Client, JobState, RawJob, Router, Server,
    store::{Backend, memory::MemoryStore},
    testing::{Faults, FaultyStore, Network, World, job},
};

const SECOND: Duration = Duration::from_secs(1);

async fn never_called(_: RawJob) -> windlass::Result {
    Err("the answer to the claim was lost until the server stopped".into())
}

/// Its lease would lapse with nobody, and cost the job a crash although everything went in good order.
#[test]
fn a_server_that_stops_gives_back_what_its_unanswered_claim_took() {
    World::run(1, async |world| {
        let network = Network::new(world.env());
        let store: Arc<dyn Backend> = Arc::new(MemoryStore::new(world.env()));
        let way = FaultyStore::around(store.clone(), &network);
        let client = Client::builder().env(world.process("server").env()).on(way.backend());
        let server = Server::new(&client, Router::new().at("a", never_called)).start().await.unwrap();
        network.set_faults(Faults { lost_replies: 1000, timeout: SECOND / 10, ..Faults::default() });
        let new = job("a").build(&world.env());
        let id = new.spec.id.clone();
        store.enqueue(vec![new]).await.unwrap();
        world.sleep_until(SECOND / 2).await;
        assert_eq!(store.get(&id).await.unwrap().unwrap().state, JobState::Running, "claimed, and nobody knows");
        let (stop, world_again) = (server.shutdown(), world.clone());
        let repair = async {
            world_again.sleep_until(SECOND).await;
            network.set_faults(Faults::default());
        };
        futures_util::future::join(stop, repair).await;
        let record = store.get(&id).await.unwrap().unwrap();
        assert_eq!((record.state, record.crashes, record.attempt), (JobState::Pending, 0, 1));
    });
}
