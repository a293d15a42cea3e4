//! Every exit code and its word, and what the message says.

use std::{fs, io::Write, process::Stdio};

use crate::support::{Place, bare, feed, on_each_store, run};

on_each_store! {
    a_job_that_never_was_is_4_and_one_that_was_removed_is_gone
    a_removed_job_with_an_id_of_its_own_is_answered_with_the_same_advice
    what_the_state_does_not_allow_is_5
    a_wait_that_runs_out_is_7_and_a_job_that_failed_is_1
}

#[test]
fn usage_is_2_and_help_and_version_are_0() {
    for args in
        [&["nonsense"][..], &["enqueue"], &["enqueue", "a", "--priority", "x"], &["job", "list", "--state", "odd"]]
    {
        let answer = run(args).expect(2);
        assert_eq!(answer.error()["code"], "usage", "{answer:?}");
    }
    assert_eq!(feed(bare(&[]), b"").code, 2);
    let help = feed(bare(&["--help"]), b"").expect(0).stdout;
    assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{help}");
    assert!(feed(bare(&["--version"]), b"").expect(0).stdout.starts_with("windlass "));
}

#[test]
fn a_bad_duration_is_2_and_told_with_the_units() {
    let answer = Place::new().run(&["enqueue", "a", "--timeout", "5x"]).expect(2);
    assert!(answer.error()["message"].as_str().unwrap().contains("500ms, 10s, 5m, 1h or 2d"), "{answer:?}");
}

#[test]
fn no_store_is_2_with_advice() {
    for args in [&["enqueue", "a"][..], &["job", "list"], &["stats"], &["queue", "list"]] {
        let error = run(args).expect(2).error();
        assert!(error["help"].as_str().unwrap().contains("WINDLASS_STORE"), "{error}");
    }
}

#[test]
fn an_unknown_scheme_is_2_and_memory_is_2_where_it_makes_no_sense() {
    assert_eq!(run(&["--store", "mongo:x", "stats"]).expect(2).error()["code"], "unsupported");
    assert_eq!(run(&["--store", "jobs.db", "stats"]).expect(2).error()["code"], "invalid");
    for args in [&["enqueue", "a"][..], &["stats"], &["job", "list"], &["prune", "--older-than", "1d"]] {
        let error = run(&[&["--store", "memory:"], args].concat()).expect(2).error();
        assert!(error["message"].as_str().unwrap().contains("one process"), "{error}");
    }
}

#[test]
fn a_store_that_is_not_there_is_3_and_not_made_by_those_who_look() {
    let place = Place::new();
    for args in [
        &["stats"][..],
        &["job", "list"],
        &["queue", "list"],
        &["prune", "--older-than", "1d"],
        &["job", "cancel", "x"],
    ] {
        let error = place.run(args).expect(3).error();
        assert_eq!(error["code"], "unavailable");
        assert!(error["message"].as_str().unwrap().contains("`windlass enqueue`"), "{error}");
    }
    assert!(!place.path("jobs.db").exists());
    place.run(&["enqueue", "a"]).expect(0);
    place.run(&["stats"]).expect(0);
}

#[test]
fn a_path_that_cannot_be_opened_is_3() {
    let place = Place::new();
    let folder = format!("sqlite:{}", place.folder.path().display());
    for url in [folder.as_str(), "sqlite:/nowhere/at/all/jobs.db", "sqlite:/proc/version"] {
        let code = run(&["--store", url, "enqueue", "a"]).code;
        assert!(code == 3 || (url.contains("proc") && code == 6), "{url}: {code}");
    }
}

#[test]
#[allow(clippy::permissions_set_readonly_false, reason = "a file of this test's own folder")]
fn a_database_that_may_not_be_written_is_3() {
    let place = Place::new();
    place.run(&["enqueue", "a"]).expect(0);
    let database = place.path("jobs.db");
    let mut permissions = fs::metadata(&database).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&database, permissions).unwrap();
    // The superuser may write all the same.
    let allowed = fs::OpenOptions::new().append(true).open(&database).is_ok();
    place.run(&["enqueue", "a"]).expect(if allowed { 0 } else { 3 });
}

#[test]
fn a_foreign_a_cut_and_a_newer_database_are_6_and_left_alone() {
    let place = Place::new();
    place.file("jobs.db", "this is a letter to my aunt, and no database at all\n");
    let answer = place.run(&["enqueue", "a"]).expect(6);
    assert_eq!(answer.error()["code"], "corrupt");
    assert!(fs::read_to_string(place.path("jobs.db")).unwrap().starts_with("this is a letter"));

    let place = Place::new();
    place.run(&["enqueue", "a"]).expect(0);
    let bytes = fs::read(place.path("jobs.db")).unwrap();
    for name in ["jobs.db-wal", "jobs.db-shm"] {
        let _ = fs::remove_file(place.path(name));
    }
    fs::write(place.path("jobs.db"), &bytes[..bytes.len() / 3]).unwrap();
    place.run(&["stats"]).expect(6);
    place.run(&["enqueue", "a"]).expect(6);

    let place = Place::new();
    place.run(&["enqueue", "a"]).expect(0);
    let database = rusqlite::Connection::open(place.path("jobs.db")).unwrap();
    let newer = "INSERT INTO windlass_migration (version, min_compatible, at) VALUES (999, 999, 0)";
    database.execute(newer, []).unwrap();
    let answer = place.run(&["stats"]).expect(6);
    assert!(answer.error()["message"].as_str().unwrap().contains("newer"), "{answer:?}");
}

fn a_job_that_never_was_is_4_and_one_that_was_removed_is_gone(place: Place) {
    let kept = place.enqueue("a", &[]);
    assert_eq!(place.run(&["job", "inspect", "nobody"]).expect(4).error()["code"], "not_found");
    assert_eq!(place.run(&["queue", "pause", "nowhere"]).expect(4).error()["code"], "not_found");
    place.run(&["job", "delete", &kept]).expect(0);
    for action in ["inspect", "cancel", "wait", "redrive"] {
        let error = place.run(&["job", action, &kept]).expect(4).error();
        assert_eq!(error["code"], "gone");
        assert!(error["message"].as_str().unwrap().contains("is not in this store"), "{error}");
        assert!(error["help"].as_str().unwrap().contains("--retention"), "{error}");
    }
}

fn a_removed_job_with_an_id_of_its_own_is_answered_with_the_same_advice(place: Place) {
    place.run(&["enqueue", "a", "--id", "invoice-42"]).expect(0);
    place.run(&["job", "delete", "invoice-42"]).expect(0);
    let error = place.run(&["job", "inspect", "invoice-42"]).expect(4).error();
    assert!(error["message"].as_str().unwrap().contains("is not in this store"), "{error}");
    assert!(error["help"].as_str().unwrap().contains("--retention"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_stdout_that_cannot_be_written_is_named_and_the_jobs_are_enqueued() {
    let place = Place::new();
    let config = place.file("config.toml", "[kinds.a]\nbuiltin = \"noop\"\n");
    for args in
        [&["enqueue", "--batch", "-"][..], &["enqueue", "a"], &["stats"], &["work", "--config", &config, "--drain"]]
    {
        let mut command = place.command(args);
        command.args(["--json"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        command.stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
        let mut child = command.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(b"{\"kind\":\"a\"}\n");
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
        assert!(text.contains("the answer cannot be written to stdout"), "{args:?}: {text}");
        assert!(!args.contains(&"--batch") || text.contains("are enqueued"), "{args:?}: {text}");
    }
    assert_eq!(place.run(&["stats"]).json()["enqueued"], 2, "the jobs were enqueued all the same");
}

fn what_the_state_does_not_allow_is_5(place: Place) {
    let id = place.enqueue("a", &[]);
    for action in ["redrive", "run"] {
        assert_eq!(place.run(&["job", action, &id]).expect(5).error()["code"], "conflict");
    }
    place.run(&["job", "bury", &id]).expect(0);
    place.run(&["job", "cancel", &id]).expect(5);
    place.run(&["job", "redrive", &id]).expect(0);
}

fn a_wait_that_runs_out_is_7_and_a_job_that_failed_is_1(place: Place) {
    let id = place.enqueue("a", &[]);
    let answer = place.run(&["job", "wait", &id, "--timeout", "20ms"]).expect(7);
    assert_eq!(answer.error()["code"], "timeout");
    place.run(&["enqueue", "a", "--wait", "20ms"]).expect(7);
    place.run(&["job", "cancel", &id]).expect(0);
    let answer = place.run(&["job", "wait", &id]).expect(1);
    assert_eq!(answer.json()["status"], "failed");
}

#[test]
fn people_get_words_and_advice() {
    let place = Place::new();
    let answer = feed(place.command(&["stats"]), b"").expect(3);
    assert!(answer.stderr.starts_with("error: ") && answer.stderr.contains("\nhelp: "), "{answer:?}");
    assert!(answer.stdout.is_empty());
}

#[test]
fn a_mistake_in_the_configuration_is_2_and_named() {
    let place = Place::new();
    let refused = |text: &str| {
        let config = place.file("config.toml", text);
        let error = place.run(&["work", "--config", &config]).expect(2).error();
        assert_eq!(error["code"], "config", "{error}");
        error["message"].as_str().unwrap().to_owned()
    };
    assert!(refused("colour = 1").contains("`colour`"));
    assert!(refused("[kinds.a]\nbuiltin = \"noop\"\nretires = 1").contains("`retires`"));
    assert!(refused("lease = \"10 s\"").contains("`10 s`"));
    assert!(refused("[[schedules]]\nname = \"x\"").contains("missing field `kind`"));
    assert!(refused("[[http.tokens]]\nrole = \"viewer\"").contains("this version has no `http.tokens`"));
    assert!(refused("[kinds.a]\nbuiltin = \"noop\"\nbreaker = { min_calls = 0 }").contains("breaker of `a`"));
    assert!(refused("concurrency = 0\n[kinds.a]\nbuiltin = \"noop\"").contains("concurrency"));
    assert!(refused("lease = \"1ms\"\n[kinds.a]\nbuiltin = \"noop\"").contains("lease"));
    assert!(refused("[kinds.a]\nbuiltin = \"noop\"\nconcurrency = 0").contains("`a`"));
    assert!(refused("[kinds.a").contains("line 1"));
    assert!(!place.path("jobs.db").exists(), "no store is made before all is checked");
    let error = place.run(&["work"]).expect(2).error();
    assert!(error["help"].as_str().unwrap().contains("[kinds."), "{error}");
    place.run(&["work", "--config", "nowhere.toml"]).expect(2);
}

#[test]
fn the_store_of_a_flag_goes_before_the_environment_before_the_configuration() {
    let place = Place::new();
    let [flag, environment, config] = ["flag.db", "environment.db", "config.db"].map(|name| place.path(name));
    let text = format!("store = \"sqlite:{}\"", config.display());
    let file = place.file("config.toml", &text);
    let enqueue = |args: &[&str], environment: Option<&str>| {
        let mut command = bare(&[&["enqueue", "a", "--config", &file], args].concat());
        command.envs(environment.map(|url| ("WINDLASS_STORE", url)));
        feed(command, b"").expect(0)
    };
    enqueue(&[], Some(""));
    assert!(config.exists() && !environment.exists());
    let url = format!("sqlite:{}", environment.display());
    enqueue(&[], Some(&url));
    assert!(environment.exists() && !flag.exists());
    enqueue(&["--store", &format!("sqlite:{}", flag.display())], Some(&url));
    assert!(flag.exists());
}
