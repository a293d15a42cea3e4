// Measures BullMQ: enqueueing, bulk, draining, and the time from the enqueue call to the handler. Prints a JSON document
// a figure, with the names that `windlass bench --json` uses. Every job is counted: a run that lost one or ran one twice
// says so and ends with 1.
//
// BullMQ as shipped (mode `default`: completed jobs are kept), and as its documentation advises (mode `tuned`: they are
// removed). Letting ioredis send the commands of one turn of the event loop together was tried and made it slower.
//
// Usage: node main.mjs --redis 127.0.0.1:6379 [--phase enqueue,bulk,drain,latency] [--mode default,tuned] [--jobs N]
// [--concurrency 10,50] [--callers 1,50]. It uses the queue `peer-bullmq` of that Redis and removes it.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";
import { Queue } from "bullmq";
import { Redis } from "ioredis";
import { Meter, quantileMs } from "./meter.mjs";
import { KIND, QUEUE, Tally } from "./tally.mjs";

const BULK = 1000;
// Enqueued before the latency is measured, and not counted.
const WARM_UP = 20;
const EVERY_MS = 10;

const MODES = {
  default: {},
  tuned: { removeOnComplete: true, removeOnFail: true },
};
const PHASES = { enqueue: [enqueue, 10_000], bulk: [bulk, 100_000], drain: [drain, 100_000], latency: [latency, 500] };

const { values: flags } = parseArgs({
  options: {
    redis: { type: "string", default: "127.0.0.1:6379" },
    phase: { type: "string", default: "enqueue,bulk,drain,latency" },
    mode: { type: "string", default: "default" },
    jobs: { type: "string", default: "0" },
    concurrency: { type: "string", default: "50" },
    callers: { type: "string", default: "1,50" },
  },
});

const address = new URL(flags.redis.includes("://") ? flags.redis : `redis://${flags.redis}`);
const version = `${installed("bullmq")}, node ${process.versions.node}`;
let exact = true;
for (const phase of flags.phase.split(",")) {
  for (const mode of flags.mode.split(",")) {
    if (!PHASES[phase] || !MODES[mode]) {
      console.error(`bullmq: there is no phase ${phase} or no mode ${mode}`);
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
  const require = createRequire(import.meta.url);
  // The package's own description is not among what it exports.
  const entry = require.resolve(name);
  return JSON.parse(readFileSync(`${entry.slice(0, entry.lastIndexOf(`/${name}/`))}/${name}/package.json`)).version;
}

function connect() {
  const options = {
    host: address.hostname, port: Number(address.port || 6379), db: Number(address.pathname.slice(1) || 0),
    username: address.username || undefined, password: address.password || undefined,
  };
  // As BullMQ asks for where one brings a connection of one's own.
  return new Redis({ ...options, maxRetriesPerRequest: null });
}

async function measure(phase, mode, width) {
  const redis = connect();
  redis.on("error", (error) => {
    console.error(`bullmq: ${error.message || error}`);
    process.exit(3);
  });
  const queue = new Queue(QUEUE, { connection: redis, defaultJobOptions: MODES[mode] });
  await queue.obliterate({ force: true });
  const [run, otherwise] = PHASES[phase];
  const jobs = Number(flags.jobs) || otherwise;
  const { cost, times = [], delivery } = await run({ redis, queue }, jobs, width);
  await queue.obliterate({ force: true });
  await queue.close();
  await redis.quit();
  return {
    peer: "bullmq", version, store: "redis", mode, phase, jobs, concurrency: width, seconds: cost.seconds,
    rate: jobs / cost.seconds, p50_ms: quantileMs(times, 0.5), p99_ms: quantileMs(times, 0.99),
    cpu_us_per_job: cost.cpuUs / jobs, store_cpu_us_per_job: cost.storeCpuUs / jobs, peak_rss_bytes: cost.peakRss,
    delivery,
  };
}

function data(number) {
  return { number, to: "somebody@example.com", subject: "your invoice is ready", template: "invoice" };
}

async function enqueue({ redis, queue }, jobs, callers) {
  const times = [];
  let next = 0;
  const caller = async () => {
    while (next < jobs) {
      const number = next++;
      const began = performance.now();
      await queue.add(KIND, data(number));
      times.push(performance.now() - began);
    }
  };
  const meter = await Meter.start(redis);
  await Promise.all(Array.from({ length: callers }, caller));
  return stored(queue, jobs, await meter.stop(), times);
}

async function bulk({ redis, queue }, jobs) {
  const times = [];
  const meter = await Meter.start(redis);
  for (let from = 0; from < jobs; from += BULK) {
    const numbers = Array.from({ length: Math.min(BULK, jobs - from) }, (_, index) => from + index);
    const began = performance.now();
    await queue.addBulk(numbers.map((number) => ({ name: KIND, data: data(number) })));
    times.push(performance.now() - began);
  }
  return stored(queue, jobs, await meter.stop(), times);
}

async function stored(queue, jobs, cost, times) {
  const waiting = await queue.getWaitingCount();
  const [lost, twice] = [Math.max(0, jobs - waiting), Math.max(0, waiting - jobs)];
  return { cost, times, delivery: { enqueued: jobs, finished: 0, lost, twice } };
}

async function drain({ redis, queue }, jobs, slots) {
  for (let from = 0; from < jobs; from += BULK) {
    const numbers = Array.from({ length: Math.min(BULK, jobs - from) }, (_, index) => from + index);
    await queue.addBulk(numbers.map((number) => ({ name: KIND, data: data(number) })));
  }
  const tally = new Tally(jobs);
  const meter = await Meter.start(redis);
  const worker = tally.serve(connect(), slots);
  const cost = await meter.stop(await tally.ended());
  const delivery = await tally.delivery(queue);
  await end(worker);
  return { cost, delivery };
}

async function latency({ redis, queue }, jobs, slots) {
  const tally = new Tally(jobs);
  const worker = tally.serve(connect(), slots);
  await worker.waitUntilReady();
  await send(queue, jobs, WARM_UP);
  const meter = await Meter.start(redis);
  const called = await send(queue, 0, jobs);
  const cost = await meter.stop(await tally.ended());
  const times = called.map((began, number) => tally.began[number] - began);
  const delivery = await tally.delivery(queue);
  await end(worker);
  return { cost, times, delivery };
}

async function end(worker) {
  const connection = worker.opts.connection;
  await worker.close();
  connection.disconnect();
}

// Enqueues so many, 100 a second, each in time whatever becomes of the one before. Answers when each call was made.
async function send(queue, from, count) {
  const called = [];
  const calls = [];
  const began = performance.now();
  for (let index = 0; index < count; index++) {
    const wait = began + index * EVERY_MS - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    called.push(performance.now());
    calls.push(queue.add(KIND, data(from + index)));
  }
  await Promise.all(calls);
  return called;
}
