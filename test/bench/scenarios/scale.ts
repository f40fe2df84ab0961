/** A very large disk: what is done to the whole of it must not take time that grows with it. */
import { fileURLToPath } from 'node:url';
import { fileBucket } from '../../interop/support/buckets.ts';
import { attachLoop, MOUNT_FACILITIES, MOUNT_TOOLS, makeFilesystem, mountExport } from '../../support/mounts.ts';
import { toolPath } from '../../support/tools.ts';
import { serveVolume, VOLUME } from '../appliances.ts';
import type { Subject } from '../comparison.ts';
import { startUnixNbdkit } from '../nbd-servers.ts';
import { residentBytes } from '../process-usage.ts';
import { runProgram } from '../run-program.ts';
import type { Bench, Scenario } from '../scenario.ts';

const MIB = 1024 * 1024;
const SIZE = '10TiB';
const NBDKIT_SIZE = '10T';
const OURS = 'bucketdisk';
const NBDKIT = 'nbdkit memory';
const MKFS_SECONDS_MAX = 10;
const TRIM_SECONDS_MAX = 1;
const TRIM_ALL = fileURLToPath(new URL('../trim-all.py', import.meta.url));

/** A new disk of 10 TiB; `end` takes it away, and tells how much memory it took in the meantime. */
interface LargeDisk {
  readonly uri: string;
  end(): Promise<{ residentBytes: number }>;
}

type NewDisk = (bench: Bench) => Promise<LargeDisk>;

async function run(bench: Bench): Promise<void> {
  bench.note(`volumes of ${SIZE} in blocks of 1 MiB, new for each round, on a directory as the bucket`);
  if (bench.has('mkfs.ext4', [...MOUNT_TOOLS, 'mkfs.ext4'], [...MOUNT_FACILITIES, 'ext4'])) {
    await bench.compare({
      metrics: [
        {
          key: 'seconds',
          label: `mkfs.ext4 with discard, ${SIZE}`,
          unit: 's',
          better: 'less',
          limit: MKFS_SECONDS_MAX,
        },
        { key: 'memory', label: 'memory of the server after it', unit: 'MiB', better: 'less' },
      ],
      subjects: [makesFilesystem(bench, OURS, ourDisk), makesFilesystem(bench, NBDKIT, nbdkitDisk)],
      warmupSeconds: 0,
    });
  }
  if (bench.has('TRIM', ['python3-libnbd'])) {
    await bench.compare({
      metrics: [{ key: 'seconds', label: `TRIM of all ${SIZE}`, unit: 's', better: 'less', limit: TRIM_SECONDS_MAX }],
      subjects: [trimsAll(bench, OURS, ourDisk), trimsAll(bench, NBDKIT, nbdkitDisk)],
      warmupSeconds: 0,
    });
  }
}

const ourDisk: NewDisk = async (bench) => {
  const bucket = await fileBucket(bench.lifetime);
  const appliance = await serveVolume(bench, { bucket, prefix: 'ours/', volume: { size: SIZE, blockSize: '1MiB' } });
  return {
    uri: appliance.uris(VOLUME).unix,
    end: async () => {
      const memory = residentBytes(appliance.pid);
      await appliance.stop();
      return { residentBytes: memory };
    },
  };
};

const nbdkitDisk: NewDisk = async (bench) => {
  const server = await startUnixNbdkit(bench.lifetime, ['memory', NBDKIT_SIZE]);
  return {
    uri: server.uri,
    end: async () => {
      const memory = residentBytes(server.pid);
      await server.stop();
      return { residentBytes: memory };
    },
  };
};

/** Through nbdfuse and a loop device; the time is that of mkfs, its fsync included. */
function makesFilesystem(bench: Bench, name: string, newDisk: NewDisk): Subject {
  return {
    name,
    measure: async () => {
      const disk = await newDisk(bench);
      const exported = await mountExport(bench.lifetime, disk.uri);
      const loop = await attachLoop(bench.lifetime, exported.path, { directIo: true });
      const began = performance.now();
      await makeFilesystem('ext4', loop.path, ['-E', 'discard']);
      const seconds = (performance.now() - began) / 1000;
      await loop.undo();
      await exported.undo();
      const { residentBytes: bytes } = await disk.end();
      return { values: { seconds, memory: bytes / MIB } };
    },
  };
}

function trimsAll(bench: Bench, name: string, newDisk: NewDisk): Subject {
  return {
    name,
    measure: async () => {
      const disk = await newDisk(bench);
      const output = await runProgram(bench.lifetime, toolPath('python3-libnbd'), [TRIM_ALL, disk.uri]);
      await disk.end();
      return { values: { seconds: (JSON.parse(output) as { seconds: number }).seconds } };
    },
  };
}

export const scale: Scenario = {
  name: 'scale',
  about: 'a disk of 10 TiB: mkfs.ext4 with discard, TRIM of all of it',
  tools: ['nbdkit'],
  facilities: [],
  run,
};
