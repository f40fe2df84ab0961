/** Reads of what the cache holds. */
import { join } from 'node:path';
import { tempDir } from '../../support/temp.ts';
import { NO_UPLOAD, serveVolume, statusOf, uploadAll, VOLUME } from '../appliances.ts';
import type { Subject } from '../comparison.ts';
import { type FioJob, runFio } from '../fio.ts';
import { startUnixNbdkit } from '../nbd-servers.ts';
import { withCpuTime } from '../process-usage.ts';
import type { Bench, Scenario } from '../scenario.ts';
import { startStore } from '../store.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZE_BYTES = 256 * MIB;
const BLOCK_BYTES = MIB;
const OURS = 'bucketdisk';
const NBDKIT = 'nbdkit file';

const CASES: readonly { label: string; job: Pick<FioJob, 'rw' | 'blockBytes' | 'depth'>; wanted: number | null }[] = [
  { label: '4k randread hits q32', job: { rw: 'randread', blockBytes: 4 * KIB, depth: 32 }, wanted: 0.8 },
  { label: '4k randread hits q1', job: { rw: 'randread', blockBytes: 4 * KIB, depth: 1 }, wanted: null },
  { label: '1M sequential hits q4', job: { rw: 'read', blockBytes: MIB, depth: 4 }, wanted: 0.8 },
  { label: '1M sequential hits q1', job: { rw: 'read', blockBytes: MIB, depth: 1 }, wanted: null },
];

interface Disk {
  readonly name: string;
  readonly uri: string;
  readonly pid: number;
}

interface OurDisk extends Disk {
  /** Bytes that have come from the bucket. */
  fetchedBytes(): Promise<number>;
}

const FILL = { rw: 'write', blockBytes: MIB, depth: 4, sizeBytes: SIZE_BYTES } as const;

async function run(bench: Bench): Promise<void> {
  const ours = await ourDisk(bench);
  const disks = [ours, await nbdkitDisk(bench)];
  const before = await ours.fetchedBytes();
  bench.note('everything read is in the cache, respectively the file, and both in the page cache');
  for (const { label, job, wanted } of CASES) {
    await bench.compare({
      metrics: [
        {
          key: 'rate',
          label,
          unit: 'op/s',
          better: 'more',
          wanted: wanted === null ? [] : [{ against: NBDKIT, ratio: wanted }],
        },
      ],
      subjects: disks.map((disk) => reads(bench, disk, job)),
      warmupSeconds: 0.5,
    });
  }
  // The lease and the token are looked at from time to time.
  const fetched = (await ours.fetchedBytes()) - before;
  if (fetched >= BLOCK_BYTES) throw new Error(`these were no hits: ${fetched} bytes came from the bucket`);
}

/** Filled, and all of it uploaded: what it has is in its read cache, and nothing in its log. */
async function ourDisk(bench: Bench): Promise<OurDisk> {
  const bucket = await startStore(bench.lifetime, { getMs: 0, putMs: 0 });
  const appliance = await serveVolume(bench, {
    bucket,
    prefix: 'ours/',
    volume: { size: `${SIZE_BYTES / MIB}MiB`, durability: 'local' },
    cache: { size: '4GiB' },
    upload: NO_UPLOAD,
  });
  const uri = appliance.uris(VOLUME).unix;
  await runFio(bench.lifetime, { ...FILL, target: { uri } });
  const fetchedBytes = async (): Promise<number> => (await statusOf(bench, appliance)).store.metrics.bytesDown ?? 0;
  await uploadAll(bench, appliance, SIZE_BYTES);
  return { name: OURS, uri, pid: appliance.pid, fetchedBytes };
}

async function nbdkitDisk(bench: Bench): Promise<Disk> {
  const file = join(await tempDir(bench.lifetime, 'nbdkit'), 'disk');
  await runFio(bench.lifetime, { ...FILL, target: { file } });
  return { name: NBDKIT, ...(await startUnixNbdkit(bench.lifetime, ['file', file])) };
}

function reads(bench: Bench, { name, uri, pid }: Disk, job: Pick<FioJob, 'rw' | 'blockBytes' | 'depth'>): Subject {
  return {
    name,
    measure: async (seconds) => {
      const fio = { ...job, target: { uri }, sizeBytes: SIZE_BYTES, seconds };
      const { result, cpuUs } = await withCpuTime([pid], () => runFio(bench.lifetime, fio));
      return { values: { rate: result.opsPerSecond }, cpuUsPerOp: cpuUs / result.operations };
    },
  };
}

export const cacheRead: Scenario = {
  name: 'cache-read',
  about: 'reads that hit the cache, 4 KiB at random and 1 MiB in sequence, against nbdkit file in the page cache',
  tools: ['fio', 'nbdkit'],
  facilities: [],
  run,
};
