//! What a store looks at in its server when it is opened: advice on what may lose jobs, and a refusal only of what cannot
//! work at all.

use windlass::{
    Client, Env,
    store::{Level, StoreError, redis::RedisStore},
};

use crate::servers::Server;

/// The checks on a server with these arguments that are not as they should be.
async fn troubles(arguments: &str) -> Vec<(&'static str, Level)> {
    let server = Server::start_with(arguments);
    let client = Client::open(&server.url(0)).await.expect("it is only advice");
    let of_redis = ["version", "role", "cluster", "eviction", "memory", "durability", "hints"];
    let checks = client.checkup().await;
    let found: Vec<_> = checks.iter().filter(|check| of_redis.contains(&check.name)).collect();
    assert_eq!(found.len(), of_redis.len(), "{checks:?}");
    assert!(found.iter().all(|check| check.level == Level::Ok || check.advice.is_some()));
    found.iter().filter(|check| check.level != Level::Ok).map(|check| (check.name, check.level)).collect()
}

#[tokio::test]
async fn what_may_lose_jobs_is_said_with_advice_and_nothing_is_refused_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = format!("--save '' --dir {}", dir.path().display());
    assert_eq!(troubles(&format!("{dir} --appendonly yes")).await, [], "the control");
    assert_eq!(troubles(&format!("{dir} --appendonly no")).await, [("durability", Level::Warn)]);
    let evicting = format!("{dir} --appendonly yes --maxmemory 100mb --maxmemory-policy allkeys-lru");
    assert_eq!(troubles(&evicting).await, [("eviction", Level::Warn)]);
    let nearly = format!("{dir} --appendonly yes --maxmemory 1100kb --maxmemory-policy noeviction");
    assert!(matches!(troubles(&nearly).await[..], [("memory", _)]));
}

#[tokio::test]
async fn a_node_of_a_cluster_is_advised_against() {
    let dir = tempfile::tempdir().unwrap();
    let server =
        Server::start_with(&format!("--save '' --appendonly yes --cluster-enabled yes --dir {}", dir.path().display()));
    // All slots are its own: the one cluster with which everything works.
    let mut redis = redis::Client::open(server.url(0)).unwrap().get_connection().unwrap();
    redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(0).arg(16383).exec(&mut redis).unwrap();
    crate::soon("the cluster is up", async {
        while !redis::cmd("CLUSTER").arg("INFO").query::<String>(&mut redis).unwrap().contains("cluster_state:ok") {
            Env::system().sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    let client = Client::open(&server.url(0)).await.expect("it is only advice");
    let checks = client.checkup().await;
    let cluster = checks.iter().find(|check| check.name == "cluster").expect("the check");
    assert_eq!(cluster.level, Level::Warn);
    assert!(cluster.advice.as_deref().unwrap().contains("without cluster mode"));
}

#[tokio::test]
async fn a_replica_is_refused_with_the_advice_to_use_its_primary() {
    let primary = Server::start();
    let replica = Server::start_with(&format!("--save '' --replicaof '127.0.0.1 {}'", primary.port));
    let refused = RedisStore::open(&replica.url(0), Env::system()).await.err().expect("a refusal");
    assert!(matches!(&refused, StoreError::Unsupported(words) if words.contains("primary")), "{refused}");
    assert!(RedisStore::open(&primary.url(0), Env::system()).await.is_ok(), "the control");
}
