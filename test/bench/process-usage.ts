/** What a process has used so far, as the kernel tells. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Ticks of /proc/PID/stat. */
const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

/** User and system time of all threads of a process, in microseconds. The kernel counts in steps of 10 ms. */
export function cpuTimeUs(pid: number): number {
  // The name of the program, in parentheses, may hold spaces.
  const stat = readOf(pid, 'stat');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [utime, stime] = [Number(fields[11]), Number(fields[12])];
  return ((utime + stime) * 1_000_000) / TICKS_PER_SECOND;
}

/** Memory of a process that is in RAM, in bytes. */
export function residentBytes(pid: number): number {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(readOf(pid, 'status'));
  if (match === null) throw new Error(`process ${pid} has no memory`);
  return Number(match[1]) * 1024;
}

function readOf(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch (cause) {
    throw new Error(`process ${pid}, which is measured, has ended`, { cause });
  }
}

/** Runs `work` and tells how much CPU time the processes took meanwhile. */
export async function withCpuTime<T>(
  pids: readonly number[],
  work: () => Promise<T>,
): Promise<{ result: T; cpuUs: number }> {
  const before = pids.map(cpuTimeUs);
  const result = await work();
  const cpuUs = pids.reduce((sum, pid, index) => sum + cpuTimeUs(pid) - (before[index] ?? 0), 0);
  return { result, cpuUs };
}
