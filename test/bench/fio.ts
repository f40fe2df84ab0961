/** fio, the load for everything that is an NBD export or a file. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Lifetime } from '../support/cleanup.ts';
import { tempDir } from '../support/temp.ts';
import { toolPath } from '../support/tools.ts';
import { runProgram } from './run-program.ts';

/** An export, or a file; `direct` goes past the page cache. */
export type Target = { readonly uri: string } | { readonly file: string; readonly direct?: boolean };

export interface FioJob {
  readonly target: Target;
  readonly rw: 'read' | 'write' | 'randread' | 'randwrite';
  readonly blockBytes: number;
  readonly depth: number;
  readonly sizeBytes: number;
  /** Runs for this long; without it, once over the whole size. */
  readonly seconds?: number;
  /** Connections or threads, each with a depth of its own. 1 unless said. */
  readonly jobs?: number;
}

export interface FioResult {
  readonly operations: number;
  readonly opsPerSecond: number;
  readonly bytesPerSecond: number;
  /** Completion of a read or write, median. */
  readonly latencyP50Us: number;
  /** What one of a hundred takes longer than. */
  readonly latencyP99Us: number;
  readonly flushes: number;
  /** 0 without flushes. */
  readonly flushP50Us: number;
}

/** More than the fastest server was seen to take. */
const REPLAYED_PER_SECOND_MAX = 200_000;

/** Runs a job and reads its report. Ended with the lifetime. */
export async function runFio(lifetime: Lifetime, job: FioJob): Promise<FioResult> {
  const { rw, blockBytes, depth, sizeBytes, seconds, jobs = 1 } = job;
  const time = seconds === undefined ? [] : ['--time_based', `--runtime=${Math.round(seconds * 1000)}ms`];
  const load = [`--rw=${rw}`, `--bs=${blockBytes}`, `--size=${sizeBytes}`, `--numjobs=${jobs}`, '--group_reporting'];
  return await start(lifetime, [...targetArguments(job.target), `--iodepth=${depth}`, ...load, ...time]);
}

export interface FlushedWrites {
  readonly target: Target;
  readonly blockBytes: number;
  readonly depth: number;
  readonly sizeBytes: number;
  readonly writesPerFlush: number;
  readonly seconds: number;
}

/**
 * Random writes with one flush after every so many of them. fio's own `--fsync=N` does not keep to that with requests
 * in flight (at depth 32 and N = 32 some 17 flushes for 32 writes were seen on the wire): the sequence is written down and replayed.
 */
export async function runFlushedWrites(lifetime: Lifetime, job: FlushedWrites): Promise<FioResult> {
  const { target, depth, seconds } = job;
  const dir = await tempDir(lifetime, 'fio');
  const log = join(dir, 'iolog');
  const name = 'file' in target ? target.file : 'disk';
  await writeFile(log, flushedWritesLog(name, job, Math.ceil(seconds * REPLAYED_PER_SECOND_MAX)));
  const replay = [`--read_iolog=${log}`, '--replay_no_stall=1', `--iodepth=${depth}`];
  // Where the target is a file, its name is in the log.
  const engine = targetArguments(target).filter((argument) => !argument.startsWith('--filename='));
  return await start(lifetime, [...engine, ...replay, `--runtime=${Math.round(seconds * 1000)}ms`]);
}

/** The sequence, in fio's format (version 2); the same whenever it is made. */
export function flushedWritesLog(name: string, job: Omit<FlushedWrites, 'target'>, writes: number): string {
  const { blockBytes, sizeBytes, writesPerFlush } = job;
  const blocks = Math.floor(sizeBytes / blockBytes);
  const lines = ['fio version 2 iolog', `${name} add`, `${name} open`];
  let state = 1;
  for (let write = 1; write <= writes; write++) {
    // A generator of numbers that are alike in every run: fio must ask for the same of both sides.
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    lines.push(`${name} write ${Math.floor((state / 2 ** 32) * blocks) * blockBytes} ${blockBytes}`);
    if (write % writesPerFlush === 0) lines.push(`${name} sync 0 0`);
  }
  lines.push(`${name} close`, '');
  return lines.join('\n');
}

function targetArguments(target: Target): string[] {
  if ('uri' in target) return ['--ioengine=nbd', `--uri=${target.uri}`];
  return ['--ioengine=io_uring', `--filename=${target.file}`, `--direct=${target.direct === true ? 1 : 0}`];
}

async function start(lifetime: Lifetime, args: readonly string[]): Promise<FioResult> {
  const always = ['--name=bench', '--output-format=json', '--randrepeat=1', '--thread'];
  return parseFio(await runProgram(lifetime, toolPath('fio'), [...always, ...args]));
}

interface Direction {
  readonly total_ios: number;
  readonly iops: number;
  readonly bw_bytes: number;
  readonly clat_ns: { readonly percentile?: Readonly<Record<string, number>> };
}

interface Report {
  readonly jobs: readonly {
    readonly error: number;
    readonly read: Direction;
    readonly write: Direction;
    readonly sync: {
      readonly total_ios?: number;
      readonly lat_ns?: { readonly percentile?: Readonly<Record<string, number>> };
    };
  }[];
}

/** @throws Error where the report is none, or tells of an error */
export function parseFio(stdout: string): FioResult {
  // The nbd engine greets on the same stream.
  const report = JSON.parse(stdout.slice(stdout.indexOf('{'))) as Report;
  const [job] = report.jobs;
  if (job === undefined || job.error !== 0) throw new Error(`fio reports error ${job?.error}`);
  const main = job.read.total_ios > 0 ? job.read : job.write;
  return {
    operations: main.total_ios,
    opsPerSecond: main.iops,
    bytesPerSecond: main.bw_bytes,
    latencyP50Us: percentileUs(main.clat_ns.percentile, '50.000000'),
    latencyP99Us: percentileUs(main.clat_ns.percentile, '99.000000'),
    flushes: job.sync.total_ios ?? 0,
    flushP50Us: percentileUs(job.sync.lat_ns?.percentile, '50.000000'),
  };
}

function percentileUs(ns: Readonly<Record<string, number>> | undefined, key: string): number {
  return (ns?.[key] ?? 0) / 1000;
}
