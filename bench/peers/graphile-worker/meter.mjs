// What a stretch of work costs: time, CPU of this process and of the server, memory.

import { readFileSync, readdirSync, writeFileSync } from "node:fs";

export class Meter {
  static async start(db) {
    const meter = new Meter();
    try {
      // Where the system lets us, each stretch has its own peak.
      writeFileSync("/proc/self/clear_refs", "5");
    } catch {}
    meter.server = await serverPid(db);
    meter.storeCpu = serverCpuUs(meter.server);
    meter.cpu = process.cpuUsage();
    meter.began = performance.now();
    return meter;
  }

  // The cost until a moment that has just been.
  stop(end = performance.now()) {
    const { user, system } = process.cpuUsage(this.cpu);
    const storeCpuUs = this.server === null ? null : serverCpuUs(this.server) - this.storeCpu;
    return { seconds: (end - this.began) / 1000, cpuUs: user + system, storeCpuUs, peakRss: peakRss() };
  }
}

// The parent of the process that serves us, if that is on this host.
async function serverPid(db) {
  const { rows } = await db.query("SELECT pg_backend_pid() AS pid");
  const backend = stat(rows[0].pid);
  return backend?.name === "postgres" ? backend.parent : null;
}

// User and system time of the server: of its first process, with those that have ended, and of its children.
function serverCpuUs(server) {
  if (server === null) return 0;
  let ticks = 0;
  for (const pid of readdirSync("/proc")) {
    if (!/^[0-9]+$/.test(pid)) continue;
    const process = stat(pid);
    if (process === null) continue;
    if (Number(pid) === server) ticks += process.own + process.ended;
    else if (process.parent === server) ticks += process.own;
  }
  return ticks * 10_000;
}

// What the system says of a process; the times in hundredths of a second.
function stat(pid) {
  let text;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return null;
  }
  const end = text.lastIndexOf(") ");
  const fields = text.slice(end + 2).split(" ").map(Number);
  const name = text.slice(text.indexOf("(") + 1, end);
  return { name, parent: fields[1], own: fields[11] + fields[12], ended: fields[13] + fields[14] };
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
