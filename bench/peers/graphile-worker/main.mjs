// Measures Graphile Worker: enqueueing, bulk, draining, and the time from the enqueue call to the handler. Prints a JSON
// document a figure, with the names that `windlass bench --json` uses. Every job is counted: a run that lost one or ran
// one twice says so and ends with 1.
//
// Graphile Worker as shipped (mode `default`), and set up as its page on performance advises (mode `tuned`: a local queue
// of 500, outcomes in batches, a connection for each job that runs and one more), and with four times that local queue (mode
// `wide`: what a process that is killed holds is locked for four hours). It needs a newer Node than many systems have, which
// comes with its packages.
//
// Usage: node_modules/.bin/node main.mjs --postgres postgres://.. [--phase enqueue,bulk,drain,latency]
// [--mode default,tuned,wide] [--jobs N] [--concurrency 10,50] [--callers 1,50]. It uses the schema `peer_graphile` of that
// database, new for each figure, and removes it.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";

// It writes a line of log for each job otherwise.
process.env.NO_LOG_SUCCESS = "1";
const { makeWorkerUtils } = await import("graphile-worker");
const { Meter, quantileMs } = await import("./meter.mjs");
const { KIND, SCHEMA, Tally, connect, preset } = await import("./tally.mjs");

const BULK = 1000;
// Enqueued before the latency is measured, and not counted.
const WARM_UP = 20;
const EVERY_MS = 10;

const tuned = (size, slots) => ({
  localQueue: { size }, completeJobBatchDelay: 0, failJobBatchDelay: 0, maxPoolSize: Math.max(10, slots + 1),
});
const MODES = { default: () => ({}), tuned: (slots) => tuned(500, slots), wide: (slots) => tuned(2000, slots) };
const PHASES = { enqueue: [enqueue, 10_000], bulk: [bulk, 100_000], drain: [drain, 100_000], latency: [latency, 500] };

const { values: flags } = parseArgs({
  options: {
    postgres: { type: "string", default: "postgres://127.0.0.1:5432/postgres" },
    phase: { type: "string", default: "enqueue,bulk,drain,latency" },
    mode: { type: "string", default: "default" },
    jobs: { type: "string", default: "0" },
    concurrency: { type: "string", default: "50" },
    callers: { type: "string", default: "1,50" },
  },
});

const version = `${installed("graphile-worker")}, node ${process.versions.node}`;
let exact = true;
for (const phase of flags.phase.split(",")) {
  for (const mode of flags.mode.split(",")) {
    if (!PHASES[phase] || !MODES[mode]) {
      console.error(`graphile: there is no phase ${phase} or no mode ${mode}`);
      process.exit(2);
    }
    const widths = phase === "enqueue" ? flags.callers : phase === "bulk" ? "1" : flags.concurrency;
    for (const width of widths.split(",").map(Number)) {
      const figure = await measure(phase, mode, width);
      console.log(JSON.stringify(figure));
      exact &&= figure.delivery.lost === 0 && figure.delivery.twice === 0;
    }
  }
}
process.exit(exact ? 0 : 1);

function installed(name) {
  const entry = createRequire(import.meta.url).resolve(name);
  return JSON.parse(readFileSync(`${entry.slice(0, entry.lastIndexOf(`/${name}/`))}/${name}/package.json`)).version;
}

async function measure(phase, mode, width) {
  const db = await connect(flags.postgres);
  db.on("error", (error) => {
    console.error(`graphile: ${error.message}`);
    process.exit(3);
  });
  await db.query(`DROP SCHEMA IF EXISTS ${SCHEMA} CASCADE`);
  const settings = preset(flags.postgres, width, MODES[mode](width));
  const utils = await makeWorkerUtils({ preset: settings });
  await utils.migrate();
  const { rows } = await db.query("SELECT current_setting('synchronous_commit') AS commit, current_setting('fsync') AS fsync");
  const [run, otherwise] = PHASES[phase];
  const jobs = Number(flags.jobs) || otherwise;
  const { cost, times = [], delivery } = await run({ db, utils, settings }, jobs, width);
  await utils.release();
  await db.query(`DROP SCHEMA ${SCHEMA} CASCADE`);
  await db.end();
  return {
    peer: "graphile", version, store: "postgres", mode, phase, jobs, concurrency: width, seconds: cost.seconds,
    rate: jobs / cost.seconds, p50_ms: quantileMs(times, 0.5), p99_ms: quantileMs(times, 0.99),
    cpu_us_per_job: cost.cpuUs / jobs, store_cpu_us_per_job: cost.storeCpuUs === null ? null : cost.storeCpuUs / jobs,
    peak_rss_bytes: cost.peakRss, durability: `synchronous_commit=${rows[0].commit} fsync=${rows[0].fsync}`, delivery,
  };
}

function data(number) {
  return { number, to: "somebody@example.com", subject: "your invoice is ready", template: "invoice" };
}

async function enqueue({ db, utils }, jobs, callers) {
  const times = [];
  let next = 0;
  const caller = async () => {
    while (next < jobs) {
      const number = next++;
      const began = performance.now();
      await utils.addJob(KIND, data(number));
      times.push(performance.now() - began);
    }
  };
  const meter = await Meter.start(db);
  await Promise.all(Array.from({ length: callers }, caller));
  return stored(db, jobs, meter.stop(), times);
}

async function bulk({ db, utils }, jobs) {
  const times = [];
  const meter = await Meter.start(db);
  await putAll(utils, jobs, (took) => times.push(took));
  return stored(db, jobs, meter.stop(), times);
}

async function putAll(utils, jobs, tell = () => {}) {
  for (let from = 0; from < jobs; from += BULK) {
    const numbers = Array.from({ length: Math.min(BULK, jobs - from) }, (_, index) => from + index);
    const began = performance.now();
    await utils.addJobs(numbers.map((number) => ({ identifier: KIND, payload: data(number) })));
    tell(performance.now() - began);
  }
}

async function stored(db, jobs, cost, times) {
  const { rows } = await db.query(`SELECT count(*)::integer AS waiting FROM ${SCHEMA}._private_jobs`);
  const [lost, twice] = [Math.max(0, jobs - rows[0].waiting), Math.max(0, rows[0].waiting - jobs)];
  return { cost, times, delivery: { enqueued: jobs, finished: 0, lost, twice } };
}

async function drain({ db, utils, settings }, jobs) {
  await putAll(utils, jobs);
  const tally = new Tally(jobs);
  const meter = await Meter.start(db);
  const runner = await tally.serve(settings);
  const cost = meter.stop(await tally.ended(db));
  await runner.stop();
  return { cost, delivery: await tally.delivery(db) };
}

async function latency({ db, utils, settings }, jobs) {
  const tally = new Tally(jobs);
  const runner = await tally.serve(settings);
  await send(utils, jobs, WARM_UP);
  const meter = await Meter.start(db);
  const called = await send(utils, 0, jobs);
  const cost = meter.stop(await tally.ended(db));
  const times = called.map((began, number) => tally.began[number] - began);
  await runner.stop();
  return { cost, times, delivery: await tally.delivery(db) };
}

// Enqueues so many, 100 a second, each in time whatever becomes of the one before. Answers when each call was made.
async function send(utils, from, count) {
  const called = [];
  const calls = [];
  const began = performance.now();
  for (let index = 0; index < count; index++) {
    const wait = began + index * EVERY_MS - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    called.push(performance.now());
    calls.push(utils.addJob(KIND, data(from + index)));
  }
  await Promise.all(calls);
  return called;
}
