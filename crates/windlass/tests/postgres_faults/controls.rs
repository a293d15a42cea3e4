//! The guards are in functions in the database. Here each is taken out in a schema of its own, and the facts of the suite,
//! or the tests of this program, that stand for it must fail.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use windlass::conformance::{Bench, FACTS};

use crate::{
    Place,
    locks::{Passes, passes_over_a_locked_job, touch_the_same_jobs},
};

/// A function of the schema, what of its text makes the guard, and what stands there instead.
struct Without(&'static str, &'static [(&'static str, &'static str)]);

impl Without {
    /// Takes the guard out.
    async fn apply(&self, place: &Place) {
        let Self(function, changes) = self;
        let database = place.database().await;
        let text = "SELECT pg_get_functiondef(p.oid) FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace \
                    WHERE n.nspname = $1 AND p.proname = $2";
        let mut text: String = database.query_one(text, &[&place.schema, function]).await.expect("the function").get(0);
        text = text.replace(&format!("{}.", place.schema), "windlass.");
        for (guard, instead) in *changes {
            assert!(text.contains(guard), "{function} has no `{guard}` any more; mend this control");
            text = text.replace(guard, instead);
        }
        text = text.replace("windlass.", &format!("{}.", place.schema));
        database.batch_execute(&text).await.expect("it is a function all the same");
    }

    async fn bench(&self) -> (Place, Bench) {
        let place = Place::start().await;
        let bench = place.bench("notify=off").await;
        self.apply(&place).await;
        (place, bench)
    }

    /// Asserts that each of these facts (`area::name`) fails.
    async fn is_caught_by(&self, facts: &[&str]) {
        for name in facts {
            let fact = FACTS.iter().find(|fact| format!("{}::{}", fact.area, fact.name) == *name);
            let fact = fact.unwrap_or_else(|| panic!("no fact is called {name}"));
            let (_place, bench) = self.bench().await;
            let outcome = AssertUnwindSafe((fact.check)(bench)).catch_unwind().await;
            assert!(outcome.is_err(), "{name} holds without `{}` in {}", self.1[0].0, self.0);
        }
    }

    async fn is_caught_by_a_lock(&self, who: Passes) {
        let (place, bench) = self.bench().await;
        let outcome = AssertUnwindSafe(passes_over_a_locked_job(&place, &bench, who)).catch_unwind().await;
        assert!(outcome.is_err(), "{who:?} does not wait without `{}` in {}", self.1[0].0, self.0);
    }
}

#[tokio::test]
async fn a_finish_without_its_fence_is_caught() {
    let without = Without("finish_jobs", &[(" AND j.fence = u.fence", ""), (" AND j.fence = p_fences[i]", "")]);
    without
        .is_caught_by(&["leases::a_stale_lease_cannot_finish", "leases::a_release_gives_the_lease_up_for_good"])
        .await;
}

#[tokio::test]
async fn a_renewal_without_its_fence_is_caught() {
    let without = Without("extend_leases", &[(" AND j.fence = u.fence", "")]);
    without.is_caught_by(&["leases::a_stale_renewal_does_not_prolong_the_newer_lease"]).await;
}

#[tokio::test]
async fn a_report_without_its_fence_is_caught() {
    let without = Without("report_jobs", &[(" AND j.fence = p_fences[v_news.place]", "")]);
    without.is_caught_by(&["reports::a_stale_report_is_refused_and_changes_nothing"]).await;
}

#[tokio::test]
async fn a_claim_that_does_not_know_its_number_is_caught() {
    let without = Without("claim_jobs", &[("v_last.sequence = p_sequence", "false")]);
    without.is_caught_by(&["claim::a_repeated_claim_gets_the_same_jobs"]).await;
}

#[tokio::test]
async fn a_claim_that_was_overtaken_and_takes_jobs_is_caught() {
    let without = Without("claim_jobs", &[("v_last.sequence > p_sequence", "false")]);
    without.is_caught_by(&["claim::a_claim_that_arrives_after_a_later_one_gets_nothing"]).await;
}

#[tokio::test]
async fn a_claim_that_looks_at_no_pause_is_caught() {
    let without = Without("claim_jobs", &[("FROM windlass.pause AS p", "FROM (SELECT NULL::text AS queue) AS p")]);
    without.is_caught_by(&["claim::a_paused_queue_gives_nothing_until_it_is_resumed"]).await;
}

#[tokio::test]
async fn a_rescue_that_does_not_look_at_the_lease_is_caught() {
    let without = Without("rescue_jobs", &[("l.until_mono <= v_tick.mono", "true")]);
    without
        .is_caught_by(&["leases::a_renewed_lease_is_kept", "rescue::a_rescuer_that_comes_after_a_renewal_does_nothing"])
        .await;
}

#[tokio::test]
async fn a_rescue_right_after_an_outage_is_caught_in_sql() {
    let without = Without("tick", &[("may_rescue := mono >= v_pulse.wait_mono", "may_rescue := true")]);
    without.is_caught_by(&["rescue::right_after_an_outage_nobody_is_rescued_and_renewals_win"]).await;
}

#[tokio::test]
async fn steps_that_are_not_booked_are_caught() {
    let without = Without("book", &[("FROM unnest(p_events) AS event", "FROM unnest(p_events) AS event WHERE false")]);
    without
        .is_caught_by(&[
            "history::enqueued_is_the_sum_of_all_states_and_what_was_removed",
            "inspect::what_ended_is_counted_whatever_is_kept",
        ])
        .await;
}

#[tokio::test]
async fn a_promotion_of_all_that_is_due_is_caught() {
    let changes = &[
        ("THEN p_limit ELSE", "THEN 1000 ELSE"),
        ("least(p_limit, u.room + u.beyond)", "u.room + u.beyond"),
        ("r.seq LIMIT p_limit", "r.seq"),
    ];
    let without = Without("promote_jobs", changes);
    without.is_caught_by(&["promote::the_limit_holds_and_what_is_left_is_due_now"]).await;
}

#[tokio::test]
async fn a_prune_of_all_that_is_over_is_caught() {
    let without = Without("prune_history", &[("v_seqs[1:p_limit]", "v_seqs"), ("LIMIT p_limit + 1", "")]);
    without.is_caught_by(&["prune::a_prune_goes_in_chunks_and_says_when_there_is_more"]).await;
}

#[tokio::test]
async fn a_flush_that_does_not_look_at_versions_is_caught() {
    let without = Without("flush_group", &[(" AND job.ord = u.version", "")]);
    without.is_caught_by(&["groups::a_flush_of_an_edited_member_changes_nothing"]).await;
}

#[tokio::test]
async fn a_change_of_whatever_version_of_a_schedule_is_caught() {
    let without = Without("change_schedule", &[(" AND s.revision = p_from", "")]);
    without
        .is_caught_by(&[
            "schedules::a_change_counts_only_for_the_version_that_was_read",
            "schedules::a_conflict_enqueues_nothing_and_says_nothing",
            "schedules::a_repeat_after_a_lost_reply_is_a_conflict",
            "schedules::of_many_who_change_one_version_one_wins",
        ])
        .await;
}

#[tokio::test]
async fn a_history_that_is_never_cut_is_caught() {
    let without = Without("change_schedule", &[("number <= v_lines - p_keep", "false")]);
    without.is_caught_by(&["schedules::only_the_newest_lines_of_a_history_are_kept"]).await;
}

#[tokio::test]
async fn a_key_whose_holder_nobody_looks_for_is_caught() {
    let without =
        Without("key_holder", &[("j.unique_key = p_key AND", "false AND"), ("k.key = p_key AND", "false AND")]);
    without.is_caught_by(&["unique::an_idempotency_key_outlives_its_job"]).await;
}

#[tokio::test]
async fn news_that_are_taken_again_are_caught() {
    let without = Without("take_news", &[("WHERE (r.fence, r.number) < (excluded.fence, excluded.number)", "")]);
    without.is_caught_by(&["reports::news_that_come_again_or_late_change_nothing"]).await;
}

#[tokio::test]
async fn a_server_that_left_and_may_still_claim_is_caught() {
    let without = Without("leave", &[("9223372036854775807", "0")]);
    without.is_caught_by(&["cluster::a_claim_that_arrives_after_its_server_left_gets_nothing"]).await;
}

#[tokio::test]
async fn runs_that_are_locked_in_any_order_are_caught() {
    let place = Place::start().await;
    place.open("notify=off").await;
    Without("lock_runs", &[("PERFORM 1 FROM", "RETURN; PERFORM 1 FROM")]).apply(&place).await;
    Without("finish_jobs", &[("NOT alone ORDER BY id", "NOT alone")]).apply(&place).await;
    let outcome = touch_the_same_jobs(&place, "notify=off").await;
    assert!(outcome.as_ref().is_err_and(|error| error.to_string().contains("deadlock")), "{outcome:?}");
}

#[tokio::test]
async fn whoever_waits_for_a_locked_job_is_caught() {
    let wait = &[("FOR UPDATE SKIP LOCKED", "FOR UPDATE")];
    Without("claim_jobs", wait).is_caught_by_a_lock(Passes::Claim).await;
    Without("promote_jobs", wait).is_caught_by_a_lock(Passes::Promote).await;
    Without("rescue_jobs", wait).is_caught_by_a_lock(Passes::Rescue).await;
    Without("prune_history", wait).is_caught_by_a_lock(Passes::Prune).await;
    Without("renew", wait).is_caught_by_a_lock(Passes::Extend).await;
}
