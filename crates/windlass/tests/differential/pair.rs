//! Two stores that go through the same history on clocks that move in step. Each answer of one is compared with that
//! of the other. Fences may have other values, but they must rise in the same order.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc, time::Duration};

use bytes::Bytes;
use windlass::{
    Cursor, ErrorClass, Fence, GroupKey, GroupMember, JobFilter, JobId, JobRecord, JobState as State, Kind, KindFilter,
    Lease, NewJob, News, Pattern, QueueName, ServerId, Timestamp,
    decide::queues::QueueShare,
    store::{
        Backend, CancelWish, Claim, ClaimRequest, ExtendRequest, Failure, Finish, Flush, PromoteRules, Report,
        RescueRules, ServerInfo, StoreError,
    },
    testing::{ManualClock, job},
};

use super::ops::{Ask, End, GROUPS, HANDLES, KINDS, New, Op, QUEUES, Said};

/// What differs, in words.
pub(crate) type Outcome = Result<(), String>;

/// One of the two stores.
pub(crate) struct Side {
    pub(crate) store: Arc<dyn Backend>,
    pub(crate) clock: ManualClock,
    log_read: u64,
}

impl Side {
    pub(crate) fn new(store: Arc<dyn Backend>, clock: ManualClock) -> Self {
        Self { store, clock, log_read: 0 }
    }
}

/// What was read of a group: the model's versions and the subject's.
#[derive(Clone)]
struct Reading {
    group: GroupKey,
    ours: Vec<(JobId, i64)>,
    theirs: Vec<(JobId, i64)>,
}

/// The model, the subject, and what both have been told.
pub(crate) struct Pair {
    model: Side,
    subject: Side,
    servers: [ServerId; 2],
    started: Timestamp,
    jobs: Vec<JobId>,
    /// Every lease that was ever given, as (model's, subject's).
    leases: Vec<(Lease, Lease)>,
    /// The subject's fences and the model's.
    fences: BTreeMap<Fence, Fence>,
    last_claims: [Option<ClaimRequest>; 2],
    readings: Vec<Reading>,
    holds: locks::Holds,
    versions: schedules::Versions,
    sequence: u64,
    fresh: usize,
    /// Whether the subject goes by a clock of its own: what no two such stores need agree on is left out.
    apart: bool,
    remote: bool,
    stepped_back: bool,
}

fn same<T: Debug>(what: &str, model: &T, subject: &T) -> Outcome {
    let (model, subject) = (format!("{model:#?}"), format!("{subject:#?}"));
    if model == subject { Ok(()) } else { Err(format!("{what}\nmodel: {model}\nsubject: {subject}")) }
}

fn failed(error: StoreError) -> String {
    format!("an error where none may be: {error}")
}

/// Calls both stores and gives both answers.
macro_rules! both {
    ($pair:expr, |$side:ident| $call:expr) => {{
        let model = {
            let $side = &$pair.model;
            $call.await.map_err(failed)?
        };
        let subject = {
            let $side = &$pair.subject;
            $call.await.map_err(failed)?
        };
        (model, subject)
    }};
}

mod locks;
mod schedules;

pub(crate) use self::{
    locks::{LockOp, lock_op},
    schedules::{ScheduleOp, schedule_op},
};

impl Pair {
    pub(crate) fn new(model: Side, subject: Side) -> Self {
        let started = model.clock.env().wall();
        let servers = [1, 2].map(|number| ServerId(uuid_of(number)));
        Self {
            model,
            subject,
            servers,
            started,
            jobs: Vec::new(),
            leases: Vec::new(),
            fences: BTreeMap::new(),
            last_claims: [None, None],
            readings: Vec::new(),
            holds: locks::Holds::default(),
            versions: schedules::Versions::default(),
            sequence: 0,
            fresh: 0,
            apart: false,
            remote: false,
            stepped_back: false,
        }
    }

    /// For a store that is a server of its own: a reboot, which is that of a client, is not compared.
    pub(crate) fn remote(mut self) -> Self {
        self.remote = true;
        self
    }

    /// For a server whose queues are apart, besides: which of the pending jobs is the oldest once the clock was set back is
    /// not compared, nor an order between queues.
    pub(crate) fn apart(mut self) -> Self {
        self.apart = true;
        self.remote()
    }

    /// Goes through a history, and compares the whole stores in the end.
    pub(crate) async fn run(&mut self, history: &[Op]) -> Outcome {
        for (number, op) in history.iter().enumerate() {
            let stepped = self.step(op).await;
            stepped.map_err(|difference| format!("step {number}, {op:?}: {difference}"))?;
            self.compare_counts().await.map_err(|difference| format!("after step {number}, {op:?}: {difference}"))?;
        }
        self.compare_all().await
    }

    async fn step(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Enqueue(jobs) => {
                let jobs = self.new_jobs(jobs);
                let (model, subject) = both!(self, |side| side.store.enqueue(jobs.clone()));
                same("enqueue", &model, &subject)
            }
            Op::Claim(ask) => self.claim(ask).await,
            Op::ClaimAgain { server } => self.claim_again(*server).await,
            Op::Extend { picks, ran_late } => self.extend(picks, *ran_late).await,
            Op::Finish(ends) => self.finish(ends).await,
            Op::Report(said) => self.report(said).await,
            Op::Promote { limit } => {
                let (model, subject) = both!(self, |side| side.store.promote(&PromoteRules::all(*limit)));
                same("promote", &model, &subject)
            }
            Op::Rescue { poison_after, ran_late } => self.rescue(*poison_after, *ran_late).await,
            Op::Operate { job, action } => {
                let Some(id) = pick(&self.jobs, *job).cloned() else { return Ok(()) };
                let (model, subject) = both!(self, |side| side.store.operate(&id, action));
                same("operate", &model, &subject)
            }
            Op::Pause { queue, paused } => {
                let (model, subject) = both!(self, |side| side.store.pause(&queue_name(*queue), *paused));
                same("pause", &model, &subject)
            }
            Op::Prune(what) => {
                // A prune may forget the claims of servers that did not register.
                self.last_claims = [None, None];
                let (model, subject) = both!(self, |side| side.store.prune(what, 1000));
                same("prune", &model, &subject)
            }
            Op::Sweep => {
                let after = Duration::from_secs(15);
                let (model, subject) = both!(self, |side| side.store.sweep_unknown(after, 1000));
                same("sweep", &model, &subject)
            }
            Op::ReadCancelLog => self.read_cancel_log().await,
            Op::ReadGroup { .. } | Op::Flush { .. } | Op::AskFlush { .. } | Op::DeleteMembers { .. } => {
                self.of_groups(op).await
            }
            Op::Lock(op) => self.lock(op).await,
            Op::Schedule(op) => self.schedule(op).await,
            Op::List { state, kind, tagged, limit } => {
                let mut filter = JobFilter::default().state(State::ALL[*state]);
                filter.kind = kind.map(|kind| Kind::new(KINDS[kind]).expect("a kind"));
                filter.tag = tagged.then(|| "tagged".to_owned());
                self.compare_list(&filter, *limit).await
            }
            other => self.surroundings(other).await,
        }
    }

    async fn of_groups(&mut self, op: &Op) -> Outcome {
        match op {
            Op::ReadGroup { group, limit } => {
                let key = group_key(*group);
                let (model, subject) = both!(self, |side| side.store.members(&key, *limit));
                let specs = |read: &[GroupMember]| read.iter().map(|member| member.spec.clone()).collect::<Vec<_>>();
                same("members", &specs(&model), &specs(&subject))?;
                let versions = |read: Vec<GroupMember>| read.iter().map(GroupMember::read).collect();
                self.readings.push(Reading { group: key, ours: versions(model), theirs: versions(subject) });
            }
            Op::Flush { back, into } => {
                let Some(Reading { group, ours, theirs }) = self.readings.iter().rev().nth(*back).cloned() else {
                    return Ok(());
                };
                let into = self.new_jobs(std::slice::from_ref(into)).remove(0);
                let flush = |members| Flush { group: group.clone(), members, into: into.clone() };
                let model = self.model.store.flush(&flush(ours)).await.map_err(|error| error.to_string());
                let subject = self.subject.store.flush(&flush(theirs)).await.map_err(|error| error.to_string());
                same("flush", &model, &subject)?;
            }
            Op::AskFlush { group } => {
                let (model, subject) = both!(self, |side| side.store.ask_flush(&group_key(*group)));
                same("ask to flush", &model, &subject)?;
            }
            Op::DeleteMembers { group, limit } => {
                let (model, subject) = both!(self, |side| side.store.delete_members(&group_key(*group), *limit));
                same("delete members", &model, &subject)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// What happens around the stores: time, and servers that come and go.
    async fn surroundings(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Beat { server, handles } => {
                let mut info = ServerInfo::new(self.servers[*server], self.started);
                info.kinds = HANDLES[*handles].iter().map(|kind| (*kind).to_owned()).collect();
                info.queues = QUEUES.iter().map(|name| (QueueName::new(name).expect("a queue"), 1)).collect();
                both!(self, |side| side.store.beat(&info));
            }
            Op::Leave { server } => {
                both!(self, |side| side.store.leave(self.servers[*server]));
                self.last_claims[*server] = None;
            }
            Op::Advance(by) => self.clocks(|clock| clock.advance(*by)),
            Op::StepWall { seconds } => {
                self.stepped_back |= *seconds < 0;
                self.clocks(|clock| clock.step_wall(seconds * 1_000_000));
            }
            Op::Reboot if self.remote => {}
            Op::Reboot => self.clocks(ManualClock::reboot),
            _ => {}
        }
        Ok(())
    }

    fn clocks(&self, turn: impl Fn(&ManualClock)) {
        turn(&self.model.clock);
        turn(&self.subject.clock);
    }

    fn new_jobs(&mut self, news: &[New]) -> Vec<NewJob> {
        let env = self.model.clock.env();
        let make = |new: &New| {
            self.fresh += 1;
            let mut job = job(KINDS[new.kind]).options(new.options(self.fresh)).build(&env);
            job.start = new.start;
            if !self.jobs.contains(&job.spec.id) {
                self.jobs.push(job.spec.id.clone());
            }
            job
        };
        news.iter().map(make).collect()
    }

    async fn claim(&mut self, ask: &Ask) -> Outcome {
        self.sequence += 1;
        let mut kinds = KindFilter::of(HANDLES[ask.handles].iter().copied()).expect("patterns");
        kinds.rules[0].room = ask.room;
        let share = |place: usize| QueueShare { queue: queue_name(place), quota: ask.quotas[place] };
        let request = ClaimRequest {
            server: self.servers[ask.server],
            sequence: self.sequence,
            limit: ask.limit,
            slots: ask.slots.min(ask.limit),
            quick: Arc::new(ask.quick.iter().map(|place| Kind::trusted(KINDS[*place])).collect()),
            shares: if ask.low_first { vec![share(1), share(0)] } else { vec![share(0), share(1)] },
            kinds,
            lease: ask.lease,
            suspect: ask.suspect,
        };
        let (model, subject) = both!(self, |side| side.store.claim(&request));
        same("suspect waiting", &model.suspect_waiting, &subject.suspect_waiting)?;
        self.learn_fences(&model, &subject)?;
        // What a repeat of an empty claim gives is the store's own affair.
        self.last_claims[ask.server] = (!model.jobs.is_empty()).then_some(request);
        Ok(())
    }

    async fn claim_again(&mut self, server: usize) -> Outcome {
        let Some(request) = self.last_claims[server].clone() else { return Ok(()) };
        let (mut model, mut subject) = both!(self, |side| side.store.claim(&request));
        if self.apart {
            // A repeat goes queue by queue.
            [&mut model, &mut subject]
                .into_iter()
                .for_each(|claim| claim.jobs.sort_by(|a, b| a.spec.queue.cmp(&b.spec.queue)));
        }
        let known = self.leases.len();
        self.learn_fences(&model, &subject)?;
        if self.leases.len() > known { Err("a repeated claim took a job".into()) } else { Ok(()) }
    }

    fn learn_fences(&mut self, model: &Claim, subject: &Claim) -> Outcome {
        same("claimed", &model.jobs.len(), &subject.jobs.len())?;
        for (ours, theirs) in model.jobs.iter().zip(&subject.jobs) {
            if !self.fences.contains_key(&theirs.fence) {
                if let Some((highest, _)) = self.fences.last_key_value()
                    && theirs.fence <= *highest
                {
                    return Err(format!("{:?} does not rise above {highest:?}", theirs.fence));
                }
                self.fences.insert(theirs.fence, ours.fence);
            }
            let mut theirs_named_ours = theirs.clone();
            theirs_named_ours.fence = self.model_fence(theirs.fence);
            same("claimed", ours, &theirs_named_ours)?;
            let pair = (ours.lease(), theirs.lease());
            if !self.leases.contains(&pair) {
                self.leases.push(pair);
            }
        }
        Ok(())
    }

    fn model_fence(&self, subject: Fence) -> Fence {
        self.fences.get(&subject).copied().unwrap_or(Fence(0))
    }

    fn in_models_words(&self, leases: Vec<Lease>) -> Vec<Lease> {
        leases.into_iter().map(|lease| Lease { fence: self.model_fence(lease.fence), ..lease }).collect()
    }

    async fn extend(&mut self, picks: &[usize], ran_late: bool) -> Outcome {
        let picked: Vec<_> = picks.iter().filter_map(|at| pick(&self.leases, *at).cloned()).collect();
        let (ours, theirs): (Vec<_>, Vec<_>) = picked.into_iter().unzip();
        let lease = Duration::from_secs(10);
        let request = |leases| ExtendRequest { server: self.servers[0], leases, lease, ran_late };
        let mut model = self.model.store.extend(&request(ours)).await.map_err(failed)?;
        let subject = self.subject.store.extend(&request(theirs)).await.map_err(failed)?;
        let mut subject = self.in_models_words(subject);
        for lost in [&mut model, &mut subject] {
            lost.sort_by_key(|lease| (lease.id.clone(), lease.fence));
            lost.dedup();
        }
        same("lost", &model, &subject)
    }

    async fn finish(&mut self, ends: &[End]) -> Outcome {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for end in ends {
            let Some((our, their)) = pick(&self.leases, end.pick).cloned() else { continue };
            let finish = Finish {
                lease: our,
                verdict: end.verdict.clone(),
                error: end.error.then(|| Failure { class: ErrorClass::Error, message: "no\0 luck".into() }),
                result: end.result.map(|byte| Bytes::copy_from_slice(&[byte])),
                then: end.then.as_ref().map(|new| self.new_jobs(std::slice::from_ref(new))).unwrap_or_default(),
                ran: end.ran,
                news: end.news.iter().map(|said| said.news()).collect(),
            };
            theirs.push(Finish { lease: their, ..finish.clone() });
            ours.push(finish);
        }
        let model = self.model.store.finish(ours).await.map_err(failed)?;
        let subject = self.subject.store.finish(theirs).await.map_err(failed)?;
        same("finish", &model, &subject)
    }

    async fn report(&mut self, said: &[(usize, Said)]) -> Outcome {
        let picked = said.iter().filter_map(|(at, said)| Some((pick(&self.leases, *at)?.clone(), said.news())));
        let report = |lease: &Lease, news: &News| Report { lease: lease.clone(), news: news.clone() };
        let (ours, theirs): (Vec<_>, Vec<_>) =
            picked.map(|((our, their), news)| (report(&our, &news), report(&their, &news))).unzip();
        let model = self.model.store.report(ours).await.map_err(failed)?;
        let subject = self.subject.store.report(theirs).await.map_err(failed)?;
        same("report", &model, &subject)
    }

    async fn rescue(&mut self, poison_after: u32, ran_late: bool) -> Outcome {
        let rules = RescueRules { poison_after, lease: Duration::from_secs(10), limit: 1000, ran_late };
        let (mut model, mut subject) = both!(self, |side| side.store.rescue(&rules));
        // Between queues there is no order.
        model.jobs.sort_by(|a, b| a.queue.cmp(&b.queue));
        subject.jobs.sort_by(|a, b| a.queue.cmp(&b.queue));
        for job in &mut subject.jobs {
            job.fence = self.model_fence(job.fence);
        }
        same("rescued", &model.jobs, &subject.jobs)?;
        same("more to rescue", &model.more, &subject.more)
    }

    async fn read_cancel_log(&mut self) -> Outcome {
        let (model, subject) = both!(self, |side| side.store.cancelled(Some(side.log_read)));
        (self.model.log_read, self.subject.log_read) = (model.last, subject.last);
        let named = |wish: CancelWish| (self.in_models_words(vec![wish.lease]), wish.reason);
        let ours: Vec<_> = model.wishes.into_iter().map(|wish| (vec![wish.lease], wish.reason)).collect();
        same("wishes to cancel", &ours, &subject.wishes.into_iter().map(named).collect())
    }

    async fn compare_counts(&self) -> Outcome {
        let (mut model, mut subject) = both!(self, |side| side.store.census());
        if self.apart && self.stepped_back {
            let queues = model.queues.iter_mut().chain(&mut subject.queues);
            queues.for_each(|queue| queue.oldest_pending = None);
        }
        same("census", &model, &subject)?;
        let (model, subject) = both!(self, |side| side.store.groups(None, None, 100));
        same("groups", &model, &subject)?;
        let names = [Pattern::new(GROUPS[0]).expect("a pattern")];
        for kinds in HANDLES {
            let kinds = KindFilter::of(kinds.iter().copied()).expect("patterns");
            let queues = [queue_name(0), queue_name(1)];
            let (model, subject) = both!(self, |side| side.store.outstanding(&queues, &kinds, &names));
            same("outstanding", &(model > 0), &(subject > 0))?;
        }
        Ok(())
    }

    async fn compare_all(&self) -> Outcome {
        for id in &self.jobs {
            let (model, subject) = both!(self, |side| side.store.get(id));
            same("job", &model.map(|job| self.shown(job, false)), &subject.map(|job| self.shown(job, true)))?;
        }
        self.compare_list(&JobFilter::default(), 7).await?;
        let (mut model, mut subject) = both!(self, |side| side.store.tallies(self.started.before(3 * HOUR)));
        for tallies in [&mut model, &mut subject] {
            tallies.lines.sort_by(|a, b| (&a.queue, &a.kind).cmp(&(&b.queue, &b.kind)));
        }
        same("tallies", &model, &subject)?;
        let (mut model, mut subject) = both!(self, |side| side.store.servers());
        model.sort_by_key(|server| server.id);
        subject.sort_by_key(|server| server.id);
        same("servers", &model, &subject)
    }

    async fn compare_list(&self, filter: &JobFilter, limit: u32) -> Outcome {
        let (mut model, mut subject) = both!(self, |side| walk(&*side.store, filter, limit));
        if self.apart {
            // Jobs that follow into another queue come in after those of the same finish that do not.
            [&mut model, &mut subject]
                .into_iter()
                .for_each(|jobs| jobs.sort_by(|a, b| a.spec.queue.cmp(&b.spec.queue)));
        }
        let shown = |jobs: Vec<JobRecord>, subject| jobs.into_iter().map(move |job| self.shown(job, subject));
        same("listing", &shown(model, false).collect::<Vec<_>>(), &shown(subject, true).collect())
    }

    /// The record with the model's fence, and without the words that each store finds for its own errors.
    fn shown(&self, mut job: JobRecord, of_subject: bool) -> JobRecord {
        if of_subject {
            job.fence = job.fence.map(|fence| self.model_fence(fence));
        }
        for error in &mut job.errors {
            if matches!(error.class, ErrorClass::Crash | ErrorClass::UnknownKind) {
                error.message.clear();
            }
        }
        job
    }
}

const HOUR: Duration = Duration::from_secs(3600);

async fn walk(store: &dyn Backend, filter: &JobFilter, limit: u32) -> Result<Vec<JobRecord>, StoreError> {
    let (mut jobs, mut after) = (Vec::new(), None::<Cursor>);
    loop {
        let page = store.list(filter, after, limit).await?;
        jobs.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(jobs),
        }
    }
}

fn pick<T>(things: &[T], at: usize) -> Option<&T> {
    // Newest first, so that short histories pick what still holds.
    let back = at % things.len().clamp(1, 12);
    things.iter().rev().nth(back)
}

fn queue_name(place: usize) -> QueueName {
    QueueName::new(QUEUES[place]).expect("a queue")
}

fn group_key(place: usize) -> GroupKey {
    GroupKey::new(queue_name(0), GROUPS[place])
}

fn uuid_of(number: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(number)
}
