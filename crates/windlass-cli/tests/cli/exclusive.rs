//! Exclusive jobs from the shell: what the answers and the documents say of them, and what an operator may do.

use serde_json::{Value, json};

use crate::support::{Place, feed, on_each_store};

on_each_store! {
    a_blocked_job_says_so_and_for_whom_it_waits
    a_refused_edit_changes_nothing
    a_drain_runs_the_jobs_of_a_key_one_after_the_other
}

fn import(place: &Place) -> Value {
    place.run(&["enqueue", "import", "--exclusive", "customer:42"]).expect(0).json()
}

fn a_blocked_job_says_so_and_for_whom_it_waits(place: Place) {
    let (holder, blocked) = (import(&place), import(&place));
    assert_eq!((&holder["state"], &blocked["state"]), (&json!("pending"), &json!("blocked")));
    let shown = place.job(blocked["id"].as_str().unwrap());
    assert_eq!((&shown["exclusive"], &shown["waits_for"]), (&json!("customer:42"), &holder["id"]));
    let list = place.run(&["job", "list", "--state", "blocked"]).expect(0).json();
    assert_eq!((list["items"].as_array().unwrap().len(), &list["items"][0]["id"]), (1, &blocked["id"]));
    let queues = feed(place.command(&["queue", "list"]), b"").expect(0).stdout;
    let columns = |line: usize| queues.lines().nth(line).unwrap().split("  ").filter(|word| !word.is_empty()).collect();
    let (headings, row): (Vec<&str>, Vec<&str>) = (columns(0), columns(1));
    let column = headings.iter().position(|heading| heading.trim() == "BLOCKED").expect("a column");
    assert_eq!(row[column].trim(), "1", "{queues}");
    place.run(&["job", "cancel", holder["id"].as_str().unwrap()]).expect(0);
    assert_eq!(place.job(blocked["id"].as_str().unwrap())["state"], "pending");
    let line = br#"{"kind":"import","exclusive":"customer:42","group":"g"}"#;
    let refused = place.feed(&["enqueue", "--batch", "-"], line).expect(2);
    assert!(refused.stdout.contains("a job of a group cannot be exclusive"), "{refused:?}");
    let both = ["enqueue", "import", "--exclusive", "a", "--group", "g"];
    assert!(place.run(&both).expect(2).error()["message"].as_str().unwrap().contains("cannot be exclusive"));
}

fn a_refused_edit_changes_nothing(place: Place) {
    import(&place);
    let blocked = import(&place)["id"].as_str().unwrap().to_owned();
    place.run(&["job", "edit", &blocked, "--payload", "[1]", "--process-in", "1h"]).expect(5);
    assert_eq!(place.job(&blocked)["payload"], json!({}));
    place.run(&["job", "edit", &blocked, "--payload", "[1]"]).expect(0);
    assert_eq!((&place.job(&blocked)["payload"], &place.job(&blocked)["state"]), (&json!([1]), &json!("blocked")));
}

fn a_drain_runs_the_jobs_of_a_key_one_after_the_other(place: Place) {
    for _ in 0..5 {
        import(&place);
    }
    // Whoever finds the folder of another one fails.
    let folder = place.path("one-at-a-time");
    let command = format!("mkdir '{0}' && rmdir '{0}'", folder.display());
    let config = format!("[kinds.import]\ncommand = ['sh', '-c', \"{command}\"]\n");
    place.drain(&config).expect(0);
    let stats = place.run(&["stats", "--since", "1h"]).expect(0).json();
    assert_eq!((&stats["completed"], &stats["failed"]), (&json!(5), &json!(0)), "{stats}");
}
