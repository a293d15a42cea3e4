//! A worker as an orchestrator sees it: its endpoints, and what it tells systemd.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{PATIENCE, Place, on_each_store};

on_each_store! {
    a_worker_is_live_to_its_end_and_ready_until_it_stops
}

const NAP: &str = "[kinds.nap]\nbuiltin = \"sleep\"\n";

/// An address that is free now.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The status and the body.
fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.trim().to_owned())
}

fn a_worker_is_live_to_its_end_and_ready_until_it_stops(place: Place) {
    let address = free_address();
    let worker = place.worker(&format!("{NAP}[http]\nlisten = \"{address}\""), &[]);
    let id = place.enqueue("nap", &["--payload", r#"{"ms":600000}"#]);
    worker.event("started", &id);
    assert_eq!(get(&address, "/healthz"), (200, "ok".into()));
    let (status, body) = get(&address, "/readyz");
    let health: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &health["claiming"], &health["busy"]), (200, &true.into(), &1.into()));
    assert_eq!(get(&address, "/elsewhere").0, 404);

    // It shuts down as long as its job lasts, and says so.
    worker.signal(Signal::TERM);
    while get(&address, "/readyz").0 == 200 {
        std::thread::yield_now();
    }
    assert_eq!(get(&address, "/readyz").0, 503);
    assert_eq!(get(&address, "/healthz").0, 200);
    place.run(&["job", "cancel", &id]).expect(0);
    worker.stop_after_signal();
}

#[test]
fn a_quiet_worker_is_not_ready() {
    let (place, address) = (Place::new(), free_address());
    let worker = place.worker(NAP, &["--listen", &address]);
    let id = place.enqueue("nap", &["--payload", r#"{"ms":1}"#]);
    worker.event("finished", &id);
    assert_eq!(get(&address, "/readyz").0, 200);
    worker.signal(Signal::USR1);
    while get(&address, "/readyz").0 == 200 {
        std::thread::yield_now();
    }
    worker.stop();
}

#[test]
fn an_address_that_cannot_be_had_is_a_mistake_of_the_configuration() {
    let place = Place::new();
    let config = place.file("config.toml", NAP);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [&*taken.local_addr().unwrap().to_string(), "nonsense"] {
        let error = place.run(&["work", "--config", &config, "--listen", address]).expect(2).error();
        assert!(error["message"].as_str().unwrap().contains("cannot listen on"), "{error}");
    }
}

#[test]
fn a_command_does_not_speak_to_the_service_manager() {
    let place = Place::new();
    let config = "[kinds.a]\ncommand = [\"sh\", \"-c\", \"env | grep -E 'NOTIFY_SOCKET|WATCHDOG' || echo '{}'\"]";
    let config = place.file("config.toml", config);
    let id = place.enqueue("a", &[]);
    let mut command = place.command(&["work", "--config", &config, "--drain"]);
    command.env("NOTIFY_SOCKET", place.path("nobody")).env("WATCHDOG_USEC", "100000").env("WATCHDOG_PID", "1");
    assert!(command.status().unwrap().success());
    assert_eq!(place.job(&id)["result"], serde_json::json!({}), "it saw what is meant for the worker");
}

#[test]
fn systemd_hears_that_a_worker_is_ready_lives_and_stops() {
    let place = Place::new();
    let socket = UnixDatagram::bind(place.path("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).expect("the worker says nothing");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let config = place.file("config.toml", NAP);
    let mut command = place.command(&["work", "--config", &config]);
    command.env("NOTIFY_SOCKET", place.path("notify")).env("WATCHDOG_USEC", "100000");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let (mut heard, mut beats) = (Vec::new(), 0);
    while !heard.contains(&"READY=1".to_owned()) || beats < 3 {
        let said = hear();
        beats += u32::from(said == "WATCHDOG=1");
        heard.push(said);
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    while heard.last().is_none_or(|last| last != "STOPPING=1") {
        heard.push(hear());
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(heard.iter().all(|said| ["READY=1", "WATCHDOG=1", "STOPPING=1"].contains(&&**said)), "{heard:?}");
}
