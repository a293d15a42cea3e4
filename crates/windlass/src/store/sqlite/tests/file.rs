//! The file: what may be a store, what is refused and how, and what we leave alone.

use std::fs;

use super::*;
use crate::store::{Cluster, StoreError};

async fn refusal(place: &Place, create: Create) -> StoreError {
    place.try_open(create).await.err().expect("it should be refused")
}

#[tokio::test]
async fn a_missing_file_is_made_only_where_it_may_be() {
    let place = Place::new();
    let refused = refusal(&place, Create::Never).await;
    assert!(matches!(&refused, StoreError::Unavailable(text) if text.contains("windlass enqueue")), "{refused}");
    assert!(!place.path().exists());
    place.open().await;
    assert!(place.try_open(Create::Never).await.is_ok());
}

#[tokio::test]
async fn a_place_that_can_be_no_file_is_unavailable_and_named() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().to_path_buf(), dir.path().join("no/such/dir.db"), PathBuf::from("/proc/jobs.db")] {
        let refused = SqliteStore::open(path.to_str().unwrap(), Create::IfMissing, Env::system()).await;
        let refused = refused.err().expect("it should be refused");
        let named = matches!(&refused, StoreError::Unavailable(text) if text.contains(path.to_str().unwrap()));
        assert!(named, "{refused}");
    }
}

#[tokio::test]
async fn what_is_no_database_or_cut_short_is_corrupt_and_stays_as_it_was() {
    let place = Place::new();
    for bytes in [&b"hello"[..], &b"not a database at all, but long enough to be taken for one".repeat(40)] {
        fs::write(place.path(), bytes).unwrap();
        let refused = refusal(&place, Create::IfMissing).await;
        assert!(matches!(&refused, StoreError::Corrupt(_)), "{refused}");
        assert_eq!(fs::read(place.path()).unwrap(), bytes);
    }
    fs::remove_file(place.path()).unwrap();
    drop(place.open().await);
    let whole = fs::read(place.path()).unwrap();
    fs::write(place.path(), &whole[..whole.len() / 2]).unwrap();
    let refused = refusal(&place, Create::IfMissing).await;
    assert!(matches!(&refused, StoreError::Corrupt(_)), "{refused}");
}

/// SQLite puts the WAL beside the file that a link leads to, so a short file behind a link is no truncated one.
#[cfg(unix)]
#[tokio::test]
async fn a_file_behind_a_link_whose_wal_is_not_folded_in_is_whole() {
    let place = Place::new();
    let store = place.open().await;
    let jobs = (0..500).map(|n| job_of(&n.to_string(), vec![b'x'; 500])).collect();
    store.enqueue(jobs).await.unwrap();
    let link = place.dir.path().join("link.db");
    std::os::unix::fs::symlink(place.path(), &link).unwrap();
    let pages = place.number("PRAGMA page_count") as u64 * 4096;
    assert!(fs::metadata(place.path()).unwrap().len() < pages, "part of the store is in the WAL alone");
    let linked = SqliteStore::open(link.to_str().unwrap(), Create::Never, Env::system()).await.unwrap();
    assert_eq!(claim(&store, 1, 1).await.jobs.len(), 1);
    drop(linked);
}

#[tokio::test]
async fn foreign_and_newer_files_are_refused_untouched() {
    let foreign = Place::new();
    foreign.raw().execute_batch("CREATE TABLE windlass_job (mine)").unwrap();
    let refused = refusal(&foreign, Create::IfMissing).await;
    assert!(matches!(&refused, StoreError::Corrupt(text) if text.contains("windlass_")), "{refused}");
    let mode: String = foreign.raw().query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "delete", "a file that is refused keeps its journal");

    let newer = Place::new();
    drop(newer.open().await);
    newer
        .raw()
        .execute_batch("INSERT INTO windlass_migration (version, min_compatible, at) VALUES (99, 99, 0)")
        .unwrap();
    let refused = refusal(&newer, Create::IfMissing).await;
    assert!(matches!(&refused, StoreError::Corrupt(text) if text.contains("upgrade")), "{refused}");
}

#[tokio::test]
async fn an_older_program_goes_on_with_a_compatible_newer_file() {
    let place = Place::new();
    let older = place.open().await;
    let newer = format!("INSERT INTO windlass_migration VALUES ({}, 1, 0)", super::super::migrate::VERSION + 1);
    place.raw().execute_batch(&newer).unwrap();
    older.enqueue(vec![job("a")]).await.unwrap();
    assert_eq!(ids(&claim(&*place.open().await, 1, 9).await), ["a"]);
}

#[tokio::test]
async fn the_applications_own_database_is_only_added_to() {
    let place = Place::new();
    let app =
        "PRAGMA application_id = 77; PRAGMA user_version = 5; CREATE TABLE orders (id); INSERT INTO orders VALUES (1)";
    place.raw().execute_batch(app).unwrap();
    let refused = refusal(&place, Create::Never).await;
    assert!(matches!(refused, StoreError::Unavailable(_)), "looking makes no tables: {refused}");
    let ours = "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'windlass%' AND name NOT LIKE 'sqlite_auto%'";
    assert_eq!(place.number("SELECT count(*) FROM sqlite_schema"), 1);
    place.open().await.enqueue(vec![job("a")]).await.unwrap();
    assert_eq!(place.number("PRAGMA application_id"), 77);
    assert_eq!(place.number("PRAGMA user_version"), 5);
    assert_eq!(place.number("SELECT count(*) FROM orders"), 1);
    assert_eq!(place.number(ours), 1, "nothing of another name was made");
}

#[cfg(unix)]
#[tokio::test]
async fn only_files_that_we_make_are_made_private() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let ours = Place::new();
    let _store = ours.open().await;
    assert_eq!(mode(ours.path()), 0o600);
    assert_eq!(mode(super::super::open::wal_of(&ours.path())), 0o600);

    let theirs = Place::new();
    fs::write(theirs.path(), b"").unwrap();
    fs::set_permissions(theirs.path(), fs::Permissions::from_mode(0o640)).unwrap();
    let _store = theirs.open().await;
    assert_eq!(mode(theirs.path()), 0o640);
}

/// Closing any descriptor of a file takes away all locks that the process has on it, and then another process may take
/// the log away from under us.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn opening_a_second_time_leaves_the_locks_of_the_first_in_place() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new();
    let first = place.open().await;
    let inode = format!(":{} ", fs::metadata(place.path()).unwrap().ino());
    // While others lock and unlock, the kernel's list can miss a line for a moment; a lock that is lost stays away.
    let is_locked = || (0..100).any(|_| fs::read_to_string("/proc/locks").unwrap().contains(&inode));
    assert!(is_locked(), "an open store holds a lock");
    drop(place.try_open(Create::Never).await);
    assert!(is_locked(), "and still does");
    drop(fs::File::open(place.path()).unwrap());
    assert!(!is_locked(), "the control: this is what must not be done");
    drop(first);
}

#[cfg(unix)]
#[tokio::test]
async fn nothing_is_acknowledged_in_a_file_that_was_deleted_or_replaced() {
    let (place, elsewhere) = (Place::new(), Place::new());
    let store = place.open().await;
    store.enqueue(vec![job("a")]).await.unwrap();
    let aside = place.dir.path().join("aside.db");
    let refused = async |what: &str| {
        let beat = store.beat(&crate::store::ServerInfo::new(ServerId(uuid::Uuid::nil()), Default::default())).await;
        let enqueued = store.enqueue(vec![job("b")]).await.map(drop);
        let looked = store.claim(&request(1, 9)).await.map(drop);
        for answer in [beat, enqueued, looked] {
            let told = matches!(&answer, Err(StoreError::Unavailable(text)) if text.contains("deleted or replaced"));
            assert!(told, "{what}: {answer:?}");
        }
    };
    fs::rename(place.path(), &aside).unwrap();
    refused("deleted").await;
    drop(elsewhere.open().await);
    fs::copy(elsewhere.path(), place.path()).unwrap();
    refused("replaced").await;
    fs::rename(&aside, place.path()).unwrap();
    assert_eq!(ids(&claim(&store, 2, 9).await), ["a"], "it goes on where it was");
}

#[tokio::test]
async fn closing_folds_the_log_into_the_file() {
    let place = Place::new();
    let store = place.open().await;
    store.enqueue(vec![job("a")]).await.unwrap();
    drop(store);
    let wal = fs::metadata(super::super::open::wal_of(&place.path())).map_or(0, |wal| wal.len());
    assert_eq!(wal, 0);
    assert_eq!(place.number("SELECT count(*) FROM windlass_job"), 1);
}
