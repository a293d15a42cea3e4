//! Locks while no server runs: those who hold them are the only ones to see what happens to the clock of Redis.

use std::time::Duration;

use windlass::{
    Env, LockName,
    store::{Hold, LockReply, LockRequest, Locks, redis::RedisStore},
    testing::ManualClock,
};

use crate::{SECOND, servers::Server};

const TTL: Duration = Duration::from_secs(10);

async fn open(server: &Server, env: &Env) -> RedisStore {
    RedisStore::open_on_clock_of(&server.url(0), env.clone()).await.expect("open")
}

fn request(env: &Env) -> LockRequest {
    let name = LockName::new("lock").expect("a name");
    LockRequest { name, slots: 1, token: env.new_server_id().0, ttl: TTL, place: None, holder: "somebody".into() }
}

async fn take(store: &RedisStore, env: &Env) -> Hold {
    let request = request(env);
    match store.acquire_lock(&request).await.expect("acquire") {
        LockReply::Held(fence) => Hold { name: request.name, token: request.token, fence },
        other => panic!("not held: {other:?}"),
    }
}

async fn is_busy(store: &RedisStore, env: &Env) -> bool {
    matches!(store.acquire_lock(&request(env)).await.expect("acquire"), LockReply::Busy { .. })
}

#[tokio::test]
async fn a_step_of_the_clock_that_only_a_holder_saw_lets_nobody_in() {
    let (server, clock) = (Server::start(), ManualClock::new());
    let env = clock.env();
    let holder = open(&server, &env).await;
    let hold = take(&holder, &env).await;
    let steps: [fn(&ManualClock); 2] =
        [|clock| clock.step_wall_forward(3600 * SECOND), |clock| clock.step_wall_back(7200 * SECOND)];
    for step in steps {
        clock.advance(SECOND);
        step(&clock);
        clock.advance(TTL / 3);
        assert!(holder.extend_lock(&hold, TTL).await.expect("extend"));
        assert!(is_busy(&open(&server, &env).await, &env).await, "the next one got it at once");
    }
    // Nor does it hold for ever.
    clock.advance(TTL);
    take(&open(&server, &env).await, &env).await;
}

#[tokio::test]
async fn a_holder_whose_clock_runs_slow_keeps_its_lock() {
    let (server, clock, slow) = (Server::start(), ManualClock::new(), ManualClock::new());
    let (env, slow_env) = (clock.env(), slow.env());
    let (holder, other) = (open(&server, &slow_env).await, open(&server, &env).await);
    let hold = take(&holder, &slow_env).await;
    for _ in 0..12 {
        // Both hear the same time of Redis, and one of them counts a second less since then.
        clock.advance(TTL / 3);
        slow.advance(TTL / 3 - SECOND);
        slow.step_wall_forward(SECOND);
        assert!(is_busy(&other, &env).await);
        assert!(holder.extend_lock(&hold, TTL).await.expect("extend"));
        clock.advance(TTL / 3 * 2);
        slow.advance(TTL / 3 * 2);
        assert!(is_busy(&other, &env).await, "its hold ended early");
    }
}
