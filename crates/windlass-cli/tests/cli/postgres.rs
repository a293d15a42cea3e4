//! What is Postgres's alone: servers that are away or refuse, URLs, schemas of others, what the doctor finds, numbers.

use serde_json::Value;

use crate::{
    servers::postgres::{Server, program, url},
    support::{Place, run},
};

/// The error of a command on this store, which ends with this code.
#[track_caller]
fn refused(code: i32, url: &str) -> Value {
    let error = run(&["stats", "--store", url]).expect(code).error();
    assert!(!error.to_string().contains("sesame"), "{error}");
    error
}

/// What the server answers to a statement, run as the store's owner.
fn sql(url: &str, statement: &str) -> String {
    let place = url.split_once('?').map_or(url, |(place, _)| place);
    let mut psql = program("psql");
    let output = psql.args(["-qAt", "-v", "ON_ERROR_STOP=1", "-c", statement, place]).output().expect("psql runs");
    assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn schema(url: &str) -> &str {
    url.split_once("schema=").expect("a schema of its own").1
}

#[test]
fn a_server_that_is_away_is_3_with_an_advice_that_fits() {
    let url = "postgres://app:sesame@127.0.0.1:1/shop";
    let error = refused(3, url);
    assert_eq!(error["code"], "unavailable");
    assert!(error["help"].as_str().unwrap().contains("a server answers there"), "{error}");
    let checks = run(&["doctor", "--store", url]).expect(1).json();
    assert_eq!((&checks["checks"][0]["name"], &checks["checks"][0]["level"]), (&"reachable".into(), &"fail".into()));
}

#[test]
fn a_url_that_makes_no_sense_is_2() {
    for url in [
        "postgres://",
        "postgres:5432",
        "postgres://127.0.0.1:99999/x",
        "postgres://app:sesame@h/d?schema=Big",
        "postgres://h/d?pool=0",
        "postgres://h/d?migrate=perhaps",
        "postgres://h/d?no_such_thing=1",
        "postgres://h/d?ca=/nowhere/ca.pem",
    ] {
        assert_eq!(refused(2, url)["code"], "invalid", "{url}");
    }
}

#[test]
fn a_user_or_a_database_that_there_is_not_is_2_and_says_which_part_of_the_url() {
    let url = url();
    let (place, _) = url.split_once('?').unwrap();
    let (server, _) = place.rsplit_once('/').unwrap();
    let (scheme, host) = server.split_once("://").unwrap();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let nobody = refused(2, &format!("{scheme}://nobody_here:sesame@{host}/postgres"));
    assert!(nobody["message"].as_str().unwrap().contains("check user and password in the URL"), "{nobody}");
    let nowhere = refused(2, &format!("{server}/no_such_database"));
    assert!(nowhere["message"].as_str().unwrap().contains("name another one in the URL"), "{nowhere}");
}

#[test]
fn a_schema_of_others_and_of_a_newer_program_are_6_and_left_alone() {
    let url = url();
    let (place, schema) = (Place::on(url.clone()), schema(&url));
    sql(&url, &format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.job (mine int)"));
    for args in [&["stats"][..], &["enqueue", "a"], &["migrate", "up"], &["migrate", "status"]] {
        assert_eq!(place.run(args).expect(6).error()["code"], "corrupt");
    }
    sql(&url, &format!("DROP TABLE {schema}.job"));
    place.run(&["enqueue", "a"]).expect(0);
    sql(&url, &format!("INSERT INTO {schema}.migration (version, min_compatible) VALUES (1000, 1)"));
    place.run(&["enqueue", "a"]).expect(0);
    assert_eq!(place.run(&["migrate", "status"]).expect(0).json()["usable"], true);
    sql(&url, &format!("UPDATE {schema}.migration SET min_compatible = 1000 WHERE version = 1000"));
    let error = place.run(&["enqueue", "a"]).expect(6).error();
    assert!(error["message"].as_str().unwrap().contains("newer windlass"), "{error}");
    assert_eq!(place.run(&["migrate", "status"]).expect(6).json()["usable"], false);
    place.run(&["migrate", "up"]).expect(6);
    place.run(&["doctor"]).expect(1);
    assert_eq!(sql(&url, &format!("SELECT count(*) FROM {schema}.job")), "2");
}

#[test]
fn a_url_that_forbids_to_migrate_names_the_command_that_does() {
    let url = url();
    let nothing = refused(3, &url);
    assert!(nothing["message"].as_str().unwrap().contains("`windlass migrate up`"), "{nothing}");
    assert!(nothing["help"].as_str().unwrap().contains("the schema in the URL"), "{nothing}");
    let off = Place::on(format!("{url}&migrate=off"));
    let error = off.run(&["enqueue", "a"]).expect(3).error();
    assert!(error["message"].as_str().unwrap().contains("run `windlass migrate up --store postgres://"), "{error}");
    assert!(error["help"].is_null(), "{error}");
    // The command itself is meant.
    off.run(&["migrate", "up"]).expect(0);
    off.run(&["enqueue", "a"]).expect(0);
}

#[test]
fn a_server_that_only_reads_is_3_and_a_failed_check() {
    let server = Server::start_with("-c default_transaction_read_only=on");
    let url = format!("{}?timeout=2s", server.url());
    assert!(refused(3, &url)["message"].as_str().unwrap().contains("name the primary"));
    let checks = run(&["doctor", "--store", &url]).expect(1).json();
    assert_eq!(checks["checks"][0]["name"], "reachable");
}

#[test]
fn the_doctor_finds_what_is_wrong_with_the_tables() {
    let url = url();
    let (place, schema) = (Place::on(url.clone()), schema(&url));
    let worker = place.worker("[kinds.a]\nbuiltin = \"noop\"", &[]);
    place.ended(&place.enqueue("a", &[]));
    let level = |name: &str| {
        let document = place.run(&["doctor"]).json();
        let checks = document["checks"].as_array().unwrap().clone();
        checks.into_iter().find(|check| check["name"] == name).unwrap()["level"].clone()
    };
    place.run(&["doctor"]).expect(0);
    sql(&url, &format!("DROP INDEX {schema}.job_listed"));
    assert_eq!(level("indexes"), "fail");
    place.run(&["doctor"]).expect(1);
    worker.stop();
}

#[test]
fn the_numbers_of_stats_are_those_of_the_sql_function() {
    let url = url();
    let (place, schema) = (Place::on(url.clone()), schema(&url));
    for (kind, queue, tenant) in [("ok", "a", "x"), ("ok", "b", "y"), ("bad", "b", "x"), ("nobody", "c", "x")] {
        place.enqueue(kind, &["--queue", queue, "--tenant", tenant, "--max-retry", "0", "--payload", r#"{"ms":3}"#]);
    }
    place.drain("[queues]\na = 1\nb = 1\n[kinds.ok]\nbuiltin = \"sleep\"\n[kinds.bad]\nbuiltin = \"fail\"");
    let by_sql = |by: &str| -> Value {
        let rows = format!("SELECT coalesce(json_agg(m), '[]') FROM {schema}.metrics('1 hour', {by}) AS m");
        serde_json::from_str(&sql(&url, &rows)).unwrap()
    };
    // Every field that both have, but the name of the row of all.
    let same = |rust: &Value, sql: &Value| {
        let fields = sql.as_object().unwrap().iter().filter(|(name, _)| *name != "name");
        let both: Vec<_> = fields.filter(|(name, _)| rust.get(*name).is_some()).collect();
        assert!(both.len() >= 13, "{both:?}");
        for (name, value) in both {
            assert_eq!(rust[name].as_f64(), value.as_f64(), "{name}: {rust} {sql}");
        }
    };
    let stats = place.run(&["stats", "--since", "1h"]).expect(0).json();
    same(&stats, &by_sql("NULL")[0]);
    assert_eq!((&stats["completed"], &stats["failed"], &stats["pending"]), (&2.into(), &1.into(), &1.into()));
    for by in ["queue", "tenant"] {
        let (items, rows) =
            (place.run(&["stats", "--since", "1h", "--by", by]).expect(0).json(), by_sql(&format!("'{by}'")));
        let (items, rows) = (items["items"].as_array().unwrap(), rows.as_array().unwrap());
        let names = |rows: &[Value]| rows.iter().map(|row| row["name"].clone()).collect::<Vec<_>>();
        assert_eq!(names(items), names(rows));
        items.iter().zip(rows).for_each(|(item, row)| same(item, row));
    }
}
