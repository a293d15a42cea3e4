//! `windlass migrate`: what is there, what would be done, the SQL, and the way back.

use std::process::Stdio;

use crate::{
    servers::postgres::{Server, program},
    support::{Place, has_fields, run},
};

mod on_sqlite {
    use crate::support::Place;

    #[test]
    fn a_store_is_looked_at_made_and_taken_away() {
        super::is_looked_at_made_and_taken_away(&Place::new());
    }
}

mod on_postgres {
    use crate::support::Place;

    #[test]
    fn a_store_is_looked_at_made_and_taken_away() {
        super::is_looked_at_made_and_taken_away(&Place::on_postgres());
    }
}

fn is_looked_at_made_and_taken_away(place: &Place) {
    let status = || place.run(&["migrate", "status"]).expect(0).json();
    let before = status();
    has_fields(&before, "store place version min_compatible known usable pending");
    assert_eq!((&before["version"], &before["usable"]), (&0.into(), &false.into()));
    let pending = before["pending"].as_array().unwrap().clone();
    let known = before["known"].as_u64().unwrap();
    assert_eq!(pending.len() as u64, known);
    has_fields(&pending[0], "version name min_compatible");
    let would = place.run(&["migrate", "--dry-run"]).expect(0).json();
    assert_eq!((&would["steps"], &would["dry_run"]), (&before["pending"], &true.into()));
    assert!(place.run(&["migrate", "--sql"]).expect(0).json()["sql"].as_str().unwrap().contains("BEGIN"));
    assert_eq!(status(), before, "nobody has made anything");
    place.run(&["stats"]).expect(3);
    let done = place.run(&["migrate", "up"]).expect(0).json();
    assert_eq!((&done["from"], &done["to"], &done["dry_run"]), (&0.into(), &known.into(), &false.into()));
    assert_eq!((&status()["version"], &status()["usable"]), (&known.into(), &true.into()));
    assert_eq!(place.run(&["migrate", "up"]).expect(0).json()["steps"], serde_json::json!([]), "nothing to do");

    let id = place.enqueue("a", &[]);
    let error = place.run(&["migrate", "down"]).expect(5).error();
    assert_eq!(error["code"], "conflict");
    assert!(error["message"].as_str().unwrap().contains("1 jobs") && error["help"].as_str().unwrap().contains("--yes"));
    let would = place.run(&["migrate", "down", "--to", "0", "--dry-run"]).expect(0).json();
    assert_eq!(would["lost"], serde_json::json!({ "jobs": 1, "servers": 0 }));
    place.run(&["job", "inspect", &id]).expect(0);
    let back = place.run(&["migrate", "down", "--to", "0", "--yes"]).expect(0).json();
    assert_eq!((&back["to"], &back["lost"]["jobs"]), (&0.into(), &1.into()));
    assert_eq!(status(), before);
    // Empty, it needs no force.
    place.run(&["migrate", "up"]).expect(0);
    place.run(&["migrate", "down"]).expect(0);
    assert_eq!(status()["version"], known - 1);
}

#[test]
fn stores_without_tables_and_flags_that_make_no_sense_are_2() {
    let error = run(&["migrate", "up", "--store", "redis://127.0.0.1:1"]).expect(2).error();
    assert!(error["message"].as_str().unwrap().contains("no migrations"), "{error}");
    let place = Place::new();
    for args in [
        &["migrate"][..],
        &["migrate", "up", "--yes"],
        &["migrate", "status", "--sql"],
        &["migrate", "--sql", "--dry-run"],
    ] {
        place.run(args).expect(2);
    }
    place.run(&["migrate", "down", "--to", "-1"]).expect(2);
    run(&["migrate", "status", "--store", "postgres://w@127.0.0.1:1/x"]).expect(3);
}

/// What `pg_dump` says of a database, without the words that it never says twice.
fn dump(server: &Server, database: &str) -> String {
    let mut dump = program("pg_dump");
    dump.args(["-h", "127.0.0.1", "-p", &server.port.to_string(), "-U", "windlass", "--schema-only", database]);
    let output = dump.output().expect("pg_dump runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    // The comment on this table is the store's id.
    let its_own = |line: &&str| line.starts_with('\\') || line.starts_with("COMMENT ON TABLE jobs.meta ");
    text.lines().filter(|line| !its_own(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_psql_makes_of_the_printed_sql_is_what_the_program_makes() {
    let server = Server::start();
    let psql = |args: &[&str]| {
        let mut psql = program("psql");
        psql.args(["-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", &server.port.to_string(), "-U", "windlass"]);
        psql.args(args).stdout(Stdio::null()).status().expect("psql runs").success()
    };
    for database in ["made", "printed"] {
        assert!(psql(&["-c", &format!("CREATE DATABASE {database}"), "postgres"]));
    }
    let url = |database: &str| server.url().replace("/postgres", &format!("/{database}")) + "?schema=jobs";
    let (made, printed) = (Place::on(url("made")), Place::on(url("printed")));
    made.run(&["migrate", "up"]).expect(0);
    let text = crate::support::feed(printed.command(&["migrate", "up", "--sql"]), b"").expect(0).stdout;
    let file = printed.file("up.sql", &text);
    assert!(psql(&["-f", &file, "printed"]));
    assert!(dump(&server, "made").contains("CREATE TABLE jobs.job "), "the control");
    assert_eq!(dump(&server, "printed"), dump(&server, "made"));
    let status = |place: &Place| {
        let mut status = place.run(&["migrate", "status"]).expect(0).json();
        status["place"].take();
        status
    };
    assert_eq!(status(&printed), status(&made));
    printed.enqueue("a", &[]);
    assert!(!psql(&["-f", &file, "printed"]), "it comes too late");
    printed.run(&["stats"]).expect(0);
}
