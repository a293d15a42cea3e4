//! Looks at a store as a whole, for `windlass doctor` and for programs: whether it answers and can be written, what the
//! store says of itself, the clocks, and whether everything that waits has a server. What was read goes through plain
//! functions; nothing here repairs anything.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    client::{Client, SchedulePage},
    error::Error,
    job::{GroupInfo, JobFilter, KindFilter, Pattern, QueueName, State, Timestamp},
    store::{Census, Check, QueueCensus, ServerInfo, StoreError},
};

/// Clocks that differ more than this are worth a word: jobs become due by the store's.
const CLOCKS_DIFFER: Duration = Duration::from_secs(2);
/// A job that nobody handles may be a deployment that is under way, for so long.
const DEPLOYMENT: Duration = Duration::from_secs(600);
/// How many jobs in line are looked at: a few at a time, since their payloads come along.
const PAGES: usize = 40;
const PAGE: u32 = 25;
/// How many groups and schedules are looked at, and how long one may stay as it is before it is worth a word.
const GROUPS: u32 = 1000;
const QUIET: Duration = Duration::from_secs(3600);
/// The first moment at which this could have been compiled: a clock before it was never set.
const LONG_AGO: Timestamp = Timestamp::from_micros(1_735_689_600_000_000);

impl Client {
    /// Looks at the health of the store and of those who work on it. Bounded, however large the store is.
    ///
    /// Each [`Check`] has a name, a level, what was found, and, unless all is well, what to do about it. The names:
    /// `reachable`, `writable`, `clock`, `ledger`, `servers`, `queues`, with a live server `handled`, `groups` and (where there are some) `schedules`, and
    /// those of the store (on SQLite `version`, `wal`, `disk`, `durability`, `integrity`; on Redis `version`, `role`,
    /// `cluster`, `eviction`, `memory`, `durability`; on Postgres `version`, `role`, `encoding`, `durability`, `schema`,
    /// `connections`, `autovacuum`, `vacuum`, `horizon`, `indexes`, `fold`, `counters`). A store that does not answer has the first one alone.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), windlass::Error> {
    /// use windlass::{Client, store::Level};
    /// let client = Client::open("memory:").await?;
    /// for check in client.checkup().await {
    ///     println!("{}: {}", check.name, check.found);
    ///     assert!(check.level < Level::Fail);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn checkup(&self) -> Vec<Check> {
        let before = self.env().monotonic();
        let census = match self.census().await {
            Ok(census) => census,
            Err(error) => return vec![unreachable(&error)],
        };
        let took = self.env().monotonic().since(before);
        let mut checks = vec![Check::ok("reachable", format!("{} answered in {took:?}", self.store().place()))];
        checks.push(self.writable().await);
        match self.store().checkup().await {
            Ok(found) => checks.extend(found),
            Err(error) => checks.push(unreachable(&error.into())),
        }
        checks.push(clock(self.env().wall(), census.now));
        match self.look_at_work(&census).await {
            Ok(found) => checks.extend(found),
            Err(error) => checks.push(unreachable(&error)),
        }
        checks
    }

    /// Writes something that nobody misses: the end of a server that never was.
    async fn writable(&self) -> Check {
        let before = self.env().monotonic();
        match self.store().leave(self.env().new_server_id()).await {
            Ok(()) => Check::ok("writable", format!("a write took {:?}", self.env().monotonic().since(before))),
            Err(error) => Check::fail("writable", error.to_string(), advice(&error)),
        }
    }

    async fn look_at_work(&self, census: &Census) -> Result<Vec<Check>, Error> {
        let servers = self.servers().await?;
        let pending: u64 = census.queues.iter().map(pending).sum();
        let mut checks = vec![ledger(census), self::servers(&servers, pending), paused(&census.queues)];
        // Without any server the first of them has said it all.
        if !servers.is_empty() {
            checks.push(unhandled(&self.unhandled(&servers).await?, census.now));
            let page = self.store().groups(None, None, GROUPS).await?;
            checks.push(groups(&page.items, &servers, page.now));
            match self.schedules(None, GROUPS).await {
                Ok(page) => checks.extend(schedules(&page)),
                Err(Error::Store(StoreError::Unsupported(_))) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(checks)
    }

    /// What stands in line and is for no live server, among those that were enqueued first: nobody takes them, so they
    /// gather at the front.
    async fn unhandled(&self, servers: &[ServerInfo]) -> Result<Unhandled, Error> {
        let (filter, mut found, mut after) = (JobFilter::default().state(State::Pending), Unhandled::default(), None);
        let kinds = |server: &ServerInfo| KindFilter::of(server.kinds.iter().map(String::as_str));
        let kinds = servers.iter().map(kinds).collect::<Result<Vec<_>, _>>()?;
        for _ in 0..PAGES {
            let page = self.list(&filter, after, PAGE).await?;
            for job in page.items {
                found.looked_at += 1;
                let (queue, kind) = (&job.spec.queue, job.spec.kind.as_str());
                if !servers
                    .iter()
                    .zip(&kinds)
                    .any(|(server, kinds)| takes(server, queue) && kinds.rule_for(kind).is_some())
                {
                    found.jobs += 1;
                    found.names.insert(format!("{kind} (queue {queue})"));
                    found.oldest = found.oldest.into_iter().chain(job.pending_at).min();
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        Ok(found)
    }
}

/// Every job that ever came in is in a state or was removed. A store that does not count what comes in (Redis, where Go
/// brings jobs as well) adds the two up instead, and so has nothing to compare.
fn ledger(census: &Census) -> Check {
    let there: u64 = census.queues.iter().flat_map(|queue| queue.by_state).sum();
    let found = format!("{} came in, {there} are there, {} were removed", census.enqueued, census.removed);
    if census.enqueued == there + census.removed {
        return Check::ok("ledger", found);
    }
    let advice = "the store is damaged: something has changed it past windlass; keep a copy of it and restore a backup";
    Check::fail("ledger", found, advice)
}

fn takes(server: &ServerInfo, queue: &QueueName) -> bool {
    server.queues.iter().any(|(name, _)| name == queue)
}

#[derive(Default)]
struct Unhandled {
    looked_at: u64,
    jobs: u64,
    names: BTreeSet<String>,
    oldest: Option<Timestamp>,
}

fn pending(queue: &QueueCensus) -> u64 {
    queue.by_state[State::Pending.code() as usize]
}

fn advice(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unavailable(_) => "check the address or the path, that this user may write there, and the disk",
        StoreError::Corrupt(_) => "use the version of windlass that wrote it, or restore a backup",
        _ => "read the message; the store cannot do what every store has to",
    }
}

fn unreachable(error: &Error) -> Check {
    let advice = match error {
        Error::Store(error) => advice(error),
        _ => "read the message; the store holds something that it should not",
    };
    Check::fail("reachable", error.to_string(), advice)
}

fn clock(ours: Timestamp, store: Timestamp) -> Check {
    let apart = ours.since(store).max(store.since(ours));
    let found = format!("{ours}, {apart:?} from the store's");
    if ours < LONG_AGO {
        return Check::fail("clock", found, "set the clock of this host: jobs become due by it");
    }
    if apart > CLOCKS_DIFFER {
        return Check::warn(
            "clock",
            found,
            "let NTP set both clocks; jobs become due by the store's, leases do not care",
        );
    }
    Check::ok("clock", found)
}

fn servers(servers: &[ServerInfo], pending: u64) -> Check {
    const START: &str = "start one: `windlass work --config FILE`, or Server::start in your program";
    let sum = |number: fn(&ServerInfo) -> u32| servers.iter().map(|server| u64::from(number(server))).sum::<u64>();
    let found = format!(
        "{} live, {} slots, {} busy, {} leaked; {pending} jobs in line",
        servers.len(),
        sum(|server| server.slots),
        sum(|server| server.busy),
        sum(|server| server.leaked)
    );
    if servers.is_empty() {
        return if pending > 0 { Check::fail("servers", found, START) } else { Check::warn("servers", found, START) };
    }
    if servers.iter().all(|server| server.quiet) {
        return Check::warn("servers", found, "every server is quiet and claims nothing; restart one");
    }
    if sum(|server| server.leaked) > 0 {
        return Check::warn(
            "servers",
            found,
            "handlers ignored their end and keep their slots: make them await, or move what blocks to a thread",
        );
    }
    Check::ok("servers", found)
}

fn paused(queues: &[QueueCensus]) -> Check {
    let waiting = queues.iter().filter(|queue| queue.paused && pending(queue) > 0);
    let names: Vec<String> = waiting.map(|queue| format!("{} ({} in line)", queue.name, pending(queue))).collect();
    if names.is_empty() {
        let paused = queues.iter().filter(|queue| queue.paused).count();
        return Check::ok("queues", format!("{} queues, {paused} paused", queues.len()));
    }
    let found = format!("paused with jobs in line: {}", names.join(", "));
    Check::warn("queues", found, "`windlass queue resume NAME` lets a queue give jobs again")
}

fn unhandled(waiting: &Unhandled, now: Timestamp) -> Check {
    const ADVICE: &str = "run a server that takes the queue and has a handler for the kind, or cancel the jobs; they are \
                          dead (unknown_kind) after a day of live servers without one";
    if waiting.jobs == 0 {
        return Check::ok("handled", format!("each of the first {} jobs in line has a live server", waiting.looked_at));
    }
    let names: Vec<&str> = waiting.names.iter().take(10).map(String::as_str).collect();
    let (jobs, looked_at) = (waiting.jobs, waiting.looked_at);
    let found = format!("{jobs} of the first {looked_at} jobs in line have no live server: {}", names.join(", "));
    match waiting.oldest {
        Some(oldest) if now.since(oldest) >= DEPLOYMENT => Check::fail("handled", found, ADVICE),
        _ => Check::warn("handled", found, ADVICE),
    }
}

/// Groups that nobody makes a job of, and those of which somebody should have made one.
fn groups(groups: &[GroupInfo], servers: &[ServerInfo], now: Timestamp) -> Check {
    let tended = |group: &&GroupInfo| {
        let key = &group.key;
        let named = |pattern: &String| Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(&key.name));
        servers.iter().any(|server| takes(server, &key.queue) && server.groups.iter().any(named))
    };
    let (tended, alone): (Vec<&GroupInfo>, Vec<_>) = groups.iter().partition(tended);
    let names = |groups: &[&GroupInfo]| {
        let names = groups.iter().take(10).map(|group| format!("{} (queue {})", group.key.name, group.key.queue));
        names.collect::<Vec<_>>().join(", ")
    };
    if !alone.is_empty() {
        let found =
            format!("{} of the first {} groups have no live server: {}", alone.len(), groups.len(), names(&alone));
        return Check::warn("groups", found, "run a server that takes the queue and has an aggregator for the name");
    }
    let stuck: Vec<_> = tended.into_iter().filter(|group| now.since(group.newest_at) >= QUIET).collect();
    if !stuck.is_empty() {
        let found = format!("{} groups have stayed as they are for an hour: {}", stuck.len(), names(&stuck));
        return Check::warn(
            "groups",
            found,
            "unless their grace is as long, their aggregator fails: its server logs why; cancel or edit the member that \
             it names",
        );
    }
    Check::ok("groups", format!("each of the first {} groups has a live server", groups.len()))
}

/// Schedules that nobody lets tick. None without any schedule.
fn schedules(page: &SchedulePage) -> Option<Check> {
    let all = page.items.len() + page.unreadable.len();
    let orphaned: Vec<_> = page.items.iter().filter(|info| info.orphaned).map(|info| &*info.record.name).collect();
    let unreadable: Vec<_> = page.unreadable.iter().map(|key| &*key.name).collect();
    let found = |names: &[&str], what: &str| {
        format!("{} of the first {all} schedules {what}: {}", names.len(), names[..names.len().min(10)].join(", "))
    };
    if !unreadable.is_empty() {
        let advice = "a newer program has written them: look with its version, or remove them";
        return Some(Check::warn("schedules", found(&unreadable, "cannot be read"), advice));
    }
    if !orphaned.is_empty() {
        let advice = "run a server that declares them, or remove them: windlass schedule remove NAME";
        return Some(Check::warn("schedules", found(&orphaned, "are declared by no live server"), advice));
    }
    (all > 0).then(|| Check::ok("schedules", format!("each of the first {all} schedules has a live server")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        job::{GroupKey, ServerId},
        store::Level,
    };

    fn server(slots: u32, leaked: u32, quiet: bool) -> ServerInfo {
        let mut server = ServerInfo::new(ServerId(uuid::Uuid::nil()), LONG_AGO);
        (server.slots, server.leaked, server.quiet) = (slots, leaked, quiet);
        server
    }

    #[test]
    fn jobs_in_line_without_a_server_fail_and_an_idle_store_without_one_warns() {
        assert_eq!(servers(&[], 1).level, Level::Fail);
        assert_eq!(servers(&[], 0).level, Level::Warn);
        assert_eq!(servers(&[server(10, 0, false)], 1000).level, Level::Ok);
    }

    #[test]
    fn quiet_servers_and_leaked_slots_warn() {
        assert_eq!(servers(&[server(10, 0, true)], 1).level, Level::Warn);
        assert_eq!(servers(&[server(10, 0, true), server(10, 0, false)], 1).level, Level::Ok);
        assert_eq!(servers(&[server(10, 1, false)], 0).level, Level::Warn);
    }

    #[test]
    fn a_clock_that_was_never_set_fails_and_one_that_differs_warns() {
        let now = LONG_AGO.after(Duration::from_secs(86_400));
        assert_eq!(clock(now, now.after(CLOCKS_DIFFER)).level, Level::Ok);
        assert_eq!(clock(now, now.before(2 * CLOCKS_DIFFER)).level, Level::Warn);
        assert_eq!(clock(now.after(2 * CLOCKS_DIFFER), now).level, Level::Warn);
        assert_eq!(clock(Timestamp::default(), Timestamp::default()).level, Level::Fail);
    }

    #[test]
    fn a_job_without_a_handler_may_be_a_deployment_for_ten_minutes() {
        let waiting = |since: Duration| {
            let names = BTreeSet::from(["mail (queue default)".into()]);
            let waiting = Unhandled { looked_at: 9, jobs: 3, names, oldest: Some(LONG_AGO) };
            unhandled(&waiting, LONG_AGO.after(since))
        };
        assert_eq!(waiting(DEPLOYMENT / 2).level, Level::Warn);
        let late = waiting(DEPLOYMENT);
        assert_eq!(late.level, Level::Fail);
        assert_eq!(late.found, "3 of the first 9 jobs in line have no live server: mail (queue default)");
        assert_eq!(unhandled(&Unhandled::default(), LONG_AGO).level, Level::Ok);
    }

    #[test]
    fn a_group_that_nobody_tends_warns_and_so_does_one_that_stays_as_it_is() {
        let mut tender = server(10, 0, false);
        tender.queues = vec![(QueueName::new("mail").unwrap(), 1)];
        tender.groups = vec!["digest:*".into()];
        let group =
            |queue, name| GroupInfo::new(GroupKey::new(QueueName::new(queue).unwrap(), name), 3, LONG_AGO, LONG_AGO);
        let check = |of: GroupInfo, later| groups(&[of], &[tender.clone()], LONG_AGO.after(later));
        assert_eq!(check(group("mail", "digest:ann"), QUIET / 2).level, Level::Ok);
        let stuck = check(group("mail", "digest:ann"), QUIET);
        let found = "1 groups have stayed as they are for an hour: digest:ann (queue mail)";
        assert_eq!((stuck.level, &*stuck.found), (Level::Warn, found));
        for (queue, name) in [("mail", "other"), ("elsewhere", "digest:ann")] {
            let alone = check(group(queue, name), Duration::ZERO);
            assert_eq!(alone.level, Level::Warn);
            assert_eq!(alone.found, format!("1 of the first 1 groups have no live server: {name} (queue {queue})"));
        }
        assert_eq!(groups(&[], &[tender.clone()], LONG_AGO).level, Level::Ok);
    }

    #[test]
    fn a_ledger_that_does_not_add_up_fails() {
        let mut by_state = [0; 9];
        by_state[0] = 3;
        let queue =
            QueueCensus { name: QueueName::new("mail").unwrap(), paused: false, by_state, oldest_pending: None };
        let mut census = Census { enqueued: 5, removed: 2, queues: vec![queue], now: LONG_AGO };
        assert_eq!(ledger(&census).level, Level::Ok);
        census.enqueued += 1;
        assert_eq!(ledger(&census).level, Level::Fail);
    }

    #[test]
    fn only_a_paused_queue_with_jobs_in_line_warns() {
        let queue = |paused, pending| {
            let mut by_state = [0; 9];
            by_state[State::Pending.code() as usize] = pending;
            QueueCensus { name: QueueName::new("mail").unwrap(), paused, by_state, oldest_pending: None }
        };
        assert_eq!(paused(&[queue(true, 0), queue(false, 9)]).level, Level::Ok);
        let warned = paused(&[queue(true, 7)]);
        assert_eq!((warned.level, &*warned.found), (Level::Warn, "paused with jobs in line: mail (7 in line)"));
    }
}
