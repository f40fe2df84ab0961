/** A store far away: writing a disk until it is in the bucket, and reading it when nothing of it is cached. */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { TestS3Bucket } from '../../interop/support/buckets.ts';
import { mountS3backer, S3BACKER_FACILITIES, S3BACKER_TOOLS } from '../../interop/support/s3backer.ts';
import type { Appliance } from '../../support/appliance.ts';
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
const SIZE_BYTES = 512 * MIB;
const LATENCY = { getMs: 20, putMs: 30 };
const WANTED = 1.5;
/** Room for everything, and a log that is no bound. */
const CACHE = { size: '1GiB', logSize: '1GiB' };
const LOCAL_BYTES = 512 * MIB;
const LOCAL_WANTED = 0.9;
const OURS = 'bucketdisk';
const NEAR = 'bucketdisk, near store';
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
  const localImage = join(await tempDir(bench.lifetime, 'image'), 'image');
  await writeFile(localImage, randomBytes(LOCAL_BYTES));
  const near = await startStore(bench.lifetime, { getMs: 0, putMs: 0 });
  await bench.compare({
    metrics: [
      {
        key: 'rate',
        label: `local: ${LOCAL_BYTES / MIB} MiB in sequence and a flush`,
        unit: 'MB/s',
        better: 'more',
        wanted: [{ against: NEAR, ratio: LOCAL_WANTED }],
      },
    ],
    subjects: [localWrite(bench, `${OURS}, far store`, bucket, localImage), localWrite(bench, NEAR, near, localImage)],
    warmupSeconds: 0,
  });
}

/** Uploading begins half way, and the log does not fill. */
function localWrite(bench: Bench, name: string, bucket: TestS3Bucket, imageFile: string): Subject {
  const prefix = 'local/';
  return {
    name,
    measure: async () => {
      const volume = { size: `${LOCAL_BYTES / MIB}MiB`, durability: 'local' };
      const cache = { size: '1GiB', logSize: '2GiB' };
      const upload = { age: '1h', dirty: `${LOCAL_BYTES / 2 / MIB}MiB` };
      const appliance = await serveVolume(bench, { bucket, prefix, volume, cache, upload });
      const ms = await timeOf(() => copyInto(bench, imageFile, appliance));
      await appliance.kill();
      // What was under way to the store arrives after that.
      await setTimeout(10 * LATENCY.putMs);
      await clearPrefix(bucket, prefix);
      return { values: { rate: ratePerSecond(LOCAL_BYTES, ms) } };
    },
  };
}

/** What the writing leaves is there for the reading. */
function ourWrite(bench: Bench, { bucket, image, imageFile }: Far): Subject {
  const prefix = prefixOf(OURS);
  return {
    name: OURS,
    measure: async () => {
      await clearPrefix(bucket, prefix);
      const volume = { size: `${SIZE_BYTES / MIB}MiB`, blockSize: `${BLOCK_BYTES / MIB}MiB`, durability: 's3' };
      const appliance = await serveVolume(bench, { bucket, prefix, volume, cache: CACHE });
      const ms = await timeOf(() => copyInto(bench, imageFile, appliance));
      await checkObjects(bucket, prefix, image, BLOCK_BYTES);
      await appliance.stop();
      return { values: { rate: ratePerSecond(SIZE_BYTES, ms) } };
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
      return { values: { rate: ratePerSecond(SIZE_BYTES, ms) } };
    },
  };
}

function ourRead(bench: Bench, { bucket }: Far): Subject {
  const prefix = prefixOf(OURS);
  return {
    name: OURS,
    measure: async () => {
      const appliance = await serveVolume(bench, { bucket, prefix, volume: { durability: 's3' }, cache: CACHE });
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

/** In MB/s. */
function ratePerSecond(bytes: number, ms: number): number {
  return bytes / 1000 / ms;
}

/** All of the image in requests of 1 MiB, and a flush. */
async function copyInto(bench: Bench, imageFile: string, appliance: Appliance): Promise<void> {
  const args = ['--flush', `--request-size=${MIB}`, imageFile, appliance.uris(VOLUME).unix];
  await runProgram(bench.lifetime, toolPath('nbdcopy'), args);
}

export const latencyStore: Scenario = {
  name: 'latency-store',
  about:
    'a store with 30 ms PUT and 20 ms GET: writing until it is in the bucket, cold reading, against s3backer; local writes',
  tools: ['fio', 'nbdcopy', ...S3BACKER_TOOLS],
  facilities: S3BACKER_FACILITIES,
  run,
};
