// The jobs of a drain or a latency and what becomes of each; how Graphile Worker is set up.

import pg from "pg";
import { Logger, WorkerPreset, run } from "graphile-worker";

export const SCHEMA = "peer_graphile";
export const KIND = "bench:noop";
const PATIENCE_MS = 600_000;

export async function connect(url) {
  const db = new pg.Client({ connectionString: url });
  await db.connect();
  return db;
}

// Its own settings but for those that are named. Of its log, only errors are shown.
export function preset(url, slots, settings) {
  const logger = new Logger(() => (level, message) => level === "error" && console.error(`graphile: ${message}`));
  return {
    extends: [WorkerPreset],
    worker: { connectionString: url, schema: SCHEMA, concurrentJobs: slots, logger, ...settings },
  };
}

// What became of each job. Numbers from `jobs` on are of the warm-up and are not counted.
export class Tally {
  constructor(jobs) {
    this.jobs = jobs;
    this.runs = new Uint8Array(jobs);
    this.began = new Float64Array(jobs);
    this.left = jobs;
    this.all = new Promise((resolve) => (this.resolve = resolve));
  }

  serve(settings) {
    const handler = async ({ number }) => {
      if (number >= this.jobs || this.runs[number]++ > 0) return;
      this.began[number] = performance.now();
      if (--this.left === 0) this.resolve();
    };
    return run({ preset: settings, taskList: { [KIND]: handler }, crontab: "", noHandleSignals: true });
  }

  // The moment when all have run and none is left in the database: what it completes, it removes.
  async ended(db) {
    const late = performance.now() + PATIENCE_MS;
    let timer;
    const waited = new Promise((resolve) => (timer = setTimeout(resolve, PATIENCE_MS)));
    await Promise.race([this.all, waited]);
    clearTimeout(timer);
    while ((await db.query(`SELECT FROM ${SCHEMA}._private_jobs LIMIT 1`)).rowCount > 0) {
      if (performance.now() > late) throw new Error("jobs are left after ten minutes");
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    return performance.now();
  }

  async delivery(db) {
    const { rows } = await db.query(`SELECT count(*)::integer AS left FROM ${SCHEMA}._private_jobs`);
    const twice = this.runs.reduce((sum, runs) => sum + Math.max(0, runs - 1), 0);
    const lost = Math.max(this.left, rows[0].left);
    return { enqueued: this.jobs, finished: this.jobs - lost, lost, twice };
  }
}
