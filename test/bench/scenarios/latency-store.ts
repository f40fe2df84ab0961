/** A store far away: writing a disk until it is in the bucket, and reading it when nothing of it is cached. */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestS3Bucket } from '../../interop/support/buckets.ts';
import { mountS3backer, S3BACKER_FACILITIES, S3BACKER_TOOLS } from '../../interop/support/s3backer.ts';
import { tempDir } from '../../support/temp.ts';
import { toolPath } from '../../support/tools.ts';
import { serveVolume, VOLUME } from '../appliances.ts';
import type { Subject } from '../comparison.ts';
import { runFio } from '../fio.ts';
import { runProgram } from '../run-program.ts';
import type { Bench, Scenario } from '../scenario.ts';
import { checkObjects, clearPrefix, startStore } from '../store.ts';

const MIB = 1024 * 1024;
const BLOCK_BYTES = MIB;
const SIZE_BYTES = 128 * MIB;
const LATENCY = { getMs: 20, putMs: 30 };
const WANTED = 1.5;
const OURS = 'bucketdisk';
const THEIRS = 's3backer';

interface Far {
  readonly bucket: TestS3Bucket;
  /** Bytes that no compression makes less of. */
  readonly image: Buffer;
  readonly imageFile: string;
}

async function run(bench: Bench): Promise<void> {
  const bucket = await startStore(bench.lifetime, LATENCY);
  const image = randomBytes(SIZE_BYTES);
  const imageFile = join(await tempDir(bench.lifetime, 'image'), 'image');
  await writeFile(imageFile, image);
  const far = { bucket, image, imageFile };
  const where = `${LATENCY.putMs} ms PUT, ${LATENCY.getMs} ms GET`;
  bench.note(`${SIZE_BYTES / MIB} MiB of random bytes in blocks of ${BLOCK_BYTES / MIB} MiB; ${where}`);
  bench.note(`${THEIRS} answers fsync at once: its time runs until it has unmounted, when all is in the bucket`);
  await bench.compare({
    metrics: [
      {
        key: 'rate',
        label: 'sequential write until in the bucket',
        unit: 'MB/s',
        better: 'more',
        wanted: [{ against: THEIRS, ratio: WANTED }],
      },
    ],
    subjects: [ourWrite(bench, far), theirWrite(bench, far)],
    warmupSeconds: 0,
  });
  await bench.compare({
    metrics: [
      {
        key: 'rate',
        label: 'cold sequential read, 1M q1',
        unit: 'MB/s',
        better: 'more',
        wanted: [{ against: THEIRS, ratio: WANTED }],
      },
    ],
    subjects: [ourRead(bench, far), theirRead(bench, far)],
    warmupSeconds: 0,
  });
}

/** What the writing leaves is there for the reading. */
function ourWrite(bench: Bench, { bucket, image, imageFile }: Far): Subject {
  const prefix = prefixOf(OURS);
  return {
    name: OURS,
    measure: async () => {
      await clearPrefix(bucket, prefix);
      const volume = { size: `${SIZE_BYTES / MIB}MiB`, blockSize: `${BLOCK_BYTES / MIB}MiB`, durability: 's3' };
      const appliance = await serveVolume(bench, { bucket, prefix, volume });
      const copy = ['--flush', `--request-size=${MIB}`, imageFile, appliance.uris(VOLUME).unix];
      const ms = await timeOf(() => runProgram(bench.lifetime, toolPath('nbdcopy'), copy));
      await checkObjects(bucket, prefix, image, BLOCK_BYTES);
      await appliance.stop();
      return { values: { rate: ratePerSecond(ms) } };
    },
  };
}

function theirWrite(bench: Bench, { bucket, image, imageFile }: Far): Subject {
  const prefix = prefixOf(THEIRS);
  return {
    name: THEIRS,
    measure: async () => {
      await clearPrefix(bucket, prefix);
      const sizes = [`--size=${SIZE_BYTES / MIB}m`, `--blockSize=${BLOCK_BYTES / MIB}m`];
      const mounted = await mountS3backer(bench.lifetime, bucket, prefix, [...sizes, '--listBlocks']);
      const ms = await timeOf(async () => {
        const copy = [`if=${imageFile}`, `of=${mounted.file}`, 'bs=1M', 'oflag=direct', 'conv=notrunc,fsync'];
        await runProgram(bench.lifetime, 'dd', copy);
        await mounted.unmount();
      });
      await checkObjects(bucket, prefix, image, BLOCK_BYTES);
      return { values: { rate: ratePerSecond(ms) } };
    },
  };
}

function ourRead(bench: Bench, { bucket }: Far): Subject {
  const prefix = prefixOf(OURS);
  return {
    name: OURS,
    measure: async () => {
      const appliance = await serveVolume(bench, { bucket, prefix, volume: { durability: 's3' } });
      const target = { uri: appliance.uris(VOLUME).unix };
      const job = { target, rw: 'read', blockBytes: MIB, depth: 1, sizeBytes: SIZE_BYTES } as const;
      const { bytesPerSecond } = await runFio(bench.lifetime, job);
      await appliance.stop();
      return { values: { rate: bytesPerSecond / 1e6 } };
    },
  };
}

function theirRead(bench: Bench, { bucket }: Far): Subject {
  const prefix = prefixOf(THEIRS);
  return {
    name: THEIRS,
    measure: async () => {
      const mounted = await mountS3backer(bench.lifetime, bucket, prefix);
      // Past the page cache: with its reads of 128 KiB s3backer was slower.
      const target = { file: mounted.file, direct: true };
      const job = { target, rw: 'read', blockBytes: MIB, depth: 1, sizeBytes: SIZE_BYTES } as const;
      const { bytesPerSecond } = await runFio(bench.lifetime, job);
      await mounted.unmount();
      return { values: { rate: bytesPerSecond / 1e6 } };
    },
  };
}

function prefixOf(subject: string): string {
  return `${subject}/`;
}

async function timeOf(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

function ratePerSecond(ms: number): number {
  return SIZE_BYTES / 1000 / ms;
}

export const latencyStore: Scenario = {
  name: 'latency-store',
  about: 'a store with 30 ms PUT and 20 ms GET: writing until it is in the bucket, cold reading; against s3backer',
  tools: ['fio', 'nbdcopy', ...S3BACKER_TOOLS],
  facilities: S3BACKER_FACILITIES,
  run,
};
