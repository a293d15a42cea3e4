//! What a look at a schedule comes to, and the record that it leaves: exact counts for each pair of policies.

use std::{collections::HashSet, time::Duration};

use super::{
    super::{
        due::{CatchUp, MissReason},
        overlap::Overlap,
        plan::{Agenda, Plan},
        record::{SCHEDULE_HEADER, ScheduleDefinition, ScheduleOrigin, ScheduleRecord, TICK_HEADER},
        template::JobTemplate,
    },
    *,
};
use crate::job::{JobId, JobOptions, Kind, Start, UniqueBy};

const MARK: &str = "2026-03-01T00:00:00Z";
/// Five ticks later.
const NOW: &str = "2026-03-01T05:30:00Z";

fn template(payload: &'static [u8], options: JobOptions) -> JobTemplate {
    let kind = Kind::new("report").unwrap();
    let job = options.id("x").resolve(&kind, payload.into(), || unreachable!("it has an id"), usize::MAX).unwrap();
    JobTemplate::of(&job.spec)
}

fn hourly(catch_up: CatchUp, overlap: Overlap) -> ScheduleRecord {
    let spec = ScheduleSpec::parse("@hourly").unwrap();
    let definition =
        ScheduleDefinition { catch_up, overlap, ..ScheduleDefinition::new(&spec, template(b"{}", JobOptions::new())) };
    ScheduleRecord::new("hourly".into(), definition, ScheduleOrigin::Code, at(MARK))
}

fn look(record: &ScheduleRecord, now: &str, ended: &[&str], most: usize) -> Plan {
    let ended: HashSet<JobId> = ended.iter().map(|id| id.parse().unwrap()).collect();
    Plan::decide(record, agenda(record, now, most), &ended, at(now)).unwrap()
}

fn agenda(record: &ScheduleRecord, now: &str, most: usize) -> Agenda {
    Agenda::new(record, &record.rule().unwrap(), at(now), most)
}

/// The hours whose jobs come in.
fn started(plan: &Plan) -> Vec<String> {
    plan.jobs.iter().map(|job| job.spec.headers[TICK_HEADER][11..13].to_owned()).collect()
}

fn missed(record: &ScheduleRecord) -> Vec<(MissReason, u64)> {
    record.missed.iter().map(|(reason, count)| (*reason, *count)).collect()
}

#[test]
fn after_a_downtime_of_five_ticks_each_pair_of_policies_has_its_exact_numbers() {
    use MissReason::{Late, OverLimit, Overlap as Met, Superseded};
    let of = |catch_up, overlap| {
        let plan = look(&hourly(catch_up, overlap), NOW, &[], 500);
        (started(&plan).join(" "), plan.record.buffered.is_some(), missed(&plan.record))
    };
    let cases = [
        (Overlap::Allow, "03 04 05", false, vec![(OverLimit, 2)]),
        (Overlap::Skip, "03", false, vec![(OverLimit, 2), (Met, 2)]),
        (Overlap::BufferOne, "03", true, vec![(OverLimit, 2), (Met, 1)]),
        (Overlap::CancelRunning, "05", false, vec![(OverLimit, 2), (Met, 2)]),
    ];
    for (overlap, hours, buffered, missed) in cases {
        assert_eq!(of(CatchUp::All(3), overlap), (hours.to_owned(), buffered, missed), "{overlap:?}");
        assert_eq!(of(CatchUp::One, overlap), ("05".to_owned(), false, vec![(Superseded, 4)]), "{overlap:?}");
        assert_eq!(of(CatchUp::Skip, overlap), (String::new(), false, vec![(Late, 5)]), "{overlap:?}");
    }
}

#[test]
fn each_tick_is_either_started_or_missed_or_waits_and_the_mark_moves_past_it() {
    for overlap in [Overlap::Allow, Overlap::Skip, Overlap::BufferOne, Overlap::CancelRunning] {
        let record = look(&hourly(CatchUp::All(3), overlap), NOW, &[], 500).record;
        let missed: u64 = record.missed.values().sum();
        assert_eq!(record.enqueued + missed + u64::from(record.buffered.is_some()), 5, "{overlap:?}");
        assert_eq!(record.mark, at("2026-03-01T05:00:00Z"));
        assert!(agenda(&record, NOW, 500).is_idle() || record.buffered.is_some());
    }
}

#[test]
fn a_tick_that_waits_starts_once_nothing_runs() {
    let waiting = look(&hourly(CatchUp::All(2), Overlap::BufferOne), NOW, &[], 500).record;
    let running = "hourly/1/2026-03-01T04:00:00.000000Z";
    let asked = agenda(&waiting, NOW, 500);
    assert_eq!((asked.is_idle(), asked.ask.len(), asked.ask[0].to_string().as_str()), (false, 1, running));
    assert!(look(&waiting, NOW, &[], 500).jobs.is_empty());
    let plan = look(&waiting, NOW, &[running], 500);
    assert_eq!((started(&plan), plan.record.buffered), (vec!["05".to_owned()], None));
    assert_eq!(plan.record.unended.len(), 1);
    let paused = ScheduleRecord { paused: true, ..waiting };
    assert!(look(&paused, NOW, &[running], 500).jobs.is_empty(), "not while it is paused");
}

#[test]
fn a_tick_in_place_of_a_running_job_asks_for_it_to_be_cancelled_until_it_has_ended() {
    let first = look(&hourly(CatchUp::One, Overlap::CancelRunning), NOW, &[], 500).record;
    let plan = look(&first, "2026-03-01T06:00:00Z", &[], 500);
    let old = "hourly/1/2026-03-01T05:00:00.000000Z";
    assert_eq!(plan.cancel().map(JobId::to_string).collect::<Vec<_>>(), [old]);
    let later = agenda(&plan.record, "2026-03-01T06:10:00Z", 500);
    assert_eq!((later.is_idle(), later.ask.len()), (false, 1));
    let plan = look(&plan.record, "2026-03-01T06:10:00Z", &[old], 500);
    assert_eq!((plan.cancel().count(), plan.record.unended.len(), plan.jobs.len()), (0, 1, 0));
}

#[test]
fn a_tick_that_finds_the_earlier_job_ended_starts() {
    let first = look(&hourly(CatchUp::One, Overlap::Skip), NOW, &[], 500).record;
    let next = "2026-03-01T06:00:00Z";
    assert_eq!(missed(&look(&first, next, &[], 500).record), [(MissReason::Superseded, 4), (MissReason::Overlap, 1)]);
    assert_eq!(started(&look(&first, next, &["hourly/1/2026-03-01T05:00:00.000000Z"], 500)), ["06"]);
}

#[test]
fn what_one_step_cannot_start_the_next_ones_do_and_nothing_is_counted_twice() {
    for overlap in [Overlap::Allow, Overlap::BufferOne] {
        let mut record = hourly(CatchUp::All(4), overlap);
        record.buffered = Some(at("2026-02-28T23:00:00Z"));
        let (mut hours, mut steps) = (Vec::new(), 0);
        loop {
            let plan = look(&record, NOW, &[], 1);
            hours.extend(started(&plan));
            (record, steps) = (plan.record, steps + 1);
            record.unended.clear();
            if !plan.more {
                break;
            }
            assert!(steps < 10);
        }
        assert_eq!(hours, ["23", "02", "03", "04", "05"], "{overlap:?}");
        assert_eq!(missed(&record), [(MissReason::OverLimit, 1)]);
    }
}

#[test]
fn large_payloads_come_in_smaller_steps() {
    let mut record = hourly(CatchUp::All(5), Overlap::Allow);
    record.definition.job.payload = vec![b'x'; 6 * 1024 * 1024].into();
    let plan = look(&record, NOW, &[], 500);
    assert_eq!((plan.jobs.len(), plan.more), (2, true));
}

#[test]
fn a_paused_schedule_leaves_its_ticks_out() {
    let record = ScheduleRecord { paused: true, ..hourly(CatchUp::All(9), Overlap::Allow) };
    let plan = look(&record, NOW, &[], 500);
    assert_eq!((plan.jobs.len(), missed(&plan.record)), (0, vec![(MissReason::Paused, 5)]));
    let resumed = ScheduleRecord { paused: false, ..plan.record };
    assert!(agenda(&resumed, NOW, 500).is_idle());
}

#[test]
fn a_clock_that_was_set_back_starts_nothing_again() {
    let record = look(&hourly(CatchUp::One, Overlap::Allow), NOW, &[], 500).record;
    assert!(agenda(&record, "2026-03-01T03:30:00Z", 500).is_idle());
    assert_eq!(started(&look(&record, "2026-03-01T06:00:01Z", &[], 500)), ["06"]);
}

#[test]
fn a_job_has_the_name_of_its_tick_and_the_jitter_puts_it_off() {
    let mut record = hourly(CatchUp::One, Overlap::Allow);
    let tick = at("2026-03-01T05:00:00Z");
    assert_eq!(record.job(tick).unwrap().start, Start::Now);
    record.definition.jitter = Duration::from_secs(600);
    let job = record.job(tick).unwrap();
    assert_eq!(job.spec.id.to_string(), "hourly/1/2026-03-01T05:00:00.000000Z");
    assert_eq!(job.spec.headers[SCHEDULE_HEADER], "hourly");
    assert_eq!(job.spec.headers[TICK_HEADER].parse(), Ok(tick));
    let Start::At(start) = job.start else { panic!("it is put off") };
    assert!(start > tick && start < tick.after(Duration::from_secs(600)));
    assert_eq!(record.job(tick).unwrap().start, job.start, "by the same in every process");
}

#[test]
fn another_rule_is_another_generation_without_ticks_before_it() {
    let record = hourly(CatchUp::One, Overlap::Allow);
    let (old, now) = (record.definition.clone(), at(NOW));
    assert!(record.declared(&old, ScheduleOrigin::Code, now).is_none());
    let slower = ScheduleDefinition { spec: "@daily".into(), ..old.clone() };
    let changed = record.declared(&slower, ScheduleOrigin::Code, now).unwrap();
    assert_eq!((changed.generation, changed.mark, changed.epoch), (2, now, at(MARK)));
    let kinder = ScheduleDefinition { overlap: Overlap::Skip, ..old.clone() };
    let changed = record.declared(&kinder, ScheduleOrigin::Code, now).unwrap();
    assert_eq!((changed.generation, changed.mark), (1, at(MARK)));
    assert_eq!(record.declared(&old, ScheduleOrigin::Config, now).unwrap().origin, ScheduleOrigin::Config);
}

#[test]
fn a_record_comes_back_as_it_was_written() {
    let mut record = look(&hourly(CatchUp::All(3), Overlap::BufferOne), NOW, &[], 500).record;
    let options = JobOptions::new().queue("low").tenant("t").priority(-3).max_retry(0).retention(Duration::MAX);
    let options = options.timeout(Duration::from_secs(7)).tag("a").header("h", "ü").group("g");
    let unique = UniqueBy::idempotency(&7, Duration::from_secs(60));
    record.definition.job = template(b"\xff\x00 no text", options.clone().unique(unique));
    record.definition.timezone = Some("Asia/Jakarta".into());
    record.definition.ends = Some(at(NOW));
    for payload in [&b"\xff\x00 no text"[..], b" {\"a\": 1} \n", b""] {
        record.definition.job.payload = payload.into();
        let read = ScheduleRecord::read(&record.write().unwrap()).unwrap();
        assert_eq!(read.write(), record.write());
        assert_eq!(read.definition.job.payload, payload);
        let (one, two) = (read.job(at(NOW)).unwrap(), record.job(at(NOW)).unwrap());
        assert_eq!(one.spec.unique, two.spec.unique);
        assert!(one.spec.unique.is_some());
    }
}

#[test]
fn what_a_newer_program_has_noted_stays_and_a_form_that_is_not_ours_is_refused() {
    let text = hourly(CatchUp::One, Overlap::Allow).write().unwrap();
    let newer = text.replacen('{', "{\"leap_seconds\":{\"a\":[1]},", 1);
    let newer = newer.replacen("\"spec\":", "\"holidays\":\"DE\",\"spec\":", 1);
    let record = ScheduleRecord::read(&newer).unwrap();
    let ticked = look(&record, NOW, &[], 500).record.write().unwrap();
    assert!(ticked.contains("\"leap_seconds\":{\"a\":[1]}") && ticked.contains("\"holidays\":\"DE\""), "{ticked}");
    let foreign = text.replacen("\"version\":1", "\"version\":2", 1);
    assert!(ScheduleRecord::read(&foreign).unwrap_err().contains("version 2"));
    assert!(ScheduleRecord::read(&text.replacen("\"overlap\":\"allow\"", "\"overlap\":\"queue\"", 1)).is_err());
}
