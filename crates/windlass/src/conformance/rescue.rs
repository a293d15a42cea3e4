//! Taking over what a vanished process held: in one step, once, and not right after an outage.

use super::bench::{Bench, HOUR, LEASE, MINUTE, SECOND, ids, leases, rules};
use crate::{
    job::{ErrorClass, JobId, JobOptions, State, Verdict},
    store::{ClaimRequest, ExtendRequest, Finished, RescueRules, RescuedJob},
};

fn rescued_ids(jobs: &[RescuedJob]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id.clone()).collect()
}

pub async fn a_crash_is_not_a_failure(bench: Bench) {
    let job = bench.add(JobOptions::new().max_retry(0)).await;
    let first = bench.claim_one().await;
    bench.crash().await;
    let record = bench.record(&job).await;
    assert_eq!((record.state, record.crashes, record.failures, record.snoozes), (State::Pending, 1, 0, 0));
    assert_eq!((record.pending_at, record.lease_until), (Some(bench.env.wall()), None));
    let second = bench.claim_one().await;
    assert_eq!((second.attempt, second.failures, second.crashes), (1, 0, 1));
    assert!(second.fence > first.fence);
}

pub async fn a_rescue_says_what_it_took(bench: Bench) {
    bench.add_of("mail", JobOptions::new().queue("post")).await;
    let job = bench.take(&bench.request_from(&["post"], 1)).await.remove(0);
    bench.finish(job.lease(), Verdict::RetryIn(SECOND)).await;
    bench.clock.advance(SECOND);
    bench.promote().await;
    let job = bench.take(&bench.request_from(&["post"], 1)).await.remove(0);
    let rescued = bench.crash().await;
    let expected = RescuedJob {
        id: job.spec.id.clone(),
        kind: "mail".into(),
        queue: super::bench::queue("post"),
        fence: job.fence,
        attempt: 2,
        state: State::Pending,
    };
    assert_eq!(rescued, [expected]);
}

pub async fn a_crash_is_noted_in_the_history(bench: Bench) {
    let job = bench.add(JobOptions::new()).await;
    bench.claim_one().await;
    bench.crash().await;
    let errors = bench.record(&job).await.errors;
    assert_eq!(errors.len(), 1);
    assert_eq!((errors[0].class, errors[0].attempt, errors[0].at), (ErrorClass::Crash, 1, bench.env.wall()));
    assert!(!errors[0].message.is_empty());
}

pub async fn a_second_rescuer_finds_nothing(bench: Bench) {
    let jobs = bench.add_many(3).await;
    bench.claim(3).await;
    bench.lapse().await;
    assert_eq!(bench.rescue().await.len(), 3);
    assert_eq!(bench.rescue().await, []);
    for job in jobs {
        assert_eq!(bench.record(&job).await.crashes, 1);
    }
}

pub async fn rescuers_at_once_charge_one_crash(bench: Bench) {
    let jobs = bench.add_many(10).await;
    bench.claim(10).await;
    bench.lapse().await;
    let rescuers: Vec<_> = (0..4)
        .map(|_| {
            let bench = bench.clone();
            tokio::spawn(async move { bench.rescue().await.len() })
        })
        .collect();
    let mut sum = 0;
    for rescuer in rescuers {
        sum += rescuer.await.expect("no rescuer fails");
    }
    assert_eq!(sum, 10);
    for job in jobs {
        assert_eq!(bench.record(&job).await.crashes, 1);
    }
}

pub async fn a_rescuer_that_comes_after_a_renewal_does_nothing(bench: Bench) {
    bench.add_many(2).await;
    let jobs = leases(&bench.claim(2).await);
    bench.lapse().await;
    assert_eq!(bench.extend(&jobs).await, []);
    assert_eq!(bench.rescue().await, []);
    assert_eq!(bench.record(&jobs[0].id).await.crashes, 0);
}

pub async fn a_rescue_touches_nothing_but_lapsed_leases(bench: Bench) {
    let mut others = Vec::new();
    for state in super::bench::REACHABLE.into_iter().filter(|state| *state != State::Running) {
        others.push((bench.bring_to(state, JobOptions::new()).await.0, state));
    }
    bench.pass(3 * LEASE).await;
    assert_eq!(bench.rescue().await, []);
    for (job, state) in others {
        let record = bench.record(&job).await;
        assert_eq!((record.state, record.crashes), (state, 0));
    }
}

pub async fn rescued_jobs_stand_at_the_front_in_their_order(bench: Bench) {
    let taken = bench.add_many(4).await;
    bench.claim(2).await;
    bench.claim(2).await;
    let waiting = bench.add_many(2).await;
    assert_eq!(rescued_ids(&bench.crash().await), taken);
    assert_eq!(ids(&bench.claim(10).await), [taken, waiting].concat());
}

pub async fn a_rescued_job_does_not_pass_a_higher_priority(bench: Bench) {
    let low = bench.add(JobOptions::new().priority(-1)).await;
    bench.claim_one().await;
    let high = bench.add(JobOptions::new()).await;
    bench.crash().await;
    assert_eq!(ids(&bench.claim(2).await), [high, low]);
}

pub async fn a_rescue_takes_no_more_than_its_limit_and_says_so(bench: Bench) {
    bench.add_many(5).await;
    bench.claim(5).await;
    bench.lapse().await;
    let two = RescueRules { limit: 2, ..rules() };
    let mut taken = Vec::new();
    for expected in [(2, true), (2, true), (1, false)] {
        let rescued = bench.rescue_by(&two).await;
        assert_eq!((rescued.jobs.len(), rescued.more), expected);
        taken.extend(rescued_ids(&rescued.jobs));
    }
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), 5);
}

pub async fn right_after_an_outage_nobody_is_rescued_and_renewals_win(bench: Bench) {
    bench.add_many(3).await;
    let jobs = leases(&bench.claim(3).await);
    bench.clock.advance(MINUTE);
    assert_eq!(bench.rescue().await, [], "nobody could renew for a minute");
    bench.clock.advance(SECOND);
    assert_eq!(bench.extend(&jobs[..2]).await, []);
    bench.clock.advance(2 * SECOND);
    assert_eq!(bench.rescue().await, []);
    bench.clock.advance(SECOND + SECOND / 10);
    assert_eq!(rescued_ids(&bench.rescue().await), [jobs[2].id.clone()], "after 0.4 leases it is");
}

pub async fn a_renewal_that_ends_an_outage_keeps_rescuers_away_too(bench: Bench) {
    bench.add_many(2).await;
    let jobs = leases(&bench.claim(2).await);
    bench.clock.advance(MINUTE);
    assert_eq!(bench.extend(&jobs[..1]).await, []);
    bench.clock.advance(2 * SECOND);
    assert_eq!(bench.rescue().await, []);
    bench.clock.advance(2 * SECOND + SECOND / 10);
    assert_eq!(bench.rescue().await.len(), 1);
}

pub async fn an_outage_within_the_pause_after_an_outage_begins_it_anew(bench: Bench) {
    bench.add_many(1).await;
    bench.claim(1).await;
    bench.clock.advance(MINUTE);
    assert_eq!(bench.rescue().await, []);
    bench.clock.advance(3 * SECOND);
    assert_eq!(bench.rescue().await, []);
    bench.clock.advance(2 * SECOND);
    assert_eq!(bench.rescue().await, [], "the living have had two seconds at most to renew");
    bench.clock.advance(2 * SECOND + SECOND / 10);
    assert_eq!(bench.rescue().await.len(), 1);
}

pub async fn a_renewal_that_ran_late_keeps_rescuers_away(bench: Bench) {
    bench.add_many(2).await;
    let jobs = leases(&bench.claim(2).await);
    bench.lapse().await;
    let late = ExtendRequest { ran_late: true, ..bench.renewal(&jobs[..1]) };
    assert_eq!(bench.store.extend(&late).await.expect("extend"), []);
    bench.pass(3 * SECOND).await;
    assert_eq!(bench.rescue().await, []);
    bench.pass(SECOND + SECOND / 10).await;
    assert_eq!(rescued_ids(&bench.rescue().await), [jobs[1].id.clone()]);
}

pub async fn a_rescuer_that_ran_late_waits_itself(bench: Bench) {
    bench.add_many(1).await;
    bench.claim(1).await;
    bench.lapse().await;
    let late = RescueRules { ran_late: true, ..rules() };
    assert_eq!(bench.rescue_by(&late).await.jobs, []);
    bench.pass(3 * SECOND).await;
    assert_eq!(bench.rescue().await, []);
    bench.pass(SECOND + SECOND / 10).await;
    assert_eq!(bench.rescue().await.len(), 1);
}

pub async fn rescuers_alone_keep_the_store_alive(bench: Bench) {
    bench.add_many(1).await;
    bench.claim(1).await;
    for _ in 0..9 {
        bench.clock.advance(SECOND);
        assert_eq!(bench.rescue().await, []);
    }
    bench.clock.advance(2 * SECOND);
    assert_eq!(bench.rescue().await.len(), 1, "their sweeps stamp the store: this is no outage");
}

pub async fn a_crashed_job_that_was_to_be_cancelled_is_cancelled(bench: Bench) {
    let (job, _) = bench.start(JobOptions::new()).await;
    bench.cancel(&job, "no longer wanted").await;
    let rescued = bench.crash().await;
    assert_eq!((rescued.len(), rescued[0].state), (1, State::Cancelled));
    let record = bench.record(&job).await;
    assert_eq!((record.state, record.reason.as_deref()), (State::Cancelled, Some("no longer wanted")));
    assert_eq!((record.cancel_requested, record.completed_at), (None, Some(bench.env.wall())));
}

pub async fn a_first_crash_can_be_the_last(bench: Bench) {
    let (job, _) = bench.start(JobOptions::new()).await;
    bench.lapse().await;
    let rescued = bench.rescue_by(&RescueRules { poison_after: 1, ..rules() }).await.jobs;
    assert_eq!(rescued[0].state, State::Dead);
    assert_eq!(bench.record(&job).await.reason.as_deref(), Some("poison"));
}

pub async fn crashes_and_failures_are_counted_apart(bench: Bench) {
    let job = bench.add(JobOptions::new()).await;
    let lease = bench.claim_one().await.lease();
    bench.finish(lease, Verdict::RetryIn(SECOND)).await;
    bench.clock.advance(SECOND);
    bench.promote().await;
    bench.claim_one().await;
    bench.crash().await;
    let lease = bench.claim_one().await.lease();
    assert_eq!(bench.finish(lease, Verdict::Snooze(HOUR)).await, Finished::Applied(State::Scheduled));
    let record = bench.record(&job).await;
    assert_eq!((record.failures, record.crashes, record.snoozes, record.attempt), (1, 1, 1, 2));
}

pub async fn a_job_of_a_vanished_server_runs_elsewhere_within_its_lease(bench: Bench) {
    let jobs = bench.add_many(3).await;
    bench.claim(3).await;
    // The others sweep each second, as servers do.
    let mut seconds = 0;
    let mut back = Vec::new();
    while back.len() < 3 {
        bench.clock.advance(SECOND);
        seconds += 1;
        bench.rescue().await;
        back.extend(ids(&bench.take(&ClaimRequest { server: bench.other, ..bench.request(3) }).await));
        assert!(seconds <= 11, "no rescue within a lease and a sweep");
    }
    assert_eq!(back, jobs);
}
