//! What is Redis's alone: servers that are away or refuse, what the doctor finds in one, figures of its CPU, and an
//! outage in the middle of the work.

use serde_json::Value;

use crate::{
    servers::{Server, redis_url},
    support::{Place, bare, feed, run},
};

/// The error of a command on this store, which ends with this code.
#[track_caller]
fn refused(code: i32, url: &str) -> Value {
    run(&["stats", "--store", url]).expect(code).error()
}

#[test]
fn a_server_that_is_away_is_3_with_an_advice_that_fits() {
    for url in ["redis://127.0.0.1:1", "redis+unix:///nowhere/redis.sock"] {
        let error = refused(3, url);
        assert_eq!(error["code"], "unavailable");
        assert!(error["help"].as_str().unwrap().contains("a server answers there"), "{error}");
        let checks = run(&["doctor", "--store", url]).expect(1).json();
        assert_eq!(
            (&checks["checks"][0]["name"], &checks["checks"][0]["level"]),
            (&"reachable".into(), &"fail".into())
        );
    }
}

#[test]
fn a_url_that_makes_no_sense_is_2() {
    for url in ["redis://", "redis:6379", "redis://127.0.0.1:99999", "redis://127.0.0.1/x", "redis://127.0.0.1?prefx=a"]
    {
        assert_eq!(refused(2, url)["code"], "invalid", "{url}");
    }
}

#[test]
fn what_a_server_refuses_is_2_and_shows_no_password() {
    let server = Server::start_with("--save '' --requirepass sesame");
    let at = format!("127.0.0.1:{}", server.port);
    for url in [format!("redis://{at}"), format!("redis://:secret@{at}"), format!("redis://ann:secret@{at}")] {
        let message = refused(2, &url)["message"].as_str().unwrap().to_owned();
        assert!(message.contains("in the URL") && !message.contains("secret"), "{message}");
    }
    let message = refused(2, &format!("redis://:sesame@{at}/100000"))["message"].as_str().unwrap().to_owned();
    assert!(message.contains("check the database's number"), "{message}");
    run(&["stats", "--store", &format!("redis://:sesame@{at}/1")]).expect(0);
}

#[test]
fn a_replica_is_2_with_the_advice_to_take_its_primary() {
    let primary = Server::start();
    let replica = Server::start_with(&format!("--save '' --replicaof 127.0.0.1 {}", primary.port));
    let error = refused(2, &replica.url(0));
    assert_eq!(error["code"], "unsupported");
    assert!(error["message"].as_str().unwrap().contains("its primary"), "{error}");
}

#[test]
fn the_doctor_says_what_is_amiss_and_other_commands_do_not_repeat_it() {
    let server = Server::start_with("--save '' --maxmemory 100mb --maxmemory-policy allkeys-lru");
    let place = Place::on(server.url(0));
    let document = place.run(&["doctor"]).expect(0).json();
    let level = |name: &str| {
        let checks = document["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == name).unwrap()["level"].clone()
    };
    assert_eq!((level("eviction"), level("durability"), level("role")), ("warn".into(), "warn".into(), "ok".into()));
    assert_eq!(place.run(&["enqueue", "a"]).expect(0).stderr, "");
    let config = place.file("config.toml", "[kinds.a]\nbuiltin = \"noop\"");
    let worker = place.run(&["work", "--config", &config, "--drain"]).expect(0);
    assert!(worker.stderr.contains("set maxmemory-policy noeviction"), "{worker:?}");
}

#[test]
fn a_worker_outlives_the_restart_of_its_server() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = format!("--save '' --appendonly yes --appendfsync always --dir {}", folder.path().display());
    let server = Server::start_with(&arguments);
    let (place, port) = (Place::on(server.url(0)), server.port);
    let worker = place.worker("[kinds.nap]\nbuiltin = \"sleep\"", &[]);
    let id = place.enqueue("nap", &["--payload", r#"{"ms":1}"#]);
    worker.event("finished", &id);
    drop(server);
    place.run(&["enqueue", "nap"]).expect(3);
    let _server = Server::try_start(port, &arguments).expect("its port is still free");
    let id = place.enqueue("nap", &["--payload", r#"{"ms":1}"#]);
    assert_eq!(worker.event("finished", &id)["state"], "completed");
    worker.stop();
}

#[test]
fn figures_have_the_cpu_of_the_server_beside_that_of_the_program() {
    let url = redis_url();
    let args =
        ["bench", "--store", &url, "--jobs", "500", "--phase", "drain", "--concurrency", "4", "--backlog", "100"];
    let item = run(&args).expect(0).json()["items"][0].clone();
    assert_eq!((&item["store"], &item["delivery"]["finished"]), (&"redis".into(), &500.into()));
    assert!(item["store_cpu_us_per_job"].as_f64().unwrap() > 0.0, "{item}");
    let table = feed(bare(&args), b"").expect(0).stdout;
    assert!(table.contains("STORE CPU US/JOB") && table.contains("exact"), "{table}");
    // A store that lives in the program has none.
    let item = run(&["bench", "--store", "memory:", "--jobs", "500", "--phase", "drain"]).expect(0).json();
    assert!(item["items"][0]["store_cpu_us_per_job"].is_null(), "{item}");
}
