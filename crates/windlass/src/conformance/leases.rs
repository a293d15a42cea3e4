//! The right to run a job: kept by renewals, ended by the monotonic clock alone, and never shared.

use std::time::Duration;

use super::bench::{Bench, HOUR, LEASE, SECOND, id, ids, leases, rules};
use crate::{
    job::{Fence, JobOptions, Lease, State, Verdict},
    store::{ClaimRequest, Claimed, ExtendRequest, Finished, RescueRules},
};

/// Some jobs in the hands of [`Bench::server`].
async fn held(bench: &Bench, count: usize) -> Vec<Claimed> {
    bench.add_many(count).await;
    let jobs = bench.claim(count as u32).await;
    assert_eq!(jobs.len(), count);
    jobs
}

pub async fn a_renewed_lease_is_kept(bench: Bench) {
    let jobs = leases(&held(&bench, 3).await);
    for _ in 0..10 {
        bench.pass(LEASE / 2).await;
        assert_eq!(bench.extend(&jobs).await, []);
        assert_eq!(bench.rescue().await, []);
    }
    let record = bench.record(&jobs[0].id).await;
    assert_eq!((record.state, record.lease_until), (State::Running, Some(bench.env.wall().after(LEASE))));
    assert_eq!(bench.finish(jobs[0].clone(), Verdict::Release).await, Finished::Applied(State::Pending));
}

pub async fn a_lease_is_not_rescued_before_its_end(bench: Bench) {
    held(&bench, 1).await;
    bench.pass(LEASE - SECOND / 100).await;
    assert_eq!(bench.rescue().await, []);
    bench.pass(SECOND / 50).await;
    assert_eq!(bench.rescue().await.len(), 1);
}

pub async fn each_claim_has_the_lease_it_asked_for(bench: Bench) {
    bench.add_many(2).await;
    let long = bench.take(&ClaimRequest { lease: 3 * LEASE, ..bench.request(1) }).await;
    let short = bench.claim(1).await;
    bench.lapse().await;
    assert_eq!(bench.rescue().await[0].id, short[0].spec.id);
    bench.pass(LEASE).await;
    assert_eq!(bench.rescue().await, []);
    bench.pass(LEASE).await;
    assert_eq!(bench.rescue().await[0].id, long[0].spec.id);
}

pub async fn what_a_renewal_does_not_name_lapses_and_its_batch_mates_are_kept(bench: Bench) {
    let jobs = held(&bench, 5).await;
    bench.pass(LEASE / 2).await;
    let named = [jobs[0].lease(), jobs[2].lease(), jobs[4].lease()];
    assert_eq!(bench.extend(&named).await, []);
    bench.pass(LEASE / 2 + SECOND).await;
    let rescued: Vec<_> = bench.rescue().await.into_iter().map(|job| job.id).collect();
    assert_eq!(rescued, [jobs[1].spec.id.clone(), jobs[3].spec.id.clone()]);
    assert_eq!(bench.extend(&named).await, []);
    bench.lapse().await;
    assert_eq!(bench.rescue().await.len(), 3);
}

pub async fn a_lease_named_twice_is_renewed_like_any_other(bench: Bench) {
    let jobs = held(&bench, 2).await;
    bench.pass(LEASE / 2).await;
    assert_eq!(bench.extend(&[jobs[0].lease(), jobs[0].lease()]).await, []);
    bench.pass(LEASE / 2 + SECOND).await;
    let rescued = bench.rescue().await;
    assert_eq!((rescued.len(), &rescued[0].id), (1, &jobs[1].spec.id));
    assert_eq!(bench.extend(&[jobs[0].lease(), jobs[0].lease()]).await, []);
}

pub async fn a_repeated_claim_still_gets_what_was_renewed(bench: Bench) {
    bench.add_many(3).await;
    let request = bench.request(3);
    let jobs = bench.take(&request).await;
    bench.extend(&[jobs[1].lease()]).await;
    assert_eq!(bench.take(&request).await.len(), 3);
}

pub async fn the_repeat_of_a_claim_renews_its_leases(bench: Bench) {
    bench.add_many(2).await;
    let request = bench.request(2);
    bench.take(&request).await;
    bench.pass(LEASE / 2).await;
    assert_eq!(bench.take(&request).await.len(), 2);
    bench.pass(LEASE / 2 + SECOND).await;
    assert_eq!(bench.rescue().await, [], "the server counts its time from the repeat");
    bench.pass(LEASE / 2).await;
    assert_eq!(bench.rescue().await.len(), 2);
}

pub async fn a_lapsed_lease_that_nobody_took_is_renewed(bench: Bench) {
    let jobs = leases(&held(&bench, 2).await);
    bench.pass(5 * LEASE).await;
    assert_eq!(bench.extend(&jobs).await, []);
    assert_eq!(bench.rescue().await, []);
    assert_eq!(bench.finish(jobs[0].clone(), Verdict::Complete).await, Finished::Applied(State::Completed));
}

pub async fn a_lapsed_lease_that_nobody_took_can_still_be_finished(bench: Bench) {
    let job = held(&bench, 1).await.remove(0);
    bench.pass(5 * LEASE).await;
    assert_eq!(bench.finish(job.lease(), Verdict::Complete).await, Finished::Applied(State::Completed));
    assert_eq!(bench.rescue().await, []);
}

pub async fn a_renewal_answers_only_what_is_lost(bench: Bench) {
    let jobs = held(&bench, 4).await;
    bench.finish(jobs[1].lease(), Verdict::Complete).await;
    bench.finish(jobs[2].lease(), Verdict::Release).await;
    let unknown = Lease { id: id("unknown"), fence: jobs[0].fence };
    let wrong = Lease { fence: Fence(jobs[3].fence.0 + 1), ..jobs[3].lease() };
    let mut asked = leases(&jobs);
    asked.extend([unknown.clone(), wrong.clone()]);
    let lost = bench.extend(&asked).await;
    let expected = [jobs[1].lease(), jobs[2].lease(), unknown, wrong];
    assert_eq!(lost.len(), expected.len());
    assert!(expected.iter().all(|lease| lost.contains(lease)), "{lost:?}");
}

pub async fn a_rescued_lease_is_lost(bench: Bench) {
    let jobs = leases(&held(&bench, 2).await);
    assert_eq!(bench.crash().await.len(), 2);
    assert_eq!(bench.extend(&jobs).await.len(), 2);
    for lease in jobs {
        assert_eq!(bench.finish(lease, Verdict::Complete).await, Finished::Stale);
    }
}

pub async fn a_renewal_moves_the_end_back_as_well_as_forward(bench: Bench) {
    let job = held(&bench, 1).await.remove(0);
    let short = ExtendRequest { lease: LEASE / 5, ..bench.renewal(&[job.lease()]) };
    assert_eq!(bench.store.extend(&short).await.expect("extend"), []);
    assert_eq!(bench.record(&job.spec.id).await.lease_until, Some(bench.env.wall().after(LEASE / 5)));
}

pub async fn a_step_of_the_wall_clock_rescues_nobody_and_spares_nobody(bench: Bench) {
    held(&bench, 2).await;
    bench.clock.step_wall_forward(2 * HOUR);
    assert_eq!(bench.rescue().await, []);
    bench.clock.step_wall_back(4 * HOUR);
    assert_eq!(bench.rescue().await, []);
    bench.lapse().await;
    assert_eq!(bench.rescue().await.len(), 2);
}

pub async fn a_lease_is_shown_as_the_wall_clock_stands_now(bench: Bench) {
    let job = held(&bench, 1).await.remove(0);
    bench.clock.step_wall_forward(HOUR);
    bench.clock.advance(SECOND);
    let shown = bench.record(&job.spec.id).await.lease_until;
    assert_eq!(shown, Some(bench.env.wall().after(LEASE - SECOND)));
}

pub async fn a_reboot_ends_all_leases(bench: Bench) {
    let jobs = ids(&held(&bench, 2).await);
    bench.clock.reboot();
    // A store may take the reboot for an outage: then it waits for 0.4 leases.
    let mut rescued = bench.rescue().await;
    bench.pass(LEASE / 2).await;
    rescued.extend(bench.rescue().await);
    assert_eq!(rescued.into_iter().map(|job| job.id).collect::<Vec<_>>(), jobs);
}

pub async fn a_claim_after_a_reboot_is_held_like_any_other(bench: Bench) {
    bench.clock.reboot();
    let job = held(&bench, 1).await.remove(0);
    bench.pass(LEASE - SECOND).await;
    assert_eq!(bench.rescue().await, []);
    assert_eq!(bench.extend(&[job.lease()]).await, []);
    bench.pass(2 * LEASE).await;
    assert_eq!(bench.rescue().await.len(), 1);
}

pub async fn a_stale_lease_cannot_finish(bench: Bench) {
    let old = held(&bench, 1).await.remove(0);
    bench.pass(3 * LEASE).await;
    assert_eq!(bench.rescue().await.len(), 1);
    let newer = bench.take(&ClaimRequest { server: bench.other, ..bench.request(1) }).await.remove(0);
    for verdict in [Verdict::Complete, Verdict::RetryIn(SECOND), Verdict::Snooze(SECOND), Verdict::Release] {
        assert_eq!(bench.finish(old.lease(), verdict).await, Finished::Stale);
    }
    assert_eq!(bench.extend(&[old.lease()]).await, [old.lease()]);
    let record = bench.record(&old.spec.id).await;
    assert_eq!((record.state, record.fence, record.server), (State::Running, Some(newer.fence), Some(bench.other)));
    assert_eq!((record.failures, record.snoozes), (0, 0));
    assert_eq!(bench.finish(newer.lease(), Verdict::RetryIn(HOUR)).await, Finished::Applied(State::Retrying));
}

pub async fn a_zombie_does_not_undo_the_outcome_of_the_newer_run(bench: Bench) {
    bench.add(JobOptions::new().retention(HOUR)).await;
    let old = bench.claim_one().await;
    bench.pass(3 * LEASE).await;
    bench.rescue().await;
    let newer = bench.claim_one().await;
    bench.finish(newer.lease(), Verdict::Complete).await;
    assert_eq!(bench.finish(old.lease(), Verdict::RetryIn(SECOND)).await, Finished::Stale);
    assert_eq!(bench.extend(&[old.lease()]).await, [old.lease()]);
    assert_eq!(bench.rescue().await, []);
    let record = bench.record(&old.spec.id).await;
    assert_eq!((record.state, record.failures, record.crashes), (State::Completed, 0, 1));
}

pub async fn a_stale_renewal_does_not_prolong_the_newer_lease(bench: Bench) {
    let old = held(&bench, 1).await.remove(0);
    bench.crash().await;
    bench.claim_one().await;
    bench.pass(LEASE / 2).await;
    bench.extend(&[old.lease()]).await;
    bench.pass(LEASE / 2 + SECOND).await;
    assert_eq!(bench.rescue().await.len(), 1);
}

pub async fn a_release_gives_the_lease_up_for_good(bench: Bench) {
    let old = held(&bench, 1).await.remove(0);
    bench.finish(old.lease(), Verdict::Release).await;
    let newer = bench.claim_one().await;
    assert_eq!(bench.finish(old.lease(), Verdict::Complete).await, Finished::Stale);
    assert_eq!(bench.finish(newer.lease(), Verdict::Complete).await, Finished::Applied(State::Completed));
}

pub async fn leases_do_not_depend_on_the_register_of_servers(bench: Bench) {
    let info = crate::store::ServerInfo::new(bench.server, bench.env.wall());
    bench.store.beat(&info).await.expect("beat");
    let jobs = leases(&held(&bench, 2).await);
    bench.store.leave(bench.server).await.expect("leave");
    assert_eq!(bench.extend(&jobs[..1]).await, []);
    bench.store.beat(&info).await.expect("beat");
    bench.lapse().await;
    bench.store.beat(&info).await.expect("beat");
    assert_eq!(bench.rescue().await.len(), 2, "a living server that does not renew loses its jobs");
}

pub async fn what_a_server_held_is_rescued_though_the_register_has_forgotten_it(bench: Bench) {
    let info = crate::store::ServerInfo::new(bench.server, bench.env.wall());
    bench.store.beat(&info).await.expect("beat");
    held(&bench, 2).await;
    bench.store.leave(bench.server).await.expect("leave");
    bench.lapse().await;
    assert_eq!(bench.store.servers().await.expect("servers"), []);
    assert_eq!(bench.rescue().await.len(), 2);
}

pub async fn finishing_and_rescuing_at_once_leaves_one_outcome(bench: Bench) {
    for _ in 0..20 {
        let (job, lease) = bench.start(JobOptions::new().retention(HOUR)).await;
        bench.lapse().await;
        let rules = RescueRules { limit: 10, ..rules() };
        let (finished, rescued) = tokio::join!(bench.finish(lease, Verdict::Complete), bench.rescue_by(&rules));
        let record = bench.record(&job).await;
        if finished == Finished::Stale {
            assert_eq!((record.state, record.crashes, rescued.jobs.len()), (State::Pending, 1, 1));
            let again = bench.take(&bench.request_from(&["own"], 1)).await.remove(0);
            bench.finish(again.lease(), Verdict::Complete).await;
        } else {
            assert_eq!((record.state, record.crashes, rescued.jobs.len()), (State::Completed, 0, 0));
        }
    }
}

/// Shorter than any lease in use.
const MOMENT: Duration = Duration::from_millis(10);

pub async fn a_shorter_lease_lapses_sooner(bench: Bench) {
    bench.add_many(1).await;
    bench.take(&ClaimRequest { lease: MOMENT, ..bench.request(1) }).await;
    bench.clock.advance(MOMENT / 2);
    assert_eq!(bench.rescue().await, []);
    bench.clock.advance(MOMENT);
    assert_eq!(bench.rescue().await.len(), 1);
}
