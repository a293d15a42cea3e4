//! Holds docs/scenarios.md to the sources: every scenario of the list has its tests and its control, and every test that the
//! page names exists.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The scenarios that this version answers for.
const SCENARIOS: &[u32] = &[
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 31, 32, 33, 34, 35, 36,
    37, 38, 39, 40, 45, 47, 50,
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The names of all functions in the sources of the library and the binary, tests included.
fn functions() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![root().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(path).unwrap();
                let names_of = text.lines().filter_map(|line| {
                    let rest = line.split_once("fn ")?.1;
                    Some(rest.split(['(', '<']).next()?.to_owned())
                });
                names.extend(names_of);
            }
        }
    }
    names
}

/// Rows of the page: the number, the tests, the control.
fn rows(page: &str) -> Vec<(u32, &str, &str)> {
    let row = |line| {
        let cells: Vec<&str> = str::split(line, '|').map(str::trim).collect();
        Some((cells.get(1)?.parse().ok()?, *cells.get(3)?, *cells.get(4)?))
    };
    page.lines().filter_map(row).collect()
}

/// What stands between backticks and is no single word: tests and scripts.
fn named(cell: &str) -> Vec<&str> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted.filter(|name| name.contains('/') || name.matches('_').count() > 1).collect()
}

/// What is wrong with a page.
fn faults(page: &str, functions: &BTreeSet<String>) -> Vec<String> {
    let rows = rows(page);
    let mut faults = Vec::new();
    if rows.iter().map(|(number, ..)| *number).ne(SCENARIOS.iter().copied()) {
        faults.push("the rows are not the scenarios of the list, in order".to_owned());
    }
    for (number, tests, control) in rows {
        if named(tests).is_empty() || control.len() < 20 {
            faults.push(format!("scenario {number} has no test or no control"));
        }
        for name in [named(tests), named(control)].concat() {
            let exists = if name.contains('/') { root().join(name).exists() } else { functions.contains(name) };
            if !exists {
                faults.push(format!("scenario {number} names `{name}`, which is not there"));
            }
        }
    }
    faults
}

#[test]
fn every_scenario_has_its_tests_and_its_control_and_all_of_them_exist() {
    let page = fs::read_to_string(root().join("docs/scenarios.md")).unwrap();
    assert_eq!(faults(&page, &functions()), [""; 0]);
}

#[test]
fn a_page_that_is_not_true_is_found() {
    let page = fs::read_to_string(root().join("docs/scenarios.md")).unwrap();
    let functions = functions();
    let found = |page: &str, what: &str| faults(page, &functions).iter().any(|fault| fault.contains(what));
    assert!(found(&page.replace("each_job_is_promoted_once", "each_job_is_promoted_thrice"), "promoted_thrice"));
    assert!(found(&page.replace("bench/chaos.sh", "bench/order.sh"), "bench/order.sh"));
    assert!(found(&page.replace("| 7 |", "| 77 |"), "in order"));
    assert!(found(&page.replace("`a_promoter_that_a_key_stops_is_caught`", ""), "scenario 32 has no"));
}
