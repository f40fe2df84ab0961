/** One volume's samples: how much is read and written, how fast that is answered, from where, and what is not in the bucket yet. */
import { LATENCY_BOUNDS_SECONDS } from '../../lib/latency-table.ts';
import type { Reading, VolumeReading } from '../sources.ts';
import { LatencyWindow } from './latency-window.ts';
import { Rate } from './rate.ts';

/** Of bytes and requests, so many a second, over NBD and FUSE together. */
export const VOLUME_SERIES = [
  'readBytes',
  'writtenBytes',
  'reads',
  'writes',
  'flushes',
  'readMs',
  'readMs99',
  'writeMs',
  'writeMs99',
  'flushMs',
  'hitShare',
  'dirtyBytes',
  'uploadedBytes',
] as const;

export type VolumeSample = Readonly<Record<(typeof VOLUME_SERIES)[number], number | null>>;

/** What both fronts count of a command. */
interface CommandCounts {
  readonly command: string;
  readonly results: readonly { readonly count: number }[];
  readonly bytes: number;
  readonly latencyCounts: readonly number[];
}

/** The commands of both fronts that are the same to a disk. */
const READS = ['read'];
const WRITES = ['write', 'write_zeroes', 'zero', 'trim'];
const FLUSHES = ['flush'];

const BOUNDS_MS = LATENCY_BOUNDS_SECONDS.map((seconds) => seconds * 1000);

class KindSampler {
  readonly #commands: readonly string[];
  readonly #bytes = new Rate();
  readonly #requests = new Rate();
  readonly latencies = new LatencyWindow(BOUNDS_MS);

  constructor(commands: readonly string[]) {
    this.#commands = commands;
  }

  sample(all: readonly CommandCounts[], elapsedMs: number): { bytes: number | null; requests: number | null } {
    const ours = all.filter(({ command }) => this.#commands.includes(command));
    this.latencies.look(ours.map(({ latencyCounts }) => latencyCounts));
    // What is zeroed or trimmed is not sent.
    const bytes = ours.reduce((sum, one) => sum + (one.command === this.#commands[0] ? one.bytes : 0), 0);
    const requests = ours.reduce((sum, { results }) => sum + results.reduce((n, { count }) => n + count, 0), 0);
    return { bytes: this.#bytes.next(bytes, elapsedMs), requests: this.#requests.next(requests, elapsedMs) };
  }
}

export class VolumeSampler {
  readonly #reads = new KindSampler(READS);
  readonly #writes = new KindSampler(WRITES);
  readonly #flushes = new KindSampler(FLUSHES);
  readonly #hits = new Rate();
  readonly #misses = new Rate();
  readonly #uploaded = new Rate();

  sample({ nbd, fuse }: Reading, { name, cache }: VolumeReading, elapsedMs: number): VolumeSample {
    const commands: CommandCounts[] = [
      ...(nbd.counters.exports.find((one) => one.export === name)?.commands ?? []),
      ...(fuse?.files.find(({ file }) => file === name)?.commands ?? []),
    ];
    const reads = this.#reads.sample(commands, elapsedMs);
    const writes = this.#writes.sample(commands, elapsedMs);
    const flushes = this.#flushes.sample(commands, elapsedMs);
    return {
      readBytes: reads.bytes,
      writtenBytes: writes.bytes,
      reads: reads.requests,
      writes: writes.requests,
      flushes: flushes.requests,
      readMs: this.#reads.latencies.quantile(0.5),
      readMs99: this.#reads.latencies.quantile(0.99),
      writeMs: this.#writes.latencies.quantile(0.5),
      writeMs99: this.#writes.latencies.quantile(0.99),
      flushMs: this.#flushes.latencies.quantile(0.5),
      hitShare: cache === null ? null : this.#hitShare(cache.cache.hits, cache.missedPages),
      dirtyBytes: cache?.dirtyBytes ?? null,
      uploadedBytes: cache === null ? null : this.#uploaded.next(cache.upload.uploadedBytes, elapsedMs),
    };
  }

  #hitShare(hits: number, misses: number): number | null {
    const hit = this.#hits.grown(hits);
    const missed = this.#misses.grown(misses);
    return hit === null || missed === null || hit + missed === 0 ? null : hit / (hit + missed);
  }
}
