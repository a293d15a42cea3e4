//! The hot statements are served by their partial indexes, whatever the planner comes to think.

use rusqlite::types::Value;

use super::{super::step::sql, *};

/// The plan of a statement, one line a step.
fn plan(place: &Place, sql: &str) -> String {
    let conn = place.raw();
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let unbound = vec![Value::Integer(1); statement.parameter_count()];
    let steps = statement.query_map(rusqlite::params_from_iter(unbound), |row| row.get::<_, String>(3)).unwrap();
    steps.collect::<Result<Vec<_>, _>>().unwrap().join("\n")
}

#[tokio::test]
async fn hot_statements_use_their_indexes_and_sort_nothing() {
    let place = Place::new();
    let _store = place.open().await;
    let served = [
        (sql!("claim_heads"), "windlass_job_pending"),
        (sql!("claim_suspect"), "windlass_job_suspect"),
        (sql!("due"), "windlass_job_waiting"),
        (sql!("due_places"), "windlass_job_waiting"),
        (sql!("due_standing"), "windlass_job_pending"),
        (sql!("lease_find"), "windlass_job_id"),
        (sql!("report_find"), "windlass_job_id"),
        (sql!("finish_read"), "windlass_job_id"),
        (sql!("lease_members"), "windlass_job_running"),
        (sql!("rescue_members"), "windlass_job_running"),
        (sql!("key_holder_live"), "windlass_job_unique"),
        (sql!("expired"), "windlass_job_expires"),
        (sql!("older"), "windlass_job_over"),
        (sql!("list_state"), "windlass_job_listed"),
        (sql!("list_running"), "windlass_job_running"),
        (sql!("undeclared_jobs"), "windlass_job_pending"),
        (sql!("group_next"), "windlass_job_group"),
        (sql!("group_age"), "windlass_job_group"),
        (sql!("group_members"), "windlass_job_group"),
        (sql!("group_ask"), "windlass_job_group"),
        (sql!("group_left"), "windlass_job_group"),
        (sql!("group_member"), "windlass_job_id"),
    ];
    for (sql, index) in served {
        let plan = plan(&place, sql);
        assert!(plan.contains(index), "{sql}\n{plan}");
        assert!(!plan.contains("SCAN windlass_job\n") && !plan.ends_with("SCAN windlass_job"), "{sql}\n{plan}");
        let sorts = plan.contains("TEMP B-TREE");
        // What runs now is little: no more than there are slots.
        assert!(!sorts || index == "windlass_job_running", "{sql}\n{plan}");
    }
}

#[tokio::test]
async fn taking_and_removing_go_by_the_row_itself() {
    let place = Place::new();
    let _store = place.open().await;
    for sql in [sql!("claim_read"), sql!("claim_take"), sql!("remove"), sql!("side_remove"), sql!("job_by_seq")] {
        let plan = plan(&place, sql);
        assert!(plan.contains("INTEGER PRIMARY KEY"), "{sql}\n{plan}");
    }
}

/// What other locks and schedules there are costs nothing.
#[tokio::test]
async fn statements_of_locks_and_schedules_go_by_names_and_scan_nothing() {
    let place = Place::new();
    let _store = place.open().await;
    let scans = |plan: &str| plan.lines().any(|step| step.starts_with("SCAN windlass") || step == "SCAN line");
    let served = [
        (sql!("lock_standing"), "windlass_lock USING PRIMARY KEY (name=? AND token=?)"),
        (sql!("lock_standing"), "windlass_lock_line USING INDEX windlass_lock_line_token (name=? AND token=?)"),
        (sql!("lock_ahead"), "windlass_lock_line USING PRIMARY KEY (name=? AND place<?)"),
        (sql!("lock_line_dead"), "windlass_lock_line USING PRIMARY KEY (name=?)"),
        (sql!("lock_line_leave"), "windlass_lock_line_token (name=? AND token=?)"),
        (sql!("lock_extend"), "windlass_lock USING PRIMARY KEY (name=? AND token=?)"),
        (sql!("lock_release"), "windlass_lock USING PRIMARY KEY (name=? AND token=?)"),
        (sql!("lock_break"), "windlass_lock USING PRIMARY KEY (name=?)"),
        (sql!("lock_names"), "windlass_lock USING PRIMARY KEY (name>?)"),
        (sql!("lock_names"), "windlass_lock_line USING PRIMARY KEY (name>?)"),
        (sql!("schedule_find"), "windlass_schedule_1 (queue=? AND name=?)"),
        (sql!("schedule_change"), "INTEGER PRIMARY KEY (rowid=?)"),
        (sql!("schedule_remove"), "INTEGER PRIMARY KEY (rowid=?)"),
        (sql!("schedule_trim"), "windlass_schedule_line USING PRIMARY KEY (schedule=? AND number<?)"),
        (sql!("schedule_list"), "windlass_schedule_1 ((queue,name)>(?,?))"),
        (sql!("schedule_history"), "line USING PRIMARY KEY (schedule=? AND number<?)"),
    ];
    for (sql, way) in served {
        let plan = plan(&place, sql);
        assert!(plan.contains(way) && !scans(&plan) && !plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
    }
    // These sort, within one name.
    let sorting = [
        (sql!("lock_lapsed"), "windlass_lock USING PRIMARY KEY (name=?)"),
        (sql!("lock_holders"), "windlass_lock USING PRIMARY KEY (name=?)"),
        (sql!("schedule_named"), "windlass_schedule_name (name=?)"),
    ];
    for (sql, way) in sorting {
        let plan = plan(&place, sql);
        assert!(plan.contains(way) && !scans(&plan), "{sql}\n{plan}");
    }
    place.raw().execute_batch("DROP INDEX windlass_schedule_name").unwrap();
    let without = plan(&place, sql!("schedule_named"));
    assert!(scans(&without), "the control: a scan is noticed: {without}");
}

/// The index conditions count here: SQLite tests them with each row it writes, and makes a table for a list of three.
#[tokio::test]
async fn what_is_written_for_each_job_opens_no_table_of_its_own() {
    let place = Place::new();
    let _store = place.open().await;
    let conn = place.raw();
    let opens_one = |sql: &str| {
        let mut statement = conn.prepare(&format!("EXPLAIN {sql}")).unwrap();
        let unbound = vec![Value::Integer(1); statement.parameter_count()];
        let steps = statement.query_map(rusqlite::params_from_iter(unbound), |row| row.get::<_, String>(1)).unwrap();
        steps.collect::<Result<Vec<_>, _>>().unwrap().iter().any(|step| step == "OpenEphemeral")
    };
    for sql in [
        sql!("enqueue"),
        sql!("claim_take"),
        sql!("finish_read"),
        sql!("change_ended"),
        sql!("change_pending"),
        sql!("change_waiting"),
        sql!("change_aggregating"),
        sql!("change_flushed"),
        sql!("remove"),
        sql!("resume"),
    ] {
        assert!(!opens_one(sql), "{sql}");
    }
    conn.execute_batch("CREATE INDEX listed_three ON windlass_job (state) WHERE state IN (6, 7, 8)").unwrap();
    assert!(opens_one(sql!("enqueue")), "the control: such a condition is noticed");
}
