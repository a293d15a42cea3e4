//! The files in `deploy/` start the binary with flags that it has, and give it the time that it needs to end.

use std::{path::Path, process::Command, time::Duration};

use windlass::DEFAULTS;

use crate::support::Place;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// The value of a line of a unit.
fn setting<'a>(unit: &'a str, name: &str) -> &'a str {
    let line = unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("the unit sets no {name}"))
}

/// Starts a worker with these arguments, but a configuration that is there, until there is nothing left to do.
#[track_caller]
fn starts(args: &[&str]) {
    let place = Place::new();
    let config = place.file("windlass.toml", "[kinds.\"*\"]\nbuiltin = \"noop\"");
    let id = place.enqueue("a", &[]);
    let args: Vec<&str> =
        args.iter().map(|arg| if *arg == "/etc/windlass/windlass.toml" { &config } else { *arg }).collect();
    assert!(args.contains(&&*config), "{args:?} name a configuration");
    place.run(&[&args[..], &["--drain"]].concat()).expect(0);
    assert_eq!(place.job(&id)["state"], "completed");
}

#[test]
fn the_unit_starts_a_worker_and_gives_it_time_to_end() {
    let unit = read("windlass.service");
    let words: Vec<&str> = setting(&unit, "ExecStart").split(' ').collect();
    assert_eq!(words[0], "/usr/local/bin/windlass");
    starts(&words[1..]);
    let seconds: u64 = setting(&unit, "TimeoutStopSec").trim_end_matches('s').parse().unwrap();
    assert!(Duration::from_secs(seconds) >= DEFAULTS.shutdown_timeout + 3 * DEFAULTS.grace);
    assert_eq!(setting(&unit, "RestartPreventExitStatus"), "2 6", "what will be as wrong in two seconds");
    assert_eq!((setting(&unit, "Type"), setting(&unit, "KillMode")), ("notify", "mixed"));
}

#[test]
fn the_unit_passes_systemds_own_check_where_there_is_one() {
    let place = Place::new();
    // The check wants a program that is there, and manual pages that are installed.
    let unit = read("windlass.service").replace("/usr/local/bin/windlass", env!("CARGO_BIN_EXE_windlass"));
    let unit: Vec<&str> = unit.lines().filter(|line| !line.starts_with("Documentation=")).collect();
    let file = place.file("windlass.service", &unit.join("\n"));
    let Ok(checked) = Command::new("systemd-analyze").args(["verify", "--man=no", &file]).output() else { return };
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && !said.contains("windlass.service:"), "{said}");
}

#[test]
fn the_image_starts_a_worker_that_gets_its_signals_itself() {
    let image = read("Dockerfile");
    let instruction = |name: &str| -> Vec<String> {
        let line = image.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        // In brackets: without a shell in between.
        serde_json::from_str(line.trim()).unwrap()
    };
    assert_eq!(instruction("ENTRYPOINT"), ["windlass"]);
    starts(&instruction("CMD").iter().map(String::as_str).collect::<Vec<_>>());
}
