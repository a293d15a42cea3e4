//! The outside contract of the binary, seen as a script sees it: exit codes, documents, signals, processes.

mod batch;
mod bench;
mod chaos;
mod commands;
mod crashes;
mod deploy;
mod doctor;
mod documents;
mod exclusive;
mod exit_codes;
mod fleet;
mod full_disk;
mod groups;
mod locks;
mod migrate;
mod operate;
mod postgres;
mod redis;
mod report;
mod schedule;
mod schedules;
#[path = "../../../windlass/tests/servers/mod.rs"]
mod servers;
mod serving;
mod support;
mod work;
