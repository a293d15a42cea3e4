//! Files of earlier schemas: migrated as they are opened, and still good for the programs that made them.

use rusqlite::params;

use super::{super::migrate, *};
use crate::{
    job::{GroupKey, GroupMember, State},
    store::{Flush, Flushed, Groups, Inspect, Operate},
    testing::ManualClock,
};

/// How a program of the first schema enqueues: kept as it was, word for word.
const FIRST_ENQUEUE: &str = "INSERT INTO windlass_job (seq, id, line, state, priority, ord, max_retry, timeout_us,
    retention_us, created_at, updated_at, pending_at, run_at, deadline, side, tenant, unique_key, unique_ttl_us, payload,
    extras)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)
ON CONFLICT (id) DO NOTHING";

/// Enqueues a pending job in the line `default`, `k` as the first schema's program does.
fn enqueue_as_the_first(conn: &Connection, id: &str) {
    let line = "INSERT INTO windlass_line (queue, kind) VALUES ('default', 'k') ON CONFLICT DO UPDATE SET kind = kind";
    conn.execute(line, []).unwrap();
    let line: i64 = conn.query_row("SELECT id FROM windlass_line WHERE kind = 'k'", [], |row| row.get(0)).unwrap();
    let seq: i64 = conn.query_row("SELECT enqueued + 1 FROM windlass_counter", [], |row| row.get(0)).unwrap();
    let none = None::<i64>;
    let row = params![seq, id, line, 0, 0, seq, 25, 60_000_000, 0, 1, 1, none, none, 0, none, none, none, b"{}", none];
    assert_eq!(conn.execute(FIRST_ENQUEUE, row).unwrap(), 1);
    conn.execute("UPDATE windlass_counter SET enqueued = ?1, back = ?1 + 1", [seq]).unwrap();
    conn.execute("UPDATE windlass_line SET pending = pending + 1 WHERE id = ?1", [line]).unwrap();
}

/// A file as the first schema's program leaves it, with one pending job.
fn first(place: &Place) {
    let conn = place.raw();
    conn.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    migrate::migrate_up_to(&conn, &super::super::clock::Clock::read(&ManualClock::new().env()), "first", 1).unwrap();
    enqueue_as_the_first(&conn, "old");
}

fn grouped(id: &str) -> NewJob {
    let options = JobOptions::new().id(id).group("g");
    options.resolve(&Kind::new("k").unwrap(), "{}".into(), || unreachable!("it has an id"), 64).unwrap()
}

#[tokio::test]
async fn a_file_of_the_first_schema_is_migrated_with_its_jobs() {
    let place = Place::new();
    first(&place);
    let store = place.open().await;
    assert_eq!(place.number("SELECT max(version) FROM windlass_migration"), migrate::VERSION);
    assert_eq!(place.number("SELECT min_compatible FROM windlass_migration WHERE version = 2"), 1);
    assert_eq!(ids(&claim(&store, 1, 10).await), ["old"]);
    assert_eq!(store.enqueue(vec![grouped("new")]).await.unwrap().len(), 1);
    let group = GroupKey::new(QueueName::new("default").unwrap(), "g");
    let read = store.members(&group, 10).await.unwrap();
    let flush = Flush { group, members: read.iter().map(GroupMember::read).collect(), into: job("digest") };
    assert!(matches!(store.flush(&flush).await.unwrap(), Flushed::Into(_)));
}

#[tokio::test]
async fn a_program_of_the_first_schema_goes_on_with_a_migrated_file() {
    let place = Place::new();
    first(&place);
    let store = place.open().await;
    store.enqueue(vec![grouped("waits")]).await.unwrap();
    let conn = place.raw();
    enqueue_as_the_first(&conn, "older");
    let columns = "SELECT id, payload, extras, seq, queue, kind, state, until_mono FROM windlass_record ORDER BY seq";
    let shown = conn.prepare(columns).unwrap().query_map([], |row| row.get::<_, String>(0)).unwrap().count();
    assert_eq!(shown, 3);
    // It buries a member that it sees waiting, and knows nothing of groups: the group is gone with it.
    conn.execute("UPDATE windlass_job SET state = 7, completed_at = 2, expires_at = 2 WHERE id = 'waits'", []).unwrap();
    let groups = store.groups(None, None, 10).await.unwrap();
    assert!(groups.items.is_empty(), "{groups:?}");
    assert_eq!(ids(&claim(&store, 1, 10).await), ["old", "older"]);
    let waits = store.get(&"waits".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((waits.state, waits.flushed_into.as_ref()), (State::Dead, None));
    store.operate(waits.id(), &crate::Action::Redrive).await.unwrap();
    assert_eq!(store.groups(None, None, 10).await.unwrap().items.len(), 1);
}
