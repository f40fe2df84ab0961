/** The volumes as files: our own FUSE front against nbdfuse over our NBD server, both on one volume in one process. */
import { join } from 'node:path';
import type { Appliance } from '../../support/appliance.ts';
import { mountExport } from '../../support/mounts.ts';
import { tempDir } from '../../support/temp.ts';
import { NO_UPLOAD, serveVolume, uploadAll, VOLUME } from '../appliances.ts';
import type { Subject } from '../comparison.ts';
import { type FioJob, runFio } from '../fio.ts';
import { withCpuTime } from '../process-usage.ts';
import type { Bench, Scenario } from '../scenario.ts';
import { startStore } from '../store.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZE_BYTES = 256 * MIB;
/** Holds what can be written in one run. */
const LOG_BYTES = 8 * 1024 * MIB;
const OURS = 'bucketdisk, FUSE';
const THEIRS = 'nbdfuse over its NBD';

const CASES: readonly { label: string; job: Pick<FioJob, 'rw' | 'blockBytes' | 'depth'>; wanted: number }[] = [
  { label: '4k randread q16', job: { rw: 'randread', blockBytes: 4 * KIB, depth: 16 }, wanted: 3 },
  { label: '4k randwrite q16', job: { rw: 'randwrite', blockBytes: 4 * KIB, depth: 16 }, wanted: 3 },
  { label: '1M read q4', job: { rw: 'read', blockBytes: MIB, depth: 4 }, wanted: 2 },
  { label: '1M write q4', job: { rw: 'write', blockBytes: MIB, depth: 4 }, wanted: 2 },
];

/** A file that is the volume. */
interface Mounted {
  readonly name: string;
  readonly file: string;
  /** The processes that serve it. */
  readonly pids: readonly number[];
}

async function run(bench: Bench): Promise<void> {
  const fuseDir = await tempDir(bench.lifetime, 'fuse');
  const appliance = await serveVolume(bench, {
    bucket: await startStore(bench.lifetime, { getMs: 0, putMs: 0 }),
    prefix: 'ours/',
    volume: { size: `${SIZE_BYTES / MIB}MiB`, durability: 'local' },
    cache: { size: '4GiB', logSize: `${LOG_BYTES / MIB}MiB` },
    upload: NO_UPLOAD,
    fuse: { dir: fuseDir },
  });
  const uri = appliance.uris(VOLUME).unix;
  await writeLap(bench, appliance, uri);
  const nbdfuse = await mountExport(bench.lifetime, uri);
  const mounted: readonly Mounted[] = [
    { name: OURS, file: join(fuseDir, VOLUME), pids: [appliance.pid] },
    { name: THEIRS, file: nbdfuse.path, pids: [appliance.pid, nbdfuse.pid] },
  ];
  bench.note('past the page cache; everything read is in the cache of the volume, everything written goes to its log');
  bench.note('the log has gone round once, as it soon has: the first lap is as fast as the disk gives out space');
  for (const { label, job, wanted } of CASES) {
    await uploadAll(bench, appliance, SIZE_BYTES);
    await bench.compare({
      metrics: [{ key: 'rate', label, unit: 'op/s', better: 'more', wanted: [{ against: THEIRS, ratio: wanted }] }],
      subjects: mounted.map((one) => works(bench, appliance, one, job)),
      warmupSeconds: 0.5,
    });
  }
}

/** Leaves all of the volume cached, and all of the log written to. */
async function writeLap(bench: Bench, appliance: Appliance, uri: string): Promise<void> {
  const whole = { target: { uri }, rw: 'write', blockBytes: MIB, depth: 4, sizeBytes: SIZE_BYTES } as const;
  for (let writtenBytes = 0; writtenBytes < LOG_BYTES; ) {
    bench.say(`the log's first lap: ${writtenBytes / MIB} MiB of ${LOG_BYTES / MIB}`);
    for (const halfBytes = writtenBytes + LOG_BYTES / 2; writtenBytes < halfBytes; writtenBytes += SIZE_BYTES) {
      await runFio(bench.lifetime, whole);
    }
    await uploadAll(bench, appliance, SIZE_BYTES);
  }
}

function works(
  bench: Bench,
  appliance: Appliance,
  { name, file, pids }: Mounted,
  job: Pick<FioJob, 'rw' | 'blockBytes' | 'depth'>,
): Subject {
  return {
    name,
    measure: async (seconds) => {
      if (job.rw.endsWith('write')) await uploadAll(bench, appliance, SIZE_BYTES);
      const fio = { ...job, target: { file, direct: true }, sizeBytes: SIZE_BYTES, seconds };
      const { result, cpuUs } = await withCpuTime(pids, () => runFio(bench.lifetime, fio));
      return { values: { rate: result.opsPerSecond }, cpuUsPerOp: cpuUs / result.operations };
    },
  };
}

export const fuse: Scenario = {
  name: 'fuse',
  about: 'a volume as a file: our FUSE front against nbdfuse over our NBD server',
  tools: ['fio', 'nbdfuse', 'fusermount3'],
  facilities: ['root', 'fuse'],
  run,
};
