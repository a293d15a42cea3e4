// What a stretch of work costs: time, CPU of this process and of Redis, memory.

import { readFileSync, writeFileSync } from "node:fs";

export class Meter {
  static async start(redis) {
    const meter = new Meter();
    try {
      // Where the system lets us, each stretch has its own peak.
      writeFileSync("/proc/self/clear_refs", "5");
    } catch {}
    meter.redis = redis;
    meter.storeCpu = await storeCpuUs(redis);
    meter.cpu = process.cpuUsage();
    meter.began = performance.now();
    return meter;
  }

  // The cost until a moment that has just been.
  async stop(end = performance.now()) {
    const { user, system } = process.cpuUsage(this.cpu);
    const storeCpu = (await storeCpuUs(this.redis)) - this.storeCpu;
    const seconds = (end - this.began) / 1000;
    return { seconds, cpuUs: user + system, storeCpuUs: storeCpu, peakRss: peakRss() };
  }
}

// User and system time of Redis, as it says itself.
async function storeCpuUs(redis) {
  const info = await redis.info("cpu");
  const seconds = (name) => Number(new RegExp(`^${name}:([\\d.]+)`, "m").exec(info)[1]);
  return (seconds("used_cpu_user") + seconds("used_cpu_sys")) * 1e6;
}

function peakRss() {
  try {
    return Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"))[1]) * 1024;
  } catch {
    return null;
  }
}

// The value below which this part of all lie, in milliseconds.
export function quantileMs(times, part) {
  if (times.length === 0) return null;
  const sorted = Float64Array.from(times).sort();
  return sorted[Math.max(1, Math.ceil(part * sorted.length)) - 1];
}
