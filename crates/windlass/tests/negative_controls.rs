//! With a guard taken out, the facts about it must fail. Each test breaks a sound store in one place and runs the
//! facts that guard that place; the whole suite runs on the sound store in `conformance.rs`.
#![cfg(feature = "conformance")]

mod broken;

use std::sync::Arc;

use windlass::{
    Env,
    conformance::{Bench, FACTS, Opened},
    store::{Backend, memory::MemoryStore},
    testing::{Layer, Layered},
};

use self::broken::{Broken, Fault, WrongClock, layers::*};

/// Asserts that each of these facts (`area::name`) panics on a store of this factory.
async fn caught(facts: &[&str], open: impl Fn(Env) -> Opened) {
    for name in facts {
        let fact = FACTS.iter().find(|fact| format!("{}::{}", fact.area, fact.name) == *name);
        let fact = fact.unwrap_or_else(|| panic!("no fact is called {name}"));
        let bench = Bench::open(async |env| open(env)).await;
        let outcome = tokio::spawn((fact.check)(bench)).await;
        assert!(outcome.is_err_and(|error| error.is_panic()), "{name} holds on a broken store");
    }
}

async fn caught_with(fault: Fault, facts: &[&str]) {
    caught(facts, |env| Opened::new(Broken::new(MemoryStore::new(env), fault))).await;
}

async fn caught_over<L: Layer>(facts: &[&str], layer: fn(Arc<dyn Backend>) -> L) {
    caught(facts, |env| Opened::new(Layered(layer(Arc::new(MemoryStore::new(env)))))).await;
}

#[tokio::test]
async fn an_unfenced_finish_is_caught() {
    let facts = [
        "leases::a_stale_lease_cannot_finish",
        "leases::a_release_gives_the_lease_up_for_good",
        "claim::an_id_that_comes_again_never_meets_an_old_fence",
    ];
    caught_with(Fault::UnfencedFinish, &facts).await;
}

#[tokio::test]
async fn an_unfenced_renewal_is_caught() {
    let facts =
        ["leases::a_stale_renewal_does_not_prolong_the_newer_lease", "leases::a_renewal_answers_only_what_is_lost"];
    caught_with(Fault::UnfencedExtend, &facts).await;
}

#[tokio::test]
async fn an_unfenced_report_is_caught() {
    caught_with(Fault::UnfencedReport, &["reports::a_stale_report_is_refused_and_changes_nothing"]).await;
}

#[tokio::test]
async fn news_taken_twice_are_caught() {
    let facts = [
        "reports::news_that_come_again_or_late_change_nothing",
        "reports::news_that_were_reported_are_not_taken_again_with_the_finish",
    ];
    caught_with(Fault::TakesNewsAgain, &facts).await;
}

#[tokio::test]
async fn a_forgotten_checkpoint_is_caught() {
    let facts = [
        "reports::a_checkpoint_reaches_the_next_run",
        "reports::a_repeated_claim_gets_the_checkpoint_too",
        "reports::a_redrive_keeps_the_checkpoint",
    ];
    caught_with(Fault::ForgetsCheckpoints, &facts).await;
}

#[tokio::test]
async fn a_claim_that_forgets_is_caught() {
    let facts = [
        "claim::a_repeated_claim_gets_the_same_jobs",
        "claim::a_repeated_claim_gets_only_what_is_still_held",
        "suspects::a_repeated_suspect_claim_gets_the_same_one",
    ];
    caught_with(Fault::ForgetsClaims, &facts).await;
}

#[tokio::test]
async fn a_crash_that_counts_as_a_failure_is_caught() {
    let facts = ["rescue::a_crash_is_not_a_failure", "rescue::crashes_and_failures_are_counted_apart"];
    caught_with(Fault::CrashIsFailure, &facts).await;
}

#[tokio::test]
async fn a_rescue_right_after_an_outage_is_caught() {
    let facts = [
        "rescue::right_after_an_outage_nobody_is_rescued_and_renewals_win",
        "rescue::a_rescuer_that_ran_late_waits_itself",
    ];
    caught_with(Fault::NoPauseAfterOutage, &facts).await;
}

#[tokio::test]
async fn a_suspect_in_company_is_caught() {
    let facts = [
        "suspects::a_suspect_is_left_by_ordinary_claims_and_not_in_the_way",
        "suspects::a_suspect_stays_one_through_a_retry_and_a_release",
    ];
    caught_with(Fault::SuspectsLikeOthers, &facts).await;
}

#[tokio::test]
async fn a_claim_beyond_the_free_slots_is_caught() {
    caught_with(Fault::IgnoresSlots, &["claim::what_is_not_quick_takes_no_more_than_the_slots"]).await;
}

#[tokio::test]
async fn an_enqueue_by_halves_is_caught() {
    caught_with(Fault::HalfEnqueues, &["enqueue::a_reader_sees_all_of_a_call_or_none"]).await;
}

#[tokio::test]
async fn a_doubled_repeat_is_caught() {
    let facts = [
        "enqueue::a_repeat_after_a_lost_reply_does_not_double",
        "enqueue::a_repeat_of_a_job_that_has_ended_does_not_run_it_again",
        "enqueue::a_taken_id_is_a_duplicate_in_every_state_and_changes_nothing",
        "enqueue::a_repeat_with_more_jobs_adds_only_those",
    ];
    caught_with(Fault::DoublesRepeats, &facts).await;
}

#[tokio::test]
async fn deafness_to_cancel_is_caught() {
    let facts = [
        "operate::a_running_job_is_asked_to_stop",
        "cancel::a_wish_names_the_run_and_the_reason",
        "finish::a_wish_to_cancel_turns_another_try_into_the_end",
        "rescue::a_crashed_job_that_was_to_be_cancelled_is_cancelled",
    ];
    caught_with(Fault::DeafToCancel, &facts).await;
}

#[tokio::test]
async fn a_flush_that_does_not_look_again_is_caught() {
    let facts = [
        "groups::a_flush_of_a_member_that_left_meanwhile_changes_nothing",
        "groups::of_two_flushes_of_one_reading_the_second_changes_nothing",
        "groups::flushes_at_once_take_each_member_once",
        "groups::a_flush_that_names_a_member_twice_or_one_of_another_group_changes_nothing",
    ];
    caught_with(Fault::UncheckedFlush, &facts).await;
}

#[tokio::test]
async fn a_change_of_a_schedule_without_a_compare_is_caught() {
    let facts = [
        "schedules::a_new_schedule_is_added_only_where_there_is_none",
        "schedules::a_change_counts_only_for_the_version_that_was_read",
        "schedules::a_conflict_enqueues_nothing_and_says_nothing",
        "schedules::a_repeat_after_a_lost_reply_is_a_conflict",
        "schedules::of_many_who_change_one_version_one_wins",
    ];
    caught_over(&facts, ChangesBlindly).await;
}

#[tokio::test]
async fn a_tick_whose_job_comes_in_by_itself_is_caught() {
    let facts = [
        "schedules::a_conflict_enqueues_nothing_and_says_nothing",
        "schedules::a_conflict_makes_no_queue",
        "schedules::of_many_who_change_one_version_one_wins",
    ];
    caught_over(&facts, TicksInTwo).await;
}

#[tokio::test]
async fn versions_of_schedules_that_come_again_are_caught() {
    caught_over(&["schedules::a_version_never_comes_again"], CountsAnew).await;
}

#[tokio::test]
async fn a_flush_of_what_was_edited_since_is_caught() {
    let facts = [
        "groups::a_flush_of_an_edited_member_changes_nothing",
        "groups::a_flush_of_a_member_that_left_and_came_back_changes_nothing",
    ];
    caught_with(Fault::StaleFlush, &facts).await;
}

#[tokio::test]
async fn a_delayed_job_that_misses_its_group_is_caught() {
    let facts = ["groups::a_delayed_job_of_a_group_joins_it_when_its_time_has_come"];
    caught_with(Fault::DelaysPastGroups, &facts).await;
}

#[tokio::test]
async fn a_group_that_is_forgotten_once_it_was_read_is_caught() {
    let facts = ["groups::a_group_that_was_read_and_not_flushed_is_there_again"];
    caught_with(Fault::ForgetsReadGroups, &facts).await;
}

#[tokio::test]
async fn a_follow_up_of_a_stale_report_is_caught() {
    let facts =
        ["finish::follow_ups_of_a_stale_report_do_not_come_in", "finish::reports_of_one_run_at_once_are_accepted_once"];
    caught_with(Fault::FollowsStale, &facts).await;
}

#[tokio::test]
async fn a_promotion_without_a_limit_is_caught() {
    let facts = ["promote::the_limit_holds_and_what_is_left_is_due_now", "promote::with_a_limit_the_earliest_go"];
    caught_with(Fault::NoPromoteLimit, &facts).await;
}

#[tokio::test]
async fn a_promotion_without_a_look_ahead_is_caught() {
    let facts = [
        "flood::due_jobs_come_into_line_as_far_as_the_look_ahead",
        "flood::as_many_come_in_as_were_claimed",
        "flood::a_fresh_job_stands_behind_no_more_than_the_look_ahead",
        "flood::what_is_held_back_is_not_what_is_due_next",
        "flood::a_full_line_holds_back_no_other_queue",
        "flood::a_long_line_of_fresh_jobs_gets_what_the_rules_say",
        "flood::jobs_that_retry_are_held_back_too",
        "flood::a_paused_queue_gets_its_look_ahead_and_goes_on_once_it_is_resumed",
        "flood::every_job_of_a_flood_is_run_in_the_end",
    ];
    caught_with(Fault::NoLookAhead, &facts).await;
}

#[tokio::test]
async fn a_promotion_that_lets_due_jobs_starve_is_caught() {
    let facts = [
        "flood::a_long_line_of_fresh_jobs_gets_what_the_rules_say",
        "flood::what_comes_by_the_look_ahead_counts_against_what_comes_beyond",
        "flood::fresh_and_due_jobs_share_what_is_claimed",
    ];
    caught_with(Fault::NothingBeyond, &facts).await;
}

#[tokio::test]
async fn a_pause_that_does_nothing_is_caught() {
    let facts = [
        "claim::a_paused_queue_gives_nothing_until_it_is_resumed",
        "operate::a_pause_is_shown_and_may_be_repeated",
        "operate::an_unknown_queue_cannot_be_paused",
        "suspects::a_suspect_of_another_kind_or_a_paused_queue_is_not_given",
    ];
    caught_with(Fault::NoPause, &facts).await;
}

#[tokio::test]
async fn a_removal_that_is_not_counted_is_caught() {
    let facts = [
        "history::enqueued_is_the_sum_of_all_states_and_what_was_removed",
        "operate::a_delete_counts_as_removed",
        "prune::what_was_pruned_counts_as_removed",
    ];
    caught_with(Fault::UncountedRemovals, &facts).await;
}

/// On paused time, which runs ahead when all wait, so that ten seconds of silence are none.
#[tokio::test(start_paused = true)]
async fn a_store_that_wakes_nobody_is_caught() {
    let facts: Vec<_> = FACTS.iter().filter(|fact| fact.area == "wakeups").collect();
    assert!(facts.len() > 5);
    for fact in facts {
        caught_with(Fault::Silent, &[&format!("wakeups::{}", fact.name)]).await;
    }
    caught_with(Fault::Silent, &["locks::a_lock_given_back_wakes_those_who_wait"]).await;
}

#[tokio::test]
async fn leases_on_the_wall_clock_are_caught() {
    let facts = ["leases::a_step_of_the_wall_clock_rescues_nobody_and_spares_nobody"];
    let open = |right| WrongClock { right, one_clock: true };
    caught(&facts, |env| Opened::new(MemoryStore::new(Env::new(open(env))))).await;
}

#[tokio::test]
async fn blindness_to_a_reboot_is_caught() {
    let open = |right| WrongClock { right, one_clock: false };
    caught(&["leases::a_reboot_ends_all_leases"], |env| Opened::new(MemoryStore::new(Env::new(open(env))))).await;
}

#[tokio::test]
async fn a_prune_without_a_limit_is_caught() {
    let facts = [
        "prune::a_prune_goes_in_chunks_and_says_when_there_is_more",
        "prune::thousands_that_expire_at_once_go_in_steps_between_which_others_work",
    ];
    caught_over(&facts, PrunesAll).await;
}

#[tokio::test]
async fn a_claim_that_looks_no_further_than_the_head_of_the_line_is_caught() {
    caught_over(&["claim::a_kind_that_stands_behind_thousands_of_others_is_found"], LooksNoFurther).await;
}

#[tokio::test]
async fn an_archive_that_is_trimmed_is_caught() {
    caught_over(&["prune::thousands_of_dead_jobs_are_all_kept_and_can_be_redriven"], TrimsDead).await;
}

#[tokio::test]
async fn a_look_at_one_place_after_the_other_is_caught() {
    let fact = "inspect::a_job_that_goes_from_place_to_place_is_outstanding_all_the_while";
    caught_over(&[fact], LooksAround).await;
}

#[tokio::test]
async fn a_key_that_nobody_knows_is_caught() {
    let facts = [
        "unique::a_key_is_held_while_its_job_waits_runs_retries_or_snoozes",
        "unique::a_key_is_held_through_a_crash_and_a_release",
        "unique::an_idempotency_key_outlives_a_delete",
        "unique::a_redrive_gives_way_to_the_holder_of_its_key",
        "unique::clients_that_race_for_a_key_make_one_job",
    ];
    caught_over(&facts, Keyless).await;
}

#[tokio::test]
async fn a_key_that_is_never_free_is_caught() {
    let facts = [
        "unique::a_key_is_free_once_its_job_is_completed",
        "unique::a_key_is_free_once_its_job_is_dead",
        "unique::a_key_is_free_once_its_job_is_poison",
        "unique::a_key_is_free_once_its_job_is_cancelled",
        "unique::a_key_is_free_once_its_job_is_deleted",
    ];
    caught_over(&facts, HoldsKeys).await;
}

#[tokio::test]
async fn a_promoter_that_a_key_stops_is_caught() {
    caught_over(&["unique::a_unique_conflict_does_not_stop_the_promoter"], StopsAtKeys).await;
}

#[tokio::test]
async fn a_rescue_in_spite_of_a_renewal_is_caught() {
    let facts = ["rescue::a_rescuer_that_comes_after_a_renewal_does_nothing", "leases::a_renewed_lease_is_kept"];
    caught_over(&facts, DeafToRenewals).await;
}

#[tokio::test]
async fn a_crash_that_is_charged_twice_is_caught() {
    caught_over(&["rescue::rescuers_at_once_charge_one_crash"], ChargesTwice).await;
}

#[tokio::test]
async fn servers_under_one_name_are_caught() {
    caught_over(&["claim::another_server_with_the_same_number_gets_its_own_jobs"], OneName).await;
}

#[tokio::test]
async fn a_rescue_that_needs_the_register_is_caught() {
    caught_over(&["leases::what_a_server_held_is_rescued_though_the_register_has_forgotten_it"], RescuesTheRegistered)
        .await;
}

#[tokio::test]
async fn a_snooze_that_counts_as_a_failure_is_caught() {
    let facts = ["finish::a_snooze_burns_no_attempt", "finish::a_hundred_snoozes_then_an_error_is_a_first_failure"];
    caught_over(&facts, SnoozeIsFailure).await;
}

#[tokio::test]
async fn a_call_that_is_done_by_halves_when_dropped_is_caught() {
    caught_with(Fault::HalfEnqueues, &["dropped::an_enqueue_dropped_at_any_await_is_there_whole_or_not_at_all"]).await;
    caught_with(Fault::ForgetsClaims, &["dropped::a_claim_dropped_at_any_await_can_be_repeated"]).await;
    let facts = ["dropped::a_finish_dropped_at_any_await_is_applied_whole_or_not_at_all"];
    caught_over(&facts, FinishesInTwo).await;
}

#[tokio::test]
async fn a_dropped_call_that_leaves_its_transaction_open_is_caught() {
    let facts = ["dropped::a_dropped_call_keeps_nobody_else_from_the_store"];
    caught_over(&facts, |store| LeaksTransactions(store, Default::default())).await;
}

#[tokio::test]
async fn a_lock_that_anybody_gives_back_is_caught() {
    caught_over(&["locks::a_lost_lock_is_neither_renewed_nor_given_back_by_its_holder"], ReleasesForAnybody).await;
}

#[tokio::test]
async fn a_waiter_in_its_own_way_is_caught() {
    caught_over(&["locks::only_who_stands_ahead_is_in_the_way_of_a_waiter"], StandsInItsOwnWay).await;
}

#[tokio::test]
async fn a_lost_lock_that_is_renewed_is_caught() {
    let facts = [
        "locks::a_lost_lock_is_neither_renewed_nor_given_back_by_its_holder",
        "locks::what_lapsed_does_not_come_back_to_a_lock_with_another_number_of_slots",
    ];
    caught_over(&facts, RenewsTheLost).await;
}

#[tokio::test]
async fn a_lock_without_a_check_of_the_fence_is_caught() {
    caught_over(&["locks::a_wrong_fence_renews_and_gives_back_nothing"], LocksWithoutFences).await;
}

#[tokio::test]
async fn a_lock_that_is_not_fair_is_caught() {
    let facts = [
        "locks::nobody_passes_those_who_wait",
        "locks::waiters_get_it_in_the_order_in_which_they_came",
        "locks::free_slots_go_to_as_many_waiters",
        "locks::a_broken_lock_goes_to_the_first_waiter_and_its_holder_finds_out",
    ];
    caught_over(&facts, LocksWithoutALine).await;
}

#[tokio::test]
async fn a_dead_waiter_that_holds_up_the_line_is_caught() {
    caught_over(&["locks::a_waiter_who_stops_asking_falls_out_of_line"], KeepsDeadWaiters).await;
}

#[tokio::test]
async fn a_holder_too_many_is_caught() {
    let facts = [
        "locks::a_lock_has_one_holder_and_is_free_once_it_is_given_back",
        "locks::a_semaphore_has_as_many_holders_as_slots",
        "locks::of_many_who_ask_at_once_one_gets_it",
    ];
    caught_over(&facts, OneSlotTooMany).await;
}

#[tokio::test]
async fn a_lock_that_does_not_lapse_in_time_is_caught() {
    caught_over(&["locks::a_lock_is_held_until_its_end_and_no_longer"], LocksForLonger).await;
}

#[tokio::test]
async fn an_attempt_that_is_forgotten_is_caught() {
    let facts = [
        "locks::a_repeat_of_an_attempt_gets_the_same_hold_renewed",
        "locks::an_attempt_dropped_at_any_await_can_be_repeated_or_taken_back",
    ];
    caught_over(&facts, ForgetsAttempts).await;
}

#[tokio::test]
async fn fences_of_locks_that_fall_are_caught() {
    let facts =
        ["locks::fences_rise_however_a_hold_ended", "locks::fences_rise_over_a_clock_set_back_and_another_start"];
    caught_over(&facts, FallingFences).await;
}

#[tokio::test]
async fn a_break_that_does_nothing_is_caught() {
    let fact = "locks::a_broken_lock_goes_to_the_first_waiter_and_its_holder_finds_out";
    caught_over(&[fact], BreaksNothing).await;
}

#[tokio::test]
async fn locks_on_the_wall_clock_are_caught() {
    let open = |right| WrongClock { right, one_clock: true };
    let facts = ["locks::a_step_of_the_wall_clock_ends_no_lock"];
    caught(&facts, |env| Opened::new(MemoryStore::new(Env::new(open(env))))).await;
}
