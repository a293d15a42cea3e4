//! What the compiler says about handlers that are none: with `#[check_handler]` each message names the argument that
//! does not fit. The snapshots are those of one compiler (`SNAPSHOT`), since others word their messages otherwise;
//! with any other one nothing is compared, and in CI (`CI` is set) the test fails. `TRYBUILD=overwrite` writes the snapshots anew.

use std::process::Command;

/// Whose messages are in `ui/*.stderr`.
const SNAPSHOT: &str = "rustc 1.95.";

#[test]
fn a_wrong_handler_is_refused_with_a_message_that_names_what_is_wrong() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().expect("the compiler that built this test is there");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    if !version.starts_with(SNAPSHOT) {
        let in_ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
        assert!(!in_ci, "CI has {version}; write the snapshots anew with it (TRYBUILD=overwrite) and change SNAPSHOT");
        println!("{} has other words than {SNAPSHOT}x: the snapshots are not compared", version.trim());
        return;
    }
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
