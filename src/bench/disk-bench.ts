/** What the disk of the cache can do: small writes made durable one by one, and long ones written and read. */
import { randomBytes } from 'node:crypto';
import { type FileHandle, open, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { StorageError } from '../lib/errors.ts';
import { systemReason } from '../lib/system-reason.ts';
import { type Latencies, latenciesOf } from './latencies.ts';

export interface DiskFigures {
  /** 4 KiB appended and made durable, one after another: what a flush of a small write costs. */
  readonly sync: Latencies;
  readonly writeBytesPerSecond: number;
  /** As the kernel answers it, from its memory too. */
  readonly readBytesPerSecond: number;
}

export interface DiskBenchOptions {
  readonly directory: string;
  readonly durationMs: number;
  readonly signal: AbortSignal;
  readonly onProgress: (share: number) => void;
}

const SMALL_BYTES = 4096;
const LARGE_BYTES = 2 ** 20;
/** The file is no larger than this, nor than this share of what is free. */
const FILE_BYTES_MAX = 2 ** 30;
const FREE_SHARE_MAX = 1 / 4;

/** NO_SPACE or INVALID where the directory cannot be used, CANCELLED where `signal` aborts. The file is removed again. */
export async function benchDisk(options: DiskBenchOptions): Promise<DiskFigures> {
  const { directory } = options;
  const path = join(directory, `bench-${randomBytes(8).toString('hex')}.tmp`);
  try {
    const { bavail, bsize } = await statfs(directory);
    const bytesMax = Math.floor(Math.min(FILE_BYTES_MAX, bavail * bsize * FREE_SHARE_MAX) / LARGE_BYTES) * LARGE_BYTES;
    if (bytesMax < LARGE_BYTES) throw new StorageError('NO_SPACE', `there is too little room in ${directory}`);
    const file = await open(path, 'wx+', 0o600);
    try {
      return await measure(file, bytesMax, options);
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (cause instanceof StorageError) throw cause;
    const code = (cause as NodeJS.ErrnoException).code === 'ENOSPC' ? 'NO_SPACE' : 'INVALID';
    throw new StorageError(code, `cannot measure the disk of ${directory} (cache.dir): ${systemReason(cause)}`, {
      cause,
    });
  } finally {
    await rm(path, { force: true });
  }
}

async function measure(file: FileHandle, bytesMax: number, options: DiskBenchOptions): Promise<DiskFigures> {
  const { durationMs, signal, onProgress } = options;
  const partMs = durationMs / 3;
  const times: number[] = [];
  await repeat(partMs, signal, async (count) => {
    const begunAt = performance.now();
    await file.write(randomBytes(SMALL_BYTES), 0, SMALL_BYTES, (count * SMALL_BYTES) % bytesMax);
    await file.datasync();
    times.push(performance.now() - begunAt);
  });
  onProgress(1 / 3);
  const large = randomBytes(LARGE_BYTES);
  const at = (count: number): number => (count * LARGE_BYTES) % bytesMax;
  const startedAt = performance.now();
  const written = await repeat(partMs, signal, async (count) => {
    large.writeUInt32LE(count, 0);
    await file.write(large, 0, LARGE_BYTES, at(count));
  });
  // Until it is durable it has not been written.
  await file.datasync();
  const writeMs = performance.now() - startedAt;
  onProgress(2 / 3);
  const fileBytes = Math.min(bytesMax, written * LARGE_BYTES);
  const readAt = performance.now();
  const read = await repeat(partMs, signal, async (count) => {
    await file.read(large, 0, LARGE_BYTES, (count * LARGE_BYTES) % fileBytes);
  });
  const readMs = performance.now() - readAt;
  return {
    sync: latenciesOf(times),
    writeBytesPerSecond: rate(written, writeMs),
    readBytesPerSecond: rate(read, readMs),
  };
}

/** Again and again for the time, at least once; how often. */
async function repeat(ms: number, signal: AbortSignal, work: (count: number) => Promise<void>): Promise<number> {
  const endAt = performance.now() + ms;
  let count = 0;
  do {
    if (signal.aborted) throw new StorageError('CANCELLED', 'interrupted: the file has been removed');
    await work(count++);
  } while (performance.now() < endAt);
  return count;
}

function rate(count: number, ms: number): number {
  return Math.round((count * LARGE_BYTES) / (Math.max(1, ms) / 1000));
}
