//! Our schedules as entries of schedulers to Asynq's tools: lists of a bounded length, each schedule in one of them, no
//! list that is left over, and nothing of what does not tick.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use redis::cmd;
use windlass::{
    Client, Env, JobError, RawJob, Router, Schedule, ServerId,
    store::{Cluster, Schedules, ServerInfo, redis::RedisStore},
};

use crate::servers::Server;

/// What Asynq's tools would list: the names of the lists on the index, and the ids of the entries in each.
pub(crate) fn shown(redis: &mut redis::Connection) -> Vec<(String, Vec<String>)> {
    let lists: Vec<String> = cmd("ZRANGE").arg("asynq:schedulers").arg(0).arg(-1).query(redis).expect("the index");
    let mut entries_of = |list: &String| -> Vec<String> {
        let entries: Vec<Vec<u8>> = cmd("LRANGE").arg(list).arg(0).arg(-1).query(redis).expect("a list");
        // The message begins with its first field, the id.
        let id = |entry: Vec<u8>| String::from_utf8(entry[2..2 + usize::from(entry[1])].to_vec()).expect("an id");
        entries.into_iter().map(id).collect()
    };
    let mut found: Vec<_> = lists.iter().map(|list| (list.clone(), entries_of(list))).collect();
    found.sort();
    found
}

/// Waits until so many entries are listed. A server's sign of life does not wait for them.
pub(crate) async fn until_shown(redis: &mut redis::Connection, env: &Env, many: usize) -> Vec<(String, Vec<String>)> {
    for _ in 0..3000 {
        let found = shown(redis);
        if found.iter().map(|(_, entries)| entries.len()).sum::<usize>() == many {
            return found;
        }
        env.sleep(Duration::from_millis(10)).await;
    }
    panic!("there are never {many}: {:?}", shown(redis));
}

/// Adds `name-0` and so on.
pub(crate) async fn add(client: &Client, name: &str, many: usize) {
    for number in 0..many {
        let schedule = Schedule::cron(format!("{name}-{number}"), "0 9 * * *").job(RawJob::new("report", "{}"));
        client.add_schedule(schedule).await.expect("a schedule");
    }
}

/// Another process with a server of this id, which has looked at the schedules and says that it lives.
async fn live(url: &str, env: &Env, server: ServerId, declared: &[&str]) -> Arc<RedisStore> {
    let store = Arc::new(RedisStore::open(url, env.clone()).await.expect("open"));
    store.schedules(None, 10).await.expect("schedules");
    let mut info = ServerInfo::new(server, env.wall());
    info.schedules = declared.iter().map(|name| (*name).to_owned()).collect();
    store.beat(&info).await.expect("beat");
    store
}

#[tokio::test]
async fn each_schedule_is_shown_once_in_lists_of_two_hundred_and_none_is_left_over() {
    let server = Server::start();
    let mut redis = redis::Client::open(server.url(0)).expect("a URL").get_connection().expect("a connection");
    let env = Env::system();
    let client = Client::open(&server.url(0)).await.expect("open");
    add(&client, "many", 450).await;
    let first = env.new_server_id();
    let store = live(&server.url(0), &env, first, &[]).await;
    let found = until_shown(&mut redis, &env, 450).await;
    let sizes: Vec<_> = found.iter().map(|(_, entries)| entries.len()).collect();
    assert_eq!(sizes, [200, 200, 50]);
    let names: BTreeSet<_> = found.iter().flat_map(|(_, entries)| entries).collect();
    assert_eq!(names.len(), 450, "each once");
    for (list, _) in &found {
        let left: i64 = cmd("TTL").arg(list).query(&mut redis).expect("a time");
        assert!((0..=30).contains(&left), "{list}: {left} s");
    }
    assert_eq!(store.foreign_schedules().await.expect("Go's"), []);
    for number in 0..300 {
        client.remove_schedule(&format!("many-{number}")).await.expect("a removal");
    }
    // The server that shows them dies, and another one takes its place.
    cmd("DEL").arg("asynq:x:{store}:entries").exec(&mut redis).expect("its turn is over");
    live(&server.url(0), &env, env.new_server_id(), &[]).await;
    let found = until_shown(&mut redis, &env, 150).await;
    assert_eq!(found.len(), 1, "the other lists are not on the index any more: {found:?}");
}

#[tokio::test]
async fn schedules_that_do_not_tick_are_not_shown_and_the_last_server_takes_the_others_along() {
    let server = Server::start();
    let mut redis = redis::Client::open(server.url(0)).expect("a URL").get_connection().expect("a connection");
    let env = Env::system();
    let client = Client::open(&server.url(0)).await.expect("open");
    add(&client, "stored", 3).await;
    client.pause_schedule("stored-1").await.expect("a pause");
    let over = Schedule::cron("over", "0 9 * * *").ends(env.wall()).job(RawJob::new("report", "{}"));
    client.add_schedule(over).await.expect("a schedule");
    let in_code = |name: &str| Schedule::cron(name, "0 9 * * *").job(RawJob::new("report", "{}"));
    let router = Router::new().at("*", |_: RawJob| async { Ok::<_, JobError>(()) });
    let declaring = windlass::Server::new(&client, router);
    let declaring = declaring.schedule(in_code("declared")).schedule(in_code("orphaned"));
    let running = declaring.start().await.expect("start");
    until_shown(&mut redis, &env, 4).await;
    running.shutdown().await;
    assert_eq!(shown(&mut redis), [], "nobody lets them tick");
    let (one, other) = (env.new_server_id(), env.new_server_id());
    let first = live(&server.url(0), &env, one, &["declared"]).await;
    let found = until_shown(&mut redis, &env, 3).await;
    let names: BTreeSet<&str> = found.iter().flat_map(|(_, entries)| entries).map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(["declared", "stored-0", "stored-2"]));
    let second = live(&server.url(0), &env, other, &[]).await;
    first.leave(one).await.expect("leave");
    assert_eq!(shown(&mut redis).len(), 1, "a server lives");
    second.leave(other).await.expect("leave");
    assert_eq!(shown(&mut redis), []);
}
