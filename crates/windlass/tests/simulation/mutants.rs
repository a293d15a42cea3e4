//! Stores with one guard taken out each. The checker must find every one of them within the default seeds, or it
//! proves nothing about the store that has the guard.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use windlass::{
    Action, Fence, JobFilter, JobId, JobState, Lease, NewJob, ServerId, StoreError,
    store::{
        Backend, CancelLog, Claim, ClaimRequest, Claimed, Enqueued, ExtendRequest, Finish, Finished, Flush, Flushed,
        Operated, PromoteRules, Promoted, Report, Reported, RescueRules, Rescued,
    },
    testing::{Layer, Layered},
};

use crate::{SEEDS, check::check, rules::Rule, run::run};

type Result<T> = std::result::Result<T, StoreError>;

/// Runs seeds over a store with a guard taken out until the checker finds it; it must, and by one of these rules.
fn must_be_caught<L: Layer>(rules: &[Rule], broken: fn(Arc<dyn Backend>) -> L) {
    for seed in 0..SEEDS {
        let ran = run(seed, &|store| Arc::new(Layered(broken(store))));
        if let Some(violation) = check(&ran) {
            println!("caught by seed {seed} ({:?}): {violation}", ran.plan.weather);
            assert!(rules.contains(&violation.rule), "seed {seed}: caught, but by another rule: {violation}");
            return;
        }
    }
    panic!("not caught within {SEEDS} seeds");
}

/// True for one call of so many.
#[derive(Default)]
struct Now(AtomicU64);

impl Now {
    fn and_then(&self, every: u64) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) % every == every - 1
    }
}

macro_rules! mutant {
    ($(#[$doc:meta])* $name:ident($store:ident $(, $field:ident: $type:ty)*) { $($method:item)* }) => {
        $(#[$doc])*
        struct $name {
            $store: Arc<dyn Backend>,
            $($field: $type,)*
        }

        impl $name {
            fn over($store: Arc<dyn Backend>) -> Self {
                Self { $store, $($field: <$type>::default(),)* }
            }
        }

        #[async_trait]
        impl Layer for $name {
            fn inner(&self) -> &dyn Backend {
                &*self.$store
            }
            $($method)*
        }
    };
}

mutant! {
    /// Takes an outcome from whoever brings one.
    Unfenced(store) {
        async fn finish(&self, mut batch: Vec<Finish>) -> Result<Vec<Finished>> {
            for finish in &mut batch {
                let now = self.store.get(&finish.lease.id).await?.and_then(|job| job.fence);
                finish.lease.fence = now.unwrap_or(finish.lease.fence);
            }
            self.store.finish(batch).await
        }
    }
}

mutant! {
    /// Takes what anybody says of a job.
    UnfencedReport(store) {
        async fn report(&self, mut reports: Vec<Report>) -> Result<Vec<Reported>> {
            for report in &mut reports {
                let now = self.store.get(&report.lease.id).await?.and_then(|job| job.fence);
                report.lease.fence = now.unwrap_or(report.lease.fence);
            }
            self.store.report(reports).await
        }
    }
}

#[test]
fn an_unfenced_report_is_caught() {
    must_be_caught(&[Rule::StaleIsRefused], UnfencedReport::over);
}

mutant! {
    /// Acknowledges checkpoints that it then does not have.
    LosesCheckpoints(store, now: Now) {
        async fn report(&self, reports: Vec<Report>) -> Result<Vec<Reported>> {
            if self.now.and_then(3) {
                return Ok(reports.iter().map(|_| Reported::Applied).collect());
            }
            self.store.report(reports).await
        }
    }
}

#[test]
fn a_lost_checkpoint_is_caught() {
    must_be_caught(&[Rule::CheckpointsHold, Rule::StaleIsRefused], LosesCheckpoints::over);
}

mutant! {
    /// Lets every fifth exclusive job into line, whoever holds its key.
    LetsIn(store, now: Now) {
        async fn enqueue(&self, mut jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
            for job in jobs.iter_mut().filter(|job| job.spec.exclusive.is_some()) {
                if self.now.and_then(5) {
                    Arc::make_mut(&mut job.spec).exclusive = None;
                }
            }
            self.store.enqueue(jobs).await
        }
    }
}

#[test]
fn a_second_holder_of_a_key_is_caught() {
    must_be_caught(&[Rule::ExclusiveRunsAlone], LetsIn::over);
}

#[test]
fn an_unfenced_finish_is_caught() {
    must_be_caught(&[Rule::StaleIsRefused], Unfenced::over);
}

mutant! {
    /// Acknowledges jobs that it then does not have.
    Forgetful(store, now: Now) {
        async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
            if self.now.and_then(40) {
                return Ok(jobs.iter().map(|job| Enqueued::New(job.spec.id.clone())).collect());
            }
            self.store.enqueue(jobs).await
        }
    }
}

#[test]
fn an_early_acknowledgement_is_caught() {
    must_be_caught(&[Rule::NothingIsLost], Forgetful::over);
}

mutant! {
    /// Accepts outcomes and loses some.
    LosesOutcomes(store, now: Now) {
        async fn finish(&self, batch: Vec<Finish>) -> Result<Vec<Finished>> {
            if self.now.and_then(30) {
                return Ok(batch.iter().map(|_| Finished::Applied(JobState::Completed)).collect());
            }
            self.store.finish(batch).await
        }
    }
}

#[test]
fn a_lost_outcome_is_caught() {
    must_be_caught(&[Rule::OneOutcome, Rule::NothingIsLost], LosesOutcomes::over);
}

mutant! {
    /// Makes a job of what was read of a group, whatever became of it since.
    FlushesBlindly(store) {
        async fn flush(&self, flush: &Flush) -> Result<Flushed> {
            let flushed = self.store.flush(flush).await?;
            if flushed != Flushed::Changed {
                return Ok(flushed);
            }
            self.store.enqueue(vec![flush.into.clone()]).await?;
            Ok(Flushed::Into(flush.into.spec.id.clone()))
        }
    }
}

#[test]
fn a_flush_that_does_not_look_again_is_caught() {
    must_be_caught(&[Rule::OneOutcome], FlushesBlindly::over);
}

mutant! {
    /// Takes the members out of their group and forgets the job that they became.
    ForgetsFlushes(store, now: Now) {
        async fn flush(&self, flush: &Flush) -> Result<Flushed> {
            if self.now.and_then(5) {
                for (id, _) in &flush.members {
                    self.store.operate(id, &Action::Delete).await?;
                }
                return Ok(Flushed::Into(flush.into.spec.id.clone()));
            }
            self.store.flush(flush).await
        }
    }
}

#[test]
fn a_flush_that_loses_its_job_is_caught() {
    must_be_caught(&[Rule::OneOutcome, Rule::NothingIsLost, Rule::EverythingSettles], ForgetsFlushes::over);
}

mutant! {
    /// Leaves the jobs of the dead where they are.
    NoRescue(store) {
        async fn rescue(&self, _: &RescueRules) -> Result<Rescued> {
            Ok(Rescued::default())
        }
    }
}

#[test]
fn a_missing_rescue_is_caught() {
    must_be_caught(&[Rule::EverythingSettles, Rule::RecoveryInSeconds], NoRescue::over);
}

mutant! {
    /// Looks for lapsed leases once in many times.
    LateRescue(store, now: Now) {
        async fn rescue(&self, rules: &RescueRules) -> Result<Rescued> {
            let limit = if self.now.and_then(40) { rules.limit } else { 0 };
            self.store.rescue(&RescueRules { limit, ..*rules }).await.map(|rescued| Rescued { more: false, ..rescued })
        }
    }
}

#[test]
fn a_late_rescue_is_caught() {
    must_be_caught(&[Rule::RecoveryInSeconds], LateRescue::over);
}

mutant! {
    /// Gives a job that runs to somebody else as well.
    GivesTwice(store, given: Mutex<Vec<Claimed>>, now: Now) {
        async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
            let mut claim = self.store.claim(request).await?;
            let mut given = self.given.lock();
            if claim.jobs.is_empty() && !request.suspect && self.now.and_then(20) {
                claim.jobs.extend(given.pop());
            }
            given.extend(claim.jobs.iter().cloned());
            Ok(claim)
        }
    }
}

#[test]
fn a_job_given_twice_is_caught() {
    must_be_caught(&[Rule::NoOverlap, Rule::OneOutcome, Rule::FencesRise], GivesTwice::over);
}

mutant! {
    /// Takes a crash for a failed attempt.
    CrashBurnsAttempt(store) {
        async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
            let mut claim = self.store.claim(request).await?;
            claim.jobs.iter_mut().for_each(|job| job.attempt += job.crashes);
            Ok(claim)
        }
    }
}

#[test]
fn a_crash_counted_as_an_attempt_is_caught() {
    must_be_caught(&[Rule::NumbersAreKept], CrashBurnsAttempt::over);
}

mutant! {
    /// Notices no outage: somebody seems to have stamped the store a moment ago, and nobody ran late.
    NoticesNoOutage(store) {
        async fn extend(&self, request: &ExtendRequest) -> Result<Vec<Lease>> {
            self.stamp().await?;
            self.store.extend(&ExtendRequest { ran_late: false, ..request.clone() }).await
        }

        async fn rescue(&self, rules: &RescueRules) -> Result<Rescued> {
            self.stamp().await?;
            self.store.rescue(&RescueRules { ran_late: false, ..*rules }).await
        }
    }
}

impl NoticesNoOutage {
    /// A stamp whose lease is nothing sets no pause.
    async fn stamp(&self) -> Result<()> {
        let rules = RescueRules { poison_after: 3, lease: Duration::ZERO, limit: 0, ran_late: false };
        self.store.rescue(&rules).await.map(drop)
    }
}

#[test]
fn a_rescue_right_after_an_outage_is_caught() {
    must_be_caught(&[Rule::OutageIsNoCrash], NoticesNoOutage::over);
}

mutant! {
    /// Renews what is no longer held.
    RenewsLost(store) {
        async fn extend(&self, request: &ExtendRequest) -> Result<Vec<Lease>> {
            self.store.extend(request).await.map(|_| Vec::new())
        }
    }
}

#[test]
fn a_renewal_of_a_lost_lease_is_caught() {
    must_be_caught(&[Rule::StaleIsRefused], RenewsLost::over);
}

mutant! {
    /// Gives a job the fence of its first claim again and again.
    OneFence(store, fences: Mutex<BTreeMap<JobId, (Fence, Fence)>>) {
        async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
            let mut claim = self.store.claim(request).await?;
            let mut fences = self.fences.lock();
            for job in &mut claim.jobs {
                let known = fences.entry(job.spec.id.clone()).or_insert((job.fence, job.fence));
                known.1 = job.fence;
                job.fence = known.0;
            }
            Ok(claim)
        }

        async fn extend(&self, request: &ExtendRequest) -> Result<Vec<Lease>> {
            let mut request = request.clone();
            request.leases = request.leases.iter().map(|lease| self.real(lease)).collect();
            self.store.extend(&request).await
        }

        async fn finish(&self, mut batch: Vec<Finish>) -> Result<Vec<Finished>> {
            batch.iter_mut().for_each(|finish| finish.lease = self.real(&finish.lease));
            self.store.finish(batch).await
        }
    }
}

impl OneFence {
    fn real(&self, lease: &Lease) -> Lease {
        let fence = self.fences.lock().get(&lease.id).map_or(lease.fence, |(_, real)| *real);
        Lease { id: lease.id.clone(), fence }
    }
}

#[test]
fn a_fence_that_does_not_rise_is_caught() {
    must_be_caught(&[Rule::FencesRise], OneFence::over);
}

mutant! {
    /// Takes the repeat of a claim for a new one, and what it gave before is forgotten.
    ForgetsClaims(store, claims: AtomicU64) {
        async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
            let sequence = 1_000_000 + self.claims.fetch_add(1, Ordering::Relaxed);
            self.store.claim(&ClaimRequest { sequence, ..request.clone() }).await
        }
    }
}

#[test]
fn a_claim_that_forgets_its_repeat_is_caught() {
    must_be_caught(&[Rule::CrashesAreEarned, Rule::OutageIsNoCrash], ForgetsClaims::over);
}

mutant! {
    /// Gives jobs to a claim that was overtaken by a later one, although nobody waits for its answer.
    ServesLate(store, last: Mutex<BTreeMap<ServerId, u64>>) {
        async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
            let late = {
                let mut last = self.last.lock();
                let last = last.entry(request.server).or_default();
                *last = request.sequence.max(*last);
                request.sequence < *last
            };
            let server = if late { ServerId(uuid::Uuid::from_u128(request.sequence.into())) } else { request.server };
            self.store.claim(&ClaimRequest { server, ..request.clone() }).await
        }
    }
}

#[test]
fn a_late_claim_that_takes_jobs_is_caught() {
    must_be_caught(&[Rule::CrashesAreEarned, Rule::NothingIsLost], ServesLate::over);
}

mutant! {
    /// Lets a job take down one process after the other.
    NoPoison(store) {
        async fn rescue(&self, rules: &RescueRules) -> Result<Rescued> {
            self.store.rescue(&RescueRules { poison_after: u32::MAX, ..*rules }).await
        }
    }
}

#[test]
fn poison_that_is_never_buried_is_caught() {
    must_be_caught(&[Rule::PoisonAtThree, Rule::SuspectRunsAlone], NoPoison::over);
}

mutant! {
    /// Buries a job at its second crash.
    HastyPoison(store) {
        async fn rescue(&self, rules: &RescueRules) -> Result<Rescued> {
            self.store.rescue(&RescueRules { poison_after: 2, ..*rules }).await
        }
    }
}

#[test]
fn a_neighbour_buried_too_early_is_caught() {
    must_be_caught(&[Rule::PoisonAtThree], HastyPoison::over);
}

mutant! {
    /// Loses a job on its way into line.
    PromoteDrops(store, now: Now) {
        async fn promote(&self, rules: &PromoteRules) -> Result<Promoted> {
            let promoted = self.store.promote(rules).await?;
            if promoted.moved > 0 && self.now.and_then(5) {
                let pending = self.store.list(&JobFilter::default().state(JobState::Pending), None, 1).await?;
                for job in pending.items {
                    self.store.operate(job.id(), &Action::Delete).await?;
                }
            }
            Ok(promoted)
        }
    }
}

#[test]
fn a_promotion_that_drops_a_job_is_caught() {
    must_be_caught(&[Rule::NothingIsLost], PromoteDrops::over);
}

mutant! {
    /// Says that a job is cancelled, and does nothing.
    CancelsNothing(store) {
        async fn operate(&self, id: &JobId, action: &Action) -> Result<Operated> {
            let Action::Cancel { .. } = action else { return self.store.operate(id, action).await };
            Ok(match self.store.get(id).await?.map(|job| job.state) {
                Some(JobState::Running) => Operated::Done(JobState::Running),
                Some(state) if !state.is_terminal() => Operated::Done(JobState::Cancelled),
                Some(state) => Operated::Conflict { state, holder: None },
                None => Operated::NotFound,
            })
        }
    }
}

#[test]
fn a_cancel_without_effect_is_caught() {
    must_be_caught(&[Rule::CancelHolds, Rule::OneOutcome], CancelsNothing::over);
}

mutant! {
    /// Keeps the wish to cancel a running job from its server.
    HidesWishes(store) {
        async fn cancelled(&self, after: Option<u64>) -> Result<CancelLog> {
            self.store.cancelled(after).await.map(|log| CancelLog { wishes: Vec::new(), ..log })
        }
    }
}

#[test]
fn a_cancel_that_no_running_job_hears_is_caught() {
    must_be_caught(&[Rule::CancelHolds], HidesWishes::over);
}

mutant! {
    /// Gives the suspect to a server that has other jobs.
    MixesSuspects(store) {
        async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
            let claim = self.store.claim(request).await?;
            if !claim.jobs.is_empty() || claim.suspect_waiting.is_none() {
                return Ok(Claim { suspect_waiting: None, ..claim });
            }
            let other = ClaimRequest { suspect: true, sequence: u64::MAX - request.sequence, ..request.clone() };
            Ok(Claim { suspect_waiting: None, ..self.store.claim(&other).await? })
        }
    }
}

#[test]
fn a_suspect_among_neighbours_is_caught() {
    must_be_caught(&[Rule::SuspectRunsAlone], MixesSuspects::over);
}
