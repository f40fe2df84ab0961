/** Small writes with flushes between them: what a database or a busy filesystem asks of a disk. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TestS3Bucket } from '../../interop/support/buckets.ts';
import { mountS3backer, S3BACKER_FACILITIES, S3BACKER_TOOLS } from '../../interop/support/s3backer.ts';
import { tempDir } from '../../support/temp.ts';
import { NO_UPLOAD, serveVolume, VOLUME } from '../appliances.ts';
import type { Subject } from '../comparison.ts';
import { runFio, runFlushedWrites, type Target } from '../fio.ts';
import { startUnixNbdkit } from '../nbd-servers.ts';
import { withCpuTime } from '../process-usage.ts';
import { runProgram } from '../run-program.ts';
import type { Bench, Scenario } from '../scenario.ts';
import { startStore } from '../store.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZE_BYTES = 256 * MIB;
const WRITES = { blockBytes: 4 * KIB, sizeBytes: SIZE_BYTES, writesPerFlush: 32 };
const DEPTH = 32;
const OURS = 'bucketdisk';
const NBDKIT = 'nbdkit file';
const S3BACKER = 's3backer, cache file';
const BARE = 'append + fdatasync';
const APPEND_LOOP = fileURLToPath(new URL('../append-loop.ts', import.meta.url));

/** Something with a disk that has been written once from its beginning to its end. */
interface Disk {
  readonly name: string;
  readonly target: Target;
  readonly pid: number;
}

async function run(bench: Bench): Promise<void> {
  const bucket = await startStore(bench.lifetime, { getMs: 0, putMs: 0 });
  bench.note(
    'one flush after every 32 writes, 32 requests in flight, random over 256 MiB that have been written before',
  );
  const ours = await ourDisk(bench, bucket);
  const nbdkit = await nbdkitDisk(bench);
  const disks = [ours, nbdkit];
  if (bench.has(S3BACKER, S3BACKER_TOOLS, S3BACKER_FACILITIES)) {
    bench.note(
      `${S3BACKER}: it answers fsync at once, whatever is on the disk; its cache holds all blocks and uploads nothing meanwhile`,
    );
    disks.push(await s3backerDisk(bench, bucket));
  }
  await bench.compare({
    metrics: [
      {
        key: 'rate',
        label: '4k randwrite q32, flush every 32',
        unit: 'op/s',
        better: 'more',
        wanted: [
          { against: NBDKIT, ratio: 2 },
          { against: S3BACKER, ratio: 5 },
        ],
      },
    ],
    subjects: disks.map((disk) => writes(bench, disk, DEPTH)),
    warmupSeconds: 1,
  });
  await bench.compare({
    metrics: [
      {
        key: 'flushP50',
        label: 'flush after 32 writes of 4k q1, p50',
        unit: 'us',
        better: 'less',
        wanted: [{ against: BARE, ratio: 1.5 }],
      },
    ],
    // One after another: with more in flight a flush waits for the one before it, and it is that wait which is measured.
    subjects: [writes(bench, ours, 1), await bareAppends(bench), writes(bench, nbdkit, 1)],
    warmupSeconds: 0.5,
  });
}

async function ourDisk(bench: Bench, bucket: TestS3Bucket): Promise<Disk> {
  const appliance = await serveVolume(bench, {
    bucket,
    prefix: 'ours/',
    volume: { size: `${SIZE_BYTES / MIB}MiB`, durability: 'local' },
    cache: { size: '4GiB', logSize: '16GiB' },
    upload: NO_UPLOAD,
  });
  return filled(bench, { name: OURS, target: { uri: appliance.uris(VOLUME).unix }, pid: appliance.pid });
}

async function nbdkitDisk(bench: Bench): Promise<Disk> {
  const file = join(await tempDir(bench.lifetime, 'nbdkit'), 'disk');
  // Made by fio, which fills it too.
  await runFio(bench.lifetime, { ...FILL, target: { file } });
  const { uri, pid } = await startUnixNbdkit(bench.lifetime, ['file', file]);
  return { name: NBDKIT, target: { uri }, pid };
}

async function s3backerDisk(bench: Bench, bucket: TestS3Bucket): Promise<Disk> {
  const cacheFile = join(await tempDir(bench.lifetime, 's3backer-cache'), 'cache');
  const sizes = [`--size=${SIZE_BYTES / MIB}m`, '--blockSize=1m', '--listBlocks'];
  const cache = [`--blockCacheFile=${cacheFile}`, '--blockCacheSize=512', '--blockCacheWriteDelay=3600000'];
  const mounted = await mountS3backer(bench.lifetime, bucket, 's3backer/', [...sizes, ...cache]);
  return filled(bench, { name: S3BACKER, target: { file: mounted.file, direct: true }, pid: mounted.pid });
}

const FILL = { rw: 'write', blockBytes: MIB, depth: 4, sizeBytes: SIZE_BYTES } as const;

async function filled(bench: Bench, disk: Disk): Promise<Disk> {
  bench.say(`filling the disk of ${disk.name}`);
  await runFio(bench.lifetime, { ...FILL, target: disk.target });
  return disk;
}

function writes(bench: Bench, { name, target, pid }: Disk, depth: number): Subject {
  return {
    name,
    measure: async (seconds) => {
      const job = { ...WRITES, depth, target, seconds };
      const { result, cpuUs } = await withCpuTime([pid], () => runFlushedWrites(bench.lifetime, job));
      return {
        values: { rate: result.opsPerSecond, flushP50: result.flushP50Us },
        cpuUsPerOp: cpuUs / result.operations,
      };
    },
  };
}

/** What 32 writes and a flush are at the least: their bytes appended to a file, and a sync. */
async function bareAppends(bench: Bench): Promise<Subject> {
  const file = join(await tempDir(bench.lifetime, 'append'), 'log');
  const bytes = WRITES.blockBytes * WRITES.writesPerFlush;
  return {
    name: BARE,
    measure: async (seconds) => {
      const args = [APPEND_LOOP, '--file', file, '--bytes', String(bytes), '--seconds', String(seconds)];
      const { p50Us } = JSON.parse(await runProgram(bench.lifetime, process.execPath, args)) as { p50Us: number };
      await rm(file);
      return { values: { flushP50: p50Us } };
    },
  };
}

export const cacheWrite: Scenario = {
  name: 'cache-write',
  about:
    '4 KiB random writes with a flush every 32, against nbdkit file and the cache file of s3backer; the latency of a flush',
  tools: ['fio', 'nbdkit'],
  facilities: [],
  run,
};
