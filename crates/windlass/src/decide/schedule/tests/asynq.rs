//! Asynq's flavour against what Go's own library answered (`asynq.tsv`, written by `interop/cron`). Where Go is there, it
//! is asked again, and must still say the same.

use std::{collections::BTreeMap, path::Path, process::Command};

use super::*;

const TABLE: &str = include_str!("asynq.tsv");

/// What we answer to a question of the table, in its words.
fn answer(spec: &str, zone: &str, after: &str) -> String {
    let Ok(spec) = ScheduleSpec::parse_as(spec, Flavor::Asynq) else { return "refused".into() };
    let spec = spec.timezone(zone).unwrap();
    let mut ticks: Vec<String> = Vec::new();
    let mut from = at(after);
    while ticks.len() < 4 {
        let Some(tick) = spec.next(from) else {
            ticks.push("never".into());
            break;
        };
        ticks.push(tick.to_string().replace(".000000Z", "Z"));
        from = tick;
    }
    ticks.join(" ")
}

#[test]
fn specs_of_asynq_mean_what_go_says() {
    let mut wrong = Vec::new();
    let mut kinds: BTreeMap<&str, u32> = BTreeMap::new();
    for line in TABLE.lines() {
        let [spec, zone, after, said] = *line.split('\t').collect::<Vec<_>>() else { panic!("{line}") };
        // Where Go's library panics, we refuse.
        let expected = if said == "panics" { "refused" } else { said };
        *kinds.entry(if said.len() > 8 { "ticks" } else { said }).or_default() += 1;
        let ours = answer(spec, zone, after);
        if ours != expected {
            wrong.push(format!("`{spec}` in {zone} after {after}:\n  Go   {expected}\n  ours {ours}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), TABLE.lines().count(), wrong.join("\n"));
    assert!(kinds["ticks"] > 1000 && ["refused", "panics", "never"].iter().all(|kind| kinds[kind] > 0), "{kinds:?}");
}

#[test]
fn go_still_says_what_was_written_down() {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop");
    let said = match Command::new("go").args(["run", "./cron"]).current_dir(module).output() {
        Ok(said) => said,
        Err(error) if std::env::var_os("CI").is_some() => panic!("Go is missing: {error}"),
        Err(error) => return eprintln!("Go is missing ({error}), so it is not asked again"),
    };
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let said = String::from_utf8(said.stdout).unwrap();
    let changed: Vec<_> = TABLE.lines().zip(said.lines()).filter(|(old, new)| old != new).take(5).collect();
    assert!(changed.is_empty() && TABLE == said, "the table and Go differ, first in {changed:#?}");
}

#[test]
fn a_day_that_a_zone_leaves_out_is_stepped_over() {
    // Samoa had no 30th of December 2011. Go's library never answers this.
    let sundays = ScheduleSpec::parse_as("TZ=Pacific/Apia 0 12 * * 0", Flavor::Asynq).unwrap();
    assert_eq!(next(&sundays, "2011-12-27T00:00:00Z", 1), ["2011-12-31T22:00:00"]);
}

#[test]
fn a_zone_and_nothing_else_is_refused() {
    let error = ScheduleSpec::parse_as("TZ=UTC", Flavor::Asynq).unwrap_err();
    assert!(error.to_string().contains("write the five fields after it"), "{error}");
}
