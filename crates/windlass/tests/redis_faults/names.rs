//! The index of names of locks: a name that nobody holds or waits for goes, one that is held stays. Time is moved by hand.

use std::time::Duration;

use redis::cmd;
use uuid::Uuid;
use windlass::{
    LockName,
    store::{LockReply, LockRequest, Locks, Operate, Prune, redis::RedisStore},
    testing::ManualClock,
};

use crate::servers::Server;

/// How often the names are looked through.
const EVERY: Duration = Duration::from_secs(600);

#[tokio::test]
async fn names_of_locks_that_nobody_uses_go_and_those_that_are_held_stay() {
    let server = Server::start();
    let mut redis = redis::Client::open(server.url(0)).expect("a URL").get_connection().expect("a connection");
    let clock = ManualClock::seeded(1);
    let store = RedisStore::open_on_clock_of(&server.url(0), clock.env()).await.expect("open");
    let mut names = || -> Vec<String> {
        cmd("ZRANGE").arg("asynq:x:{store}:locks").arg(0).arg(-1).query(&mut redis).expect("names")
    };
    let request = |name: &str, number: u128| LockRequest {
        name: LockName::new(name).expect("a name"),
        slots: 1,
        token: Uuid::from_u128(number),
        ttl: 3 * EVERY,
        place: None,
        holder: "somebody".into(),
    };
    let sweep = async || store.prune(&Prune::Expired, 100).await.expect("prune");
    // More than one look takes, so that it goes on behind those that it has taken out.
    for number in 0..150 {
        let request = request(&format!("over-{number:03}"), number);
        let LockReply::Held(fence) = store.acquire_lock(&request).await.expect("acquire") else { panic!("it is free") };
        assert!(store.release_lock(&request.name, request.token, Some(fence)).await.expect("release"));
    }
    for name in ["held", "zebra"] {
        assert!(matches!(store.acquire_lock(&request(name, 1)).await.expect("acquire"), LockReply::Held(_)));
    }
    sweep().await;
    assert_eq!(names().len(), 152, "the control: they are noted, and not looked through at once");
    clock.advance(EVERY);
    sweep().await;
    assert_eq!(names(), ["held", "zebra"]);
    clock.advance(3 * EVERY);
    sweep().await;
    assert!(names().is_empty(), "a hold that lapsed is none");
}
