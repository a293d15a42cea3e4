//! The tables of `bench/`: from figures as documents to medians, ranges and ratios; a figure that is not exact is none.

use std::process::Command;

use crate::support::{Answer, Place, feed};

fn awk(program: &str, input: &str) -> Answer {
    let mut command = Command::new("awk");
    command.args(["-f", &format!("{}/../../bench/{program}", env!("CARGO_MANIFEST_DIR"))]);
    feed(command, input.as_bytes())
}

/// A figure of a drain as a document.
fn drained(peer: &str, rate: u32, lost: u32) -> String {
    format!(
        "{{{peer}\"store\":\"redis\",\"phase\":\"drain\",\"jobs\":1000,\"concurrency\":50,\"rate\":{rate}.5,\"p50_ms\":null,\
         \"p99_ms\":null,\"cpu_us_per_job\":4.25,\"store_cpu_us_per_job\":8.0,\"peak_rss_bytes\":10485760,\
         \"delivery\":{{\"enqueued\":1000,\"finished\":1000,\"lost\":{lost},\"twice\":0}}}}\n"
    )
}

const ASYNQ: &str = "\"peer\":\"asynq\",\"mode\":\"default\",\"version\":\"v0.26.0\",";

#[test]
fn a_table_has_median_range_and_how_many_times_as_fast_ours_is() {
    let rounds = [(300, 30), (100, 10), (200, 20)];
    let figures: String =
        rounds.iter().map(|(ours, theirs)| drained("", *ours, 0) + &drained(ASYNQ, *theirs, 0)).collect();
    let table = awk("report.awk", &awk("figures.awk", &figures).expect(0).stdout).expect(0).stdout;
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows[2], "| redis | drain | 50 | 1000 | windlass | 200 (100-300) | - | 4.2 | 8.0 | 10.0 |  |");
    assert_eq!(rows[3], "| redis | drain | 50 | 1000 | asynq, default | 20 (10-30) | - | 4.2 | 8.0 | 10.0 | 9.78 |");
}

#[test]
fn a_figure_that_lost_a_job_ends_the_measurement_and_so_does_none() {
    let answer = awk("figures.awk", &drained(ASYNQ, 10, 1)).expect(1);
    assert!(answer.stderr.contains("delivery is not exact"), "{answer:?}");
    awk("figures.awk", "").expect(1);
}

#[test]
fn a_section_of_the_results_is_replaced_and_the_others_stay() {
    let place = Place::new();
    std::fs::create_dir(place.path("bench")).unwrap();
    place.file("bench/RESULTS.md", "before\n<!-- a -->\nold\n<!-- /a -->\nafter\n");
    let script = format!(
        ". {}/../../bench/results.sh; echo new | write_section a; echo more | write_section b",
        env!("CARGO_MANIFEST_DIR")
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]).current_dir(place.folder.path());
    feed(command, b"").expect(0);
    let text = std::fs::read_to_string(place.path("bench/RESULTS.md")).unwrap();
    let expected = "before\n<!-- a -->\nnew\n<!-- /a -->\nafter\n\n<!-- b -->\nmore\n<!-- /b -->\n";
    assert_eq!(text, expected);
}
