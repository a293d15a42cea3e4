//! History in parts by the day of expiry: jobs are there or counted as removed, whoever reads, races or dies meanwhile, and
//! ids stay taken across parts.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use windlass::{
    Action, DeadReason, JobId, JobOptions, JobState, Lease, News, UniqueBy, Verdict,
    conformance::{Bench, DAY, HOUR, MINUTE, SECOND},
    store::{Enqueued, Finish, Operated, Prune, Pruned},
};

use crate::{application, bench, servers::postgres::url};

const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// A store on a clock that tests move, and a connection beside it.
struct Place {
    bench: Bench,
    app: tokio_postgres::Client,
    schema: String,
    url: String,
}

impl Place {
    async fn new() -> Self {
        let url = url();
        let bench = bench(&url).await;
        let (app, schema) = application(&url).await;
        Self { bench, app, schema, url }
    }

    /// In which a month's retention has its part: what ended before stands in part 0.
    async fn with_part() -> (Self, JobId) {
        let place = Self::new().await;
        let first = place.complete(month()).await;
        assert!(place.parts().await.is_empty());
        place.sweep().await;
        place.sweep().await;
        assert_eq!(place.parts().await.len(), 2, "the day, and the one after it");
        (place, first)
    }

    async fn complete(&self, options: JobOptions) -> JobId {
        self.bench.run(options, Verdict::Complete).await
    }

    /// Ends a run in this transaction.
    async fn complete_in(&self, tx: &tokio_postgres::Transaction<'_>, lease: Lease) {
        let finish = format!(
            "SELECT n, state FROM {}.finish_jobs($1, 1, ARRAY[$2], ARRAY[$3::bigint], ARRAY[0::smallint], \
             ARRAY[0::bigint], ARRAY[NULL], ARRAY[NULL], ARRAY[NULL], ARRAY[NULL::bytea], ARRAY[1::bigint], \
             ARRAY[false], '[]', NULL)",
            self.schema
        );
        let (now, fence) = (self.bench.env.wall().as_micros(), i64::try_from(lease.fence.0).unwrap());
        assert_eq!(tx.query(&finish, &[&now, &lease.id.to_string(), &fence]).await.unwrap().len(), 1);
    }

    async fn sweep(&self) -> Pruned {
        self.bench.store.prune(&Prune::Expired, 100).await.expect("prune")
    }

    /// Sweeps until there is no more to do. How many jobs went.
    async fn sweep_out(&self) -> u64 {
        let mut removed = 0;
        for _ in 0..20 {
            let pruned = self.sweep().await;
            removed += pruned.removed;
            if !pruned.more {
                return removed;
            }
        }
        panic!("it never ends");
    }

    async fn ask(&self, sql: &str) -> i64 {
        let sql = sql.replace("windlass.", &format!("{}.", self.schema));
        self.app.query_one(&sql, &[]).await.expect(&sql).get(0)
    }

    async fn parts(&self) -> Vec<i32> {
        let sql = format!("SELECT day FROM {}.day WHERE ready ORDER BY day", self.schema);
        self.app.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// How many jobs stand in parts of their day.
    async fn apart(&self) -> i64 {
        self.ask("SELECT count(*) FROM windlass.history WHERE day > 0").await
    }

    /// How many tables history has.
    async fn tables(&self) -> i64 {
        let like =
            "SELECT count(*) FROM pg_tables WHERE schemaname || '.' = 'windlass.' AND tablename LIKE 'history_%'";
        self.ask(like).await
    }

    /// Counts agree with what is there.
    async fn exact(&self, enqueued: u64, completed: u64) {
        let census = self.bench.census().await;
        let by_state: Vec<u64> =
            (0..9).map(|state| census.queues.iter().map(|queue| queue.by_state[state]).sum()).collect();
        let there = by_state.iter().sum::<u64>();
        assert_eq!((census.enqueued, census.removed), (enqueued, enqueued - there));
        assert_eq!(by_state[JobState::Completed.code() as usize], completed);
        let rows = self.ask("SELECT count(*) FROM windlass.history WHERE state = 6").await;
        assert_eq!(u64::try_from(rows), Ok(completed));
    }
}

fn month() -> JobOptions {
    JobOptions::new().retention(MONTH)
}

#[tokio::test]
async fn somebody_elses_table_in_the_place_of_a_part_costs_that_part_and_no_more() {
    let place = Place::new().await;
    place.complete(month()).await;
    let day = place.ask("SELECT min(expires_at) / 86400000000 FROM windlass.history").await;
    let make = "DO $$ BEGIN EXECUTE format('CREATE TABLE windlass.%I (mine int)', windlass.part_name(DAY)); END $$";
    let make = make.replace("windlass.", &format!("{}.", place.schema)).replace("DAY", &day.to_string());
    place.app.batch_execute(&make).await.unwrap();
    place.sweep().await;
    place.sweep().await;
    assert_eq!(place.parts().await, [i32::try_from(day + 1).unwrap()], "the day after it has one");
    place.complete(month()).await;
    assert_eq!(place.apart().await, 0);
    place.exact(2, 2).await;
    place.bench.clock.advance(MONTH + SECOND);
    assert_eq!(place.sweep_out().await, 2, "they go by the moment");
    place.exact(2, 0).await;
}

#[tokio::test]
async fn a_part_is_dropped_when_its_day_is_over_and_its_jobs_are_counted_as_removed() {
    let (place, first) = Place::with_part().await;
    let (second, lease) = place.bench.start(month().id("named")).await;
    let news = vec![News { number: 1, checkpoint: Some("half".into()), ..News::default() }];
    let (verdict, ran) = (Verdict::Complete, SECOND);
    place.bench.finish_with(Finish { lease, verdict, error: None, result: None, then: vec![], ran, news }).await;
    let third = place.complete(month().tenant("acme")).await;
    assert_eq!(place.apart().await, 2);
    place.exact(3, 3).await;
    let page = place.bench.store.list(&Default::default(), None, 10).await.unwrap();
    let listed: Vec<_> = page.items.iter().map(|job| job.id().clone()).collect();
    assert_eq!(listed, [first, second.clone(), third.clone()]);
    assert_eq!(place.bench.record(&second).await.checkpoint.as_deref(), Some(&b"half"[..]));

    place.bench.clock.advance(MONTH - SECOND);
    assert_eq!(place.sweep_out().await, 0);
    place.bench.clock.advance(2 * SECOND);
    assert_eq!(place.sweep_out().await, 1, "part 0 goes by the moment");
    place.exact(3, 2).await;
    place.bench.clock.advance(DAY);
    assert_eq!(place.sweep_out().await, 2);
    place.exact(3, 0).await;
    assert!(place.bench.get(&third).await.is_none());
    place.bench.clock.advance(DAY);
    assert_eq!(place.sweep_out().await, 0);
    assert_eq!(place.tables().await, 1, "the empty part of the next day went as well");
    for beside in ["kept", "report", "checkpoint", "day"] {
        assert_eq!(place.ask(&format!("SELECT count(*) FROM windlass.{beside}")).await, 0, "{beside}");
    }
}

#[tokio::test]
async fn parts_are_made_a_day_ahead_and_only_for_retentions_that_are_in_use() {
    let (place, _) = Place::with_part().await;
    place.complete(JobOptions::new().retention(47 * HOUR)).await;
    place.complete(JobOptions::new().retention(500 * DAY)).await;
    assert_eq!(place.apart().await, 0, "shorter than two days, and further away than parts are made");
    for days in 1..=5 {
        place.bench.clock.advance(DAY);
        place.complete(month()).await;
        assert_eq!(place.apart().await, days, "its part was there");
        place.sweep().await;
        place.sweep().await;
    }
    let parts = place.parts().await;
    assert!(parts.windows(2).all(|pair| pair[0] + 1 == pair[1]) && parts.len() == 7, "{parts:?}");
    for _ in 0..3 {
        place.bench.clock.advance(DAY);
        place.sweep().await;
    }
    assert_eq!(place.parts().await, parts, "nobody needs more");
}

#[tokio::test]
async fn two_who_make_the_same_part_make_it_once_and_wait_for_nobody() {
    let place = Place::new().await;
    place.complete(month()).await;
    let now = place.bench.env.wall().as_micros();
    let make = format!("SELECT {}.make_days($1)", place.schema);
    let (mut other, _) = application(&place.url).await;
    let tx = other.transaction().await.unwrap();
    let made: i32 = tx.query_one(&make, &[&now]).await.unwrap().get(0);
    assert_eq!(made, 2);
    // Beside it: another sweep, an end, and a look.
    assert_eq!(place.app.query_one(&make, &[&now]).await.unwrap().get::<_, i32>(0), 0);
    place.complete(month()).await;
    place.exact(2, 2).await;
    tx.commit().await.unwrap();
    assert!(place.parts().await.is_empty(), "nobody uses it before a later sweep");
    assert_eq!(place.app.query_one(&make, &[&now]).await.unwrap().get::<_, i32>(0), 0);
    place.complete(month()).await;
    assert_eq!((place.parts().await.len(), place.apart().await), (2, 1));
}

#[tokio::test]
async fn a_transaction_that_was_open_while_parts_came_and_went_goes_on() {
    let place = Place::new().await;
    place.complete(month()).await;
    let (mut other, schema) = application(&place.url).await;
    let tx = other.transaction().await.unwrap();
    let look = format!("SELECT count(*) FROM {schema}.job");
    tx.query_one(&look, &[]).await.unwrap();
    place.sweep().await;
    place.sweep().await;
    let lease = place.bench.start(month()).await.1;
    place.complete_in(&tx, lease).await;
    assert_eq!(place.apart().await, 0, "not before it commits");
    tx.commit().await.unwrap();
    assert_eq!(place.apart().await, 1);
    place.exact(2, 2).await;
}

#[tokio::test]
async fn enqueues_and_ends_look_into_no_part_but_the_one_that_a_job_goes_to() {
    let (place, _) = Place::with_part().await;
    let lease = place.bench.start(month().id("named")).await.1;
    let (mut other, schema) = application(&place.url).await;
    let tx = other.transaction().await.unwrap();
    let looked_into = async || -> i64 {
        let locked = "SELECT count(DISTINCT relation) FROM pg_locks JOIN pg_class ON pg_class.oid = relation \
                      WHERE pid = pg_backend_pid() AND relkind = 'r' AND relname LIKE 'history\\_%'";
        tx.query_one(locked, &[]).await.unwrap().get(0)
    };
    place.complete_in(&tx, lease).await;
    for options in ["{}", "{\"id\": \"order 1\"}"] {
        tx.query_one(&format!("SELECT {schema}.enqueue('work', '{{}}', '{options}')"), &[]).await.unwrap();
    }
    assert_eq!(looked_into().await, 1);
    tx.query(&format!("SELECT * FROM {schema}.read_job(NULL, NULL, NULL, NULL, 'unknown')"), &[]).await.unwrap();
    assert_eq!(looked_into().await, 3, "the control");
}

#[tokio::test]
async fn a_reader_that_holds_the_table_puts_a_drop_off_and_keeps_nobody_from_work() {
    let (place, _) = Place::with_part().await;
    place.complete(month()).await;
    place.bench.clock.advance(MONTH + DAY);
    let (mut reader, schema) = application(&place.url).await;
    let tx = reader.transaction().await.unwrap();
    tx.query_one(&format!("SELECT count(*) FROM {schema}.history"), &[]).await.unwrap();
    assert_eq!(place.sweep_out().await, 1, "of part 0 alone");
    let beside = place.complete(JobOptions::new().retention(HOUR)).await;
    assert_eq!(place.bench.state(&beside).await, JobState::Completed);
    assert_eq!(place.sweep().await, Pruned { removed: 0, more: false }, "it is not tried again at once");
    place.exact(3, 2).await;
    tx.commit().await.unwrap();
    assert_eq!(place.sweep_out().await, 0);
    place.bench.clock.advance(MINUTE + SECOND);
    assert_eq!(place.sweep_out().await, 1, "the control: a minute later nobody reads");
    place.exact(3, 1).await;
}

#[tokio::test]
async fn a_removal_that_dies_half_way_goes_on_where_it_stood() {
    let (place, _) = Place::with_part().await;
    for number in 0..7 {
        place.complete(month().id(format!("named {number}"))).await;
    }
    place.bench.clock.advance(MONTH + DAY);
    let now = place.bench.env.wall().as_micros();
    let step = format!("SELECT removed, more FROM {}.drop_days($1, 2)", place.schema);
    let mut steps = Vec::new();
    // Every step dies once at its end, and is done the second time.
    for _ in 0..7 {
        let (mut dying, _) = application(&place.url).await;
        let tx = dying.transaction().await.unwrap();
        let died: i32 = tx.query_one(&step, &[&now]).await.unwrap().get(0);
        tx.rollback().await.unwrap();
        let done: i32 = place.app.query_one(&step, &[&now]).await.unwrap().get(0);
        assert_eq!(died, done);
        steps.push(done);
    }
    assert_eq!(steps, [0, 2, 2, 2, 1, 0, 0], "taken out, counted, dropped; the next day's is another sweep's");
    assert_eq!(place.bench.census().await.removed, 7);
    assert_eq!(place.ask("SELECT count(*) FROM windlass.kept").await, 0);
    assert_eq!(place.sweep_out().await, 1);
    place.exact(8, 0).await;
}

#[tokio::test]
async fn a_callers_id_is_taken_in_any_part_and_free_once_it_is_taken_out() {
    let (place, _) = Place::with_part().await;
    let uuid = "0192f0c1-2f3a-7abc-8def-0123456789ab";
    for name in ["order 42", uuid] {
        let options = || month().id(name);
        let id = place.complete(options()).await;
        let again = async || place.bench.enqueue(vec![place.bench.job(options())]).await;
        assert_eq!(again().await, [Enqueued::Duplicate(id.clone(), Some(JobState::Completed))]);
        let keyed = place.bench.job(options().unique(UniqueBy::idempotency(name, HOUR)));
        assert_eq!(place.bench.enqueue(vec![keyed]).await, [Enqueued::Duplicate(id, Some(JobState::Completed))]);
    }
    assert_eq!(place.apart().await, 2);
    place.bench.clock.advance(MONTH + DAY);
    let now = place.bench.env.wall().as_micros();
    let take_out = format!("SELECT removed FROM {}.drop_days($1, 100)", place.schema);
    place.app.query_one(&take_out, &[&now]).await.unwrap();
    assert_eq!(place.apart().await, 0);
    for name in ["order 42", uuid] {
        assert!(place.bench.get(&name.parse().unwrap()).await.is_none());
        let new = place.complete(JobOptions::new().id(name).retention(HOUR)).await;
        assert_eq!(new.to_string(), name);
    }
    // What goes now is not the new job's.
    place.sweep_out().await;
    let again = place.bench.enqueue(vec![place.bench.job(JobOptions::new().id("order 42"))]).await;
    assert!(matches!(&again[..], [Enqueued::Duplicate(_, Some(JobState::Completed))]), "{again:?}");
}

/// The fact of the conformance suite, with the guard taken out: whoever says that an id is new is believed.
#[tokio::test]
async fn an_id_that_is_said_to_be_new_is_not_looked_for_among_those_that_have_ended() {
    let place = Place::new().await;
    let job = place.bench.job(JobOptions::new().retention(HOUR));
    place.bench.enqueue(vec![job.clone()]).await;
    place.bench.finish(place.bench.claim_one().await.lease(), Verdict::Complete).await;
    let mut said_new = job.clone();
    said_new.fresh = true;
    assert!(matches!(place.bench.enqueue(vec![job]).await[..], [Enqueued::Duplicate(..)]));
    assert!(matches!(place.bench.enqueue(vec![said_new]).await[..], [Enqueued::New(_)]));
}

#[tokio::test]
async fn operators_reach_a_job_in_any_part() {
    let place = Place::new().await;
    let bury = Verdict::Bury(DeadReason::Buried);
    place.bench.run(JobOptions::new(), bury.clone()).await;
    place.sweep().await;
    place.sweep().await;
    let named = place.bench.run(JobOptions::new().id("named"), bury.clone()).await;
    let (edited, deleted) =
        (place.bench.run(JobOptions::new(), bury.clone()).await, place.bench.run(JobOptions::new(), bury).await);
    assert_eq!(place.apart().await, 3);
    let edit = Action::Edit { payload: "{\"new\":1}".into() };
    assert_eq!(place.bench.operate(&edited, edit).await, Operated::Done(JobState::Dead));
    assert_eq!(&place.bench.record(&edited).await.spec.payload[..], b"{\"new\":1}");
    assert_eq!(place.bench.operate(&deleted, Action::Delete).await, Operated::Removed);
    assert!(place.bench.get(&deleted).await.is_none());
    assert_eq!(place.bench.operate(&named, Action::Redrive).await, Operated::Done(JobState::Pending));
    assert_eq!(place.ask("SELECT count(*) FROM windlass.kept").await, 0);
    place.bench.clock.advance(HOUR);
    let older = Prune::Older { than: MINUTE, states: vec![JobState::Dead] };
    let pruned = place.bench.store.prune(&older, 100).await.unwrap();
    assert_eq!(pruned, Pruned { removed: 2, more: false }, "of part 0, and of a day's");
    let census = place.bench.census().await;
    assert_eq!((census.enqueued, census.removed), (4, 3));
}

/// Who works may have no right to make or drop tables.
#[tokio::test]
async fn sweeps_of_a_user_who_owns_nothing_make_and_drop_parts() {
    let (place, _) = Place::with_part().await;
    place.complete(month()).await;
    let (schema, user) = (&place.schema, format!("user_of_{}", place.schema));
    let grants = format!(
        "CREATE ROLE {user} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {user}; \
         GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {user}; GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO {user}"
    );
    place.app.batch_execute(&grants).await.unwrap();
    let (own, _) = application(&place.url).await;
    own.batch_execute(&format!("SET ROLE {user}")).await.unwrap();
    assert!(own.batch_execute(&format!("CREATE TABLE {schema}.t (i int)")).await.is_err(), "the control");
    for call in ["make_days(9000000000000000000)", "drop_days(9000000000000000000, 1000)"] {
        let refused = own.batch_execute(&format!("SELECT {schema}.{call}")).await.unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "nobody who was not told that he may");
    }
    let grant =
        format!("GRANT EXECUTE ON FUNCTION {schema}.make_days(bigint), {schema}.drop_days(bigint, integer) TO {user}");
    place.app.batch_execute(&grant).await.unwrap();
    place.bench.clock.advance(DAY);
    place.complete(month()).await;
    let later = place.bench.env.wall().after(MONTH + DAY).as_micros();
    let call = async |function: &str, at: i64| -> i32 {
        own.query_one(&format!("SELECT {function}::integer"), &[&at]).await.unwrap().get(0)
    };
    let now = place.bench.env.wall().as_micros();
    assert_eq!(call(&format!("{schema}.make_days($1)"), now).await, 1);
    let drop = format!("(SELECT removed FROM {schema}.drop_days($1, 100))");
    let mut removed = 0;
    for _ in 0..6 {
        removed += call(&drop, later).await;
    }
    assert_eq!(removed, 2);
    place.app.batch_execute(&format!("DROP OWNED BY {user}; DROP ROLE {user}")).await.unwrap();
}
