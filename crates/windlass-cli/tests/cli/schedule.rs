//! `schedule next` and `schedule lint`: documents, words, exit codes, and no store.

use serde_json::{Value, json};

use crate::support::{bare, feed, run};

fn ticks(args: &[&str]) -> Vec<String> {
    let answer = run(&[&["schedule", "next"], args].concat()).expect(0);
    let document = answer.json();
    let items = document["items"].as_array().unwrap().iter();
    items.map(|tick| tick["at"].as_str().unwrap().replace(".000000Z", "Z")).collect()
}

const NEW_YEAR: [&str; 2] = ["--from", "2026-01-01T00:00:00Z"];

#[test]
fn the_next_ticks_are_listed_with_what_the_zones_clock_shows() {
    let spec = ["schedule", "next", "30 2 * * *", "--timezone", "Europe/Berlin", "--count", "2"];
    let document = run(&[&spec[..], &["--from", "2026-03-28T12:00:00Z"]].concat()).expect(0).json();
    assert_eq!((&document["spec"], &document["timezone"]), (&json!("30 2 * * *"), &json!("Europe/Berlin")));
    assert!(document["tz_version"].as_str().unwrap().starts_with("20"));
    let first = json!({"at": "2026-03-29T01:00:00.000000Z", "local": "2026-03-29T03:00:00+02:00"});
    assert_eq!((&document["items"][0], document["items"].as_array().unwrap().len()), (&first, 2));
    // `next` leads on, as a cursor does.
    let next = document["next"].as_str().unwrap();
    assert_eq!(document["items"][1]["at"], next);
    let more = run(&[&spec[..], &["--from", next]].concat()).expect(0).json();
    assert_eq!(more["items"][0]["at"], "2026-03-31T00:30:00.000000Z");
}

#[test]
fn the_policies_and_the_flavor_are_flags() {
    let gap = ["30 2 * * *", "--timezone", "Europe/Berlin", "--count", "1", "--from", "2026-03-28T12:00:00Z"];
    assert_eq!(ticks(&[&gap[..], &["--gap", "skip"]].concat()), ["2026-03-30T00:30:00Z"]);
    assert_eq!(ticks(&[&gap[..], &["--flavor", "asynq"]].concat()), ["2026-03-30T00:30:00Z"]);
    let fold = ["30 2 * * *", "--timezone", "Europe/Berlin", "--count", "1", "--from", "2026-10-24T12:00:00Z"];
    assert_eq!(ticks(&fold), ["2026-10-25T00:30:00Z"]);
    assert_eq!(ticks(&[&fold[..], &["--fold", "second"]].concat()), ["2026-10-25T01:30:00Z"]);
    assert_eq!(ticks(&[&["@every 90m", "--count", "1"][..], &NEW_YEAR].concat()), ["2026-01-01T01:30:00Z"]);
}

#[test]
fn a_date_that_no_year_has_has_no_ticks() {
    let document = run(&["schedule", "next", "0 0 30 2 *"]).expect(0).json();
    assert_eq!((&document["items"], &document["next"]), (&json!([]), &Value::Null));
    assert_eq!(feed(bare(&["schedule", "next", "0 0 30 2 *"]), b"").expect(0).stdout, "it never runs\n");
}

#[test]
fn people_read_a_table_of_ticks() {
    let answer = feed(bare(&[&["schedule", "next", "@daily", "--count", "1"][..], &NEW_YEAR].concat()), b"").expect(0);
    let lines: Vec<&str> = answer.stdout.lines().collect();
    assert!(lines[0].starts_with("UTC"), "{answer:?}");
    assert_eq!(lines[1], "2026-01-02T00:00:00.000000Z  2026-01-02T00:00:00+00:00");
}

#[test]
fn a_refused_spec_zone_or_flag_is_exit_2_and_named() {
    for (args, part) in [
        (&["next", "0 25 * * *"][..], "hour `25`"),
        (&["lint", "0 25 * * *"], "hour `25`"),
        (&["next", "@daily", "--timezone", "Europe/Atlantis"], "time zone `Europe/Atlantis`"),
        (&["next", "0 0 0 * * *", "--flavor", "asynq"], "exactly five"),
        (&["next", "@daily", "--flavor", "asynq", "--gap", "skip"], "rules of its own"),
        (&["next", "@daily", "--count", "0"], "--count"),
        (&["next", "@daily", "--from", "yesterday"], "--from"),
    ] {
        let error = run(&[&["schedule"], args].concat()).expect(2).error();
        assert!(error["message"].as_str().unwrap().contains(part), "{args:?}: {error}");
        assert_eq!(error["code"], "usage");
    }
}

#[test]
fn a_warning_is_exit_1_and_none_is_0() {
    let document = run(&["schedule", "lint", "* 0 * * *"]).expect(1).json();
    assert_eq!((&document["items"][0]["code"], &document["next"]), (&json!("many_runs"), &Value::Null));
    assert!(document["items"][0]["message"].as_str().unwrap().contains("60 times"));
    assert_eq!(run(&["schedule", "lint", "0 0 * * *"]).expect(0).json()["items"], json!([]));
    let words = feed(bare(&["schedule", "lint", "*/7 * * * *", "--flavor", "asynq"]), b"").expect(1).stdout;
    assert!(words.starts_with("uneven_step: "), "{words}");
}
