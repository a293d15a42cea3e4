//! The health of the tables, for `doctor`: dead rows and who keeps them from being removed, indexes, connections, and whether
//! the counters are true. Reads, and decides by plain functions of what it read.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::{Shared, link::sql, migrate, ops::read::count, rows};
use crate::{
    job::State,
    store::{Check, Result},
};

/// So many dead rows, beside half as many as live, are worth a word: claims and sweeps walk over them.
const DEAD_ROWS: u64 = 10_000;
/// Who keeps dead rows for longer than this slows claims down.
const LONG: Duration = Duration::from_secs(60);
/// The same for holders that only a number of transactions is told of.
const MANY_TRANSACTIONS: u64 = 100_000;
/// An index is larger than it should be above this size, at so many bytes a row.
const INDEX_LARGE: u64 = 64 << 20;
const INDEX_BYTES: u64 = 400;
/// An index of somebody else that nobody uses is worth a word above this size.
const INDEX_IDLE: u64 = 1 << 20;
/// So many rows of the ledger are more than anybody leaves there who adds it up.
const LEDGER_LONG: u64 = 100_000;
/// As many jobs are counted one by one.
const COUNTED: i64 = 1_000_000;

pub(super) async fn look(store: &Shared) -> Result<Vec<Check>> {
    let link = &store.link;
    let server = link.row(sql!("health"), &[]).await?;
    let number = |name| rows::get(&server, name).map(count);
    let version = rows::get::<i64>(&server, "schema_version")?;
    let mut tables = Vec::new();
    for row in link.rows(sql!("health_tables"), &[]).await? {
        tables.push(Table {
            name: rows::get(&row, "name")?,
            live: count(rows::get(&row, "live")?),
            dead: count(rows::get(&row, "dead")?),
            vacuumed: rows::get::<Option<i64>>(&row, "vacuumed_us")?.map(span),
            switched_off: rows::get(&row, "switched_off")?,
        });
    }
    let mut holders = Vec::new();
    for row in link.rows(sql!("health_horizon"), &[]).await? {
        holders.push(Holder {
            kind: rows::get(&row, "kind")?,
            name: rows::get(&row, "name")?,
            what: rows::get(&row, "what")?,
            age: rows::get::<Option<i64>>(&row, "age_us")?.map(span),
            behind: rows::get::<Option<i64>>(&row, "behind")?.map_or(0, count),
        });
    }
    let mut indexes = Vec::new();
    for row in link.rows(sql!("health_indexes"), &[]).await? {
        indexes.push(Index {
            name: rows::get(&row, "name")?,
            valid: rows::get(&row, "valid")?,
            bytes: count(rows::get(&row, "bytes")?),
            rows: count(rows::get(&row, "rows")?),
            table: rows::get(&row, "of_table")?,
            scans: count(rows::get(&row, "scans")?),
            apart: rows::get(&row, "apart")?,
        });
    }
    let mut counts = Vec::new();
    for row in link.rows(sql!("health_counts"), &[(&COUNTED, Type::INT8)]).await? {
        let code: i32 = rows::get(&row, "state")?;
        let state = State::ALL.iter().find(|state| i32::from(state.code()) == code);
        counts.push((state.copied(), rows::get(&row, "counted")?, rows::get(&row, "there")?));
    }
    let schema = &store.address.schema;
    // A newer program may have other indexes.
    let wanted = if version == migrate::VERSION { migrate::indexes(schema) } else { Vec::new() };
    Ok(vec![
        tables_version(schema, version),
        connections(number("used")?, number("connections")?, store.address.pool as u64 + 1),
        autovacuum(rows::get(&server, "autovacuum")?, &tables),
        vacuum(schema, &tables),
        horizon(&holders, rows::get(&server, "sees_all")?),
        self::indexes(schema, &indexes, &wanted),
        fold(number("unfolded")?),
        counters(&counts),
    ])
}

/// A table that is written all the time.
struct Table {
    name: String,
    live: u64,
    dead: u64,
    /// How long ago dead rows were last removed; none: never.
    vacuumed: Option<Duration>,
    switched_off: bool,
}

/// Who keeps dead rows from being removed.
struct Holder {
    kind: String,
    name: String,
    what: String,
    age: Option<Duration>,
    /// How many transactions have begun since.
    behind: u64,
}

impl Holder {
    /// Whether it is longer than is good. Of a slot only the transactions are known.
    fn is_long(&self) -> bool {
        self.age.map_or(self.behind >= MANY_TRANSACTIONS, |age| age >= LONG)
    }
}

struct Index {
    name: String,
    table: String,
    valid: bool,
    bytes: u64,
    rows: u64,
    scans: u64,
    apart: bool,
}

fn span(micros: i64) -> Duration {
    Duration::from_micros(count(micros))
}

/// For people: seconds are enough.
fn shown(span: Duration) -> String {
    humantime::format_duration(Duration::from_secs(span.as_secs())).to_string()
}

fn tables_version(schema: &str, version: i64) -> Check {
    let found = format!("`{schema}`, version {version}");
    if version == migrate::VERSION {
        return Check::ok("schema", found);
    }
    Check::warn(
        "schema",
        format!("{found}; this program knows {}", migrate::VERSION),
        "a newer program shares the store, which is fine during an upgrade; upgrade this one, too",
    )
}

fn connections(used: u64, all: u64, ours: u64) -> Check {
    let found = format!("{used} of {all} are in use; a process of ours takes up to {ours}");
    if used + ours > all || used * 10 > all * 9 {
        return Check::warn(
            "connections",
            found,
            "raise max_connections, lower pool= in the URLs, or put a pooler of transactions in between (then with \
             notify=off)",
        );
    }
    Check::ok("connections", found)
}

fn autovacuum(on: bool, tables: &[Table]) -> Check {
    let off: Vec<&str> = tables.iter().filter(|table| table.switched_off).map(|table| &*table.name).collect();
    if on && off.is_empty() {
        return Check::ok("autovacuum", "on");
    }
    let found = if on { format!("off for {}", off.join(", ")) } else { "autovacuum or track_counts is off".into() };
    Check::warn(
        "autovacuum",
        found,
        "set autovacuum = on and track_counts = on, and do not switch it off for our tables: nobody else removes dead rows, \
         and claims walk over them",
    )
}

fn vacuum(schema: &str, tables: &[Table]) -> Check {
    let behind: Vec<&Table> = tables.iter().filter(|table| table.dead > DEAD_ROWS + table.live / 2).collect();
    let Some(worst) = behind.iter().max_by_key(|table| table.dead) else {
        let dead: u64 = tables.iter().map(|table| table.dead).sum();
        return Check::ok("vacuum", format!("{dead} dead rows in all tables"));
    };
    let said = |table: &&Table| {
        let last = table.vacuumed.map_or("never vacuumed".into(), |ago| format!("vacuumed {} ago", shown(ago)));
        format!("{}: {} dead rows beside {} live, {last}", table.name, table.dead, table.live)
    };
    let advice = format!(
        "if `horizon` names somebody, end that first; then VACUUM {schema}.{}, and for bursts like this lower \
         autovacuum_naptime: claims and sweeps walk over dead rows",
        worst.name
    );
    Check::warn("vacuum", behind.iter().map(said).collect::<Vec<_>>().join("; "), advice)
}

fn horizon(holders: &[Holder], sees_all: bool) -> Check {
    // A short one that is farther back must not hide one that will not end by itself.
    let Some(holder) = holders.iter().find(|holder| holder.is_long()).or(holders.first()) else {
        let nobody = "nobody whom this user may see keeps dead rows (pg_read_all_stats lets it see all)";
        return Check::ok("horizon", if sees_all { "nobody keeps dead rows" } else { nobody });
    };
    let Holder { kind, name, what, age, behind } = holder;
    let since = age.map_or_else(|| format!("for {behind} transactions"), |age| format!("for {}", shown(age)));
    let (who, advice) = match &**kind {
        "prepared" => (
            format!("the prepared transaction '{name}' ({what})"),
            format!("end it: COMMIT PREPARED '{name}' or ROLLBACK PREPARED '{name}'; dead rows stay until then"),
        ),
        "slot" => (
            format!("the replication slot {name} ({what})"),
            format!(
                "let the copy catch up, turn hot_standby_feedback off there, or SELECT pg_drop_replication_slot('{name}') if \
                 it is gone"
            ),
        ),
        _ => (
            format!("process {name} ({what})"),
            format!(
                "look at it: SELECT * FROM pg_stat_activity WHERE pid = {name}; end it: SELECT \
                 pg_terminate_backend({name}); let reports read a copy, and set idle_in_transaction_session_timeout"
            ),
        ),
    };
    let found = format!("{who} keeps dead rows {since}");
    if holder.is_long() {
        return Check::warn("horizon", found, advice);
    }
    Check::ok("horizon", found)
}

fn indexes(schema: &str, there: &[Index], wanted: &[(String, String)]) -> Check {
    const NAME: &str = "indexes";
    let is_there = |name: &str| there.iter().any(|index| index.name == name);
    let missing: Vec<_> = wanted.iter().filter(|(name, _)| !is_there(name)).collect();
    if let [(first, statement), ..] = missing[..] {
        let names: Vec<&str> = missing.iter().map(|(name, _)| &**name).collect();
        let advice = format!("calls walk whole tables, or let doubles in: make {first} again, by {statement};");
        return Check::fail(NAME, format!("missing: {}", names.join(", ")), advice);
    }
    if let Some(broken) = there.iter().find(|index| !index.valid) {
        let advice = format!("nobody uses it: REINDEX INDEX CONCURRENTLY {schema}.{}", broken.name);
        return Check::fail(NAME, format!("{} is not valid", broken.name), advice);
    }
    let large = |index: &&Index| index.bytes > INDEX_LARGE && index.bytes > index.rows.saturating_mul(INDEX_BYTES);
    if let Some(large) = there.iter().filter(large).max_by_key(|index| index.bytes) {
        let found = format!("{} takes {} MiB for {} rows", large.name, large.bytes >> 20, large.rows);
        let advice =
            format!("it has stayed as large as it once was: REINDEX INDEX CONCURRENTLY {schema}.{}", large.name);
        return Check::warn(NAME, found, advice);
    }
    // Who has just made one has not used it yet.
    let idle = |index: &&Index| index.apart && index.scans == 0 && index.bytes > INDEX_IDLE;
    let ours = |index: &&Index| wanted.iter().any(|(name, _)| *name == index.name);
    if let Some(idle) = there.iter().filter(idle).find(|index| !wanted.is_empty() && !ours(index)) {
        let found = format!("{} on {} is not of windlass, and nobody has used it", idle.name, idle.table);
        let advice =
            format!("each job that comes or moves pays for it: DROP INDEX CONCURRENTLY {schema}.{}", idle.name);
        return Check::warn(NAME, found, advice);
    }
    Check::ok(NAME, format!("{} indexes are there and whole", there.len()))
}

fn fold(unfolded: u64) -> Check {
    let found = format!("{unfolded} rows of the ledger are not added up");
    if unfolded < LEDGER_LONG {
        return Check::ok("fold", found);
    }
    Check::warn(
        "fold",
        found,
        "counts and statistics are true and slow: start a server, which adds it up each second; if one runs, its log says \
         what stands in its way",
    )
}

/// What the counters say and what is there, by state.
fn counters(counts: &[(Option<State>, i64, Option<i64>)]) -> Check {
    let named = |(state, counted, there): &(Option<State>, i64, Option<i64>)| {
        let state = state.map_or("unknown", State::as_str);
        there.filter(|there| there != counted).map(|there| format!("{counted} {state} by the counters, {there} there"))
    };
    let wrong: Vec<String> = counts.iter().filter_map(named).collect();
    if !wrong.is_empty() {
        return Check::fail(
            "counters",
            wrong.join("; "),
            "somebody has changed tables of ours past windlass: use its commands and functions instead, and restore a backup \
             if jobs are gone",
        );
    }
    if counts.iter().any(|(.., there)| there.is_none()) {
        return Check::ok(
            "counters",
            "not compared: there are more than a million jobs, or a day of history is being removed",
        );
    }
    let all: i64 = counts.iter().map(|(_, counted, _)| counted).sum();
    Check::ok("counters", format!("{all} jobs by the counters, and as many are there"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Level;

    fn table(live: u64, dead: u64) -> Table {
        Table { name: "job".into(), live, dead, vacuumed: Some(Duration::from_secs(90)), switched_off: false }
    }

    fn holder(kind: &str, age: Option<Duration>, behind: u64) -> Holder {
        Holder { kind: kind.into(), name: "42".into(), what: "report, user ann".into(), age, behind }
    }

    /// A warning or worse says what to do, and what it is about.
    #[track_caller]
    fn advised(check: &Check, level: Level, found: &str, advice: &str) {
        assert_eq!(check.level, level, "{check:?}");
        assert!(check.found.contains(found), "{check:?}");
        assert!(check.advice.as_ref().is_some_and(|said| said.contains(advice)), "{check:?}");
    }

    #[test]
    fn dead_rows_are_worth_a_word_once_they_are_many_beside_the_living() {
        for fine in [table(0, DEAD_ROWS), table(1_000_000, 400_000)] {
            assert_eq!(vacuum("windlass", &[fine]).level, Level::Ok);
        }
        let found = "job: 700000 dead rows beside 1000000 live, vacuumed 1m 30s ago";
        advised(&vacuum("own", &[table(1_000_000, 700_000)]), Level::Warn, found, "VACUUM own.job");
    }

    #[test]
    fn whoever_keeps_dead_rows_for_a_minute_is_named_with_how_to_end_it() {
        let horizon = |holders: &[Holder]| super::horizon(holders, true);
        assert_eq!(horizon(&[]).level, Level::Ok);
        assert!(super::horizon(&[], false).found.contains("whom this user may see"));
        assert_eq!(horizon(&[holder("session", Some(LONG / 2), 9)]).level, Level::Ok);
        let session = horizon(&[holder("session", Some(LONG), 9)]);
        advised(
            &session,
            Level::Warn,
            "process 42 (report, user ann) keeps dead rows for 1m",
            "pg_terminate_backend(42)",
        );
        advised(&horizon(&[holder("prepared", Some(LONG), 9)]), Level::Warn, "'42'", "ROLLBACK PREPARED '42'");
        let slot = horizon(&[holder("slot", None, MANY_TRANSACTIONS)]);
        advised(&slot, Level::Warn, "for 100000 transactions", "pg_drop_replication_slot('42')");
        assert_eq!(horizon(&[holder("slot", None, 10)]).level, Level::Ok);
    }

    #[test]
    fn a_query_that_runs_does_not_hide_who_keeps_dead_rows_for_good() {
        let (query, slot) = (|| holder("session", Some(LONG / 2), 9), || holder("slot", None, 10_000_000));
        for holders in [[query(), slot()], [slot(), query()]] {
            advised(
                &horizon(&holders, true),
                Level::Warn,
                "for 10000000 transactions",
                "pg_drop_replication_slot('42')",
            );
        }
        let both = [query(), holder("slot", None, 10)];
        let found = horizon(&both, true);
        assert!(found.level == Level::Ok && found.found.contains("process 42"), "{found:?}");
    }

    fn index(name: &str) -> Index {
        let (name, table) = (name.into(), "job".into());
        Index { name, table, valid: true, bytes: 2 * INDEX_IDLE, rows: 1000, scans: 0, apart: true }
    }

    #[test]
    fn an_index_that_somebody_added_and_nobody_uses_is_told() {
        let wanted = [("job_due".to_owned(), "CREATE INDEX job_due ON own.job (x)".to_owned())];
        let check = |added: Index| indexes("own", &[index("job_due"), added], &wanted);
        advised(&check(index("mine")), Level::Warn, "mine on job", "DROP INDEX CONCURRENTLY own.mine");
        for fine in [
            Index { scans: 1, ..index("mine") },
            Index { bytes: INDEX_IDLE, ..index("mine") },
            Index { apart: false, ..index("job_pkey") },
        ] {
            assert_eq!(check(fine).level, Level::Ok);
        }
    }

    #[test]
    fn indexes_that_are_missing_broken_or_far_too_large_are_named_with_what_makes_them() {
        let index = |valid, bytes| Index { valid, bytes, ..index("job_due") };
        let wanted = |name: &str| [(name.to_owned(), format!("CREATE INDEX {name} ON own.job (x)"))];
        assert_eq!(indexes("own", &[index(true, 1 << 20)], &wanted("job_due")).level, Level::Ok);
        let missing = indexes("own", &[index(true, 1 << 20)], &wanted("job_id"));
        advised(&missing, Level::Fail, "missing: job_id", "CREATE INDEX job_id ON own.job (x);");
        let broken = indexes("own", &[index(false, 1)], &[]);
        advised(&broken, Level::Fail, "job_due is not valid", "REINDEX INDEX CONCURRENTLY own.job_due");
        let large = indexes("own", &[index(true, INDEX_LARGE + 1)], &[]);
        advised(&large, Level::Warn, "64 MiB for 1000 rows", "REINDEX INDEX CONCURRENTLY own.job_due");
    }

    #[test]
    fn a_server_with_no_connections_left_and_one_that_never_cleans_warn() {
        assert_eq!(connections(12, 97, 6).level, Level::Ok);
        advised(&connections(92, 97, 6), Level::Warn, "92 of 97", "pool=");
        assert_eq!(autovacuum(true, &[table(0, 0)]).level, Level::Ok);
        advised(&autovacuum(false, &[]), Level::Warn, "off", "autovacuum = on");
        let off = Table { switched_off: true, ..table(0, 0) };
        advised(&autovacuum(true, &[off]), Level::Warn, "off for job", "autovacuum");
    }

    #[test]
    fn a_ledger_that_nobody_adds_up_and_counters_that_are_wrong_are_found() {
        assert_eq!(fold(LEDGER_LONG - 1).level, Level::Ok);
        advised(&fold(LEDGER_LONG), Level::Warn, "100000 rows", "start a server");
        let counts = |there| [(Some(State::Pending), 5, there), (Some(State::Dead), 0, Some(0))];
        assert_eq!(counters(&counts(Some(5))).found, "5 jobs by the counters, and as many are there");
        advised(&counters(&counts(Some(4))), Level::Fail, "5 pending by the counters, 4 there", "past windlass");
        assert!(counters(&[(Some(State::Pending), COUNTED + 1, None)]).found.starts_with("not compared"));
    }

    #[test]
    fn a_newer_schema_warns() {
        assert_eq!(tables_version("own", migrate::VERSION).level, Level::Ok);
        advised(&tables_version("own", migrate::VERSION + 1), Level::Warn, "this program knows", "upgrade");
    }
}
