// The jobs of a drain or a latency and what becomes of each.

import { Worker } from "bullmq";

export const QUEUE = "peer-bullmq";
export const KIND = "bench:noop";

// What became of each job. Numbers from `jobs` on are of the warm-up and are not counted.
export class Tally {
  constructor(jobs) {
    this.jobs = jobs;
    this.runs = new Uint8Array(jobs);
    this.began = new Float64Array(jobs);
    this.finished = 0;
    this.all = new Promise((resolve) => (this.resolve = resolve));
  }

  serve(connection, slots) {
    const handler = async ({ data: { number } }) => {
      if (number < this.jobs && this.runs[number]++ === 0) this.began[number] = performance.now();
    };
    const worker = new Worker(QUEUE, handler, { connection, concurrency: slots });
    // BullMQ says this once the outcome is in Redis.
    worker.on("completed", ({ data: { number } }) => {
      if (number < this.jobs && ++this.finished === this.jobs) this.resolve(performance.now());
    });
    worker.on("error", (error) => console.error(`bullmq: ${error.message}`));
    return worker;
  }

  // The moment of the last outcome.
  async ended() {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`only ${this.finished} jobs ended in ten minutes`)), 600_000);
    });
    const end = await Promise.race([this.all, late]);
    clearTimeout(timer);
    return end;
  }

  async delivery(queue) {
    const left = await queue.getJobCountByTypes("wait", "active", "delayed", "failed", "prioritized");
    const twice = this.runs.reduce((sum, runs) => sum + Math.max(0, runs - 1), 0);
    const lost = Math.max(0, this.jobs - this.finished, left);
    return { enqueued: this.jobs, finished: this.finished, lost, twice: Math.max(twice, this.finished - this.jobs) };
  }
}
