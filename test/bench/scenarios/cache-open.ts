/** Opening a cache that is large and full: its index is read before anything is served. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheDirectory } from '../../../src/stores.ts';
import { fileBucket, type TestBucket } from '../../interop/support/buckets.ts';
import type { Appliance } from '../../support/appliance.ts';
import { tempDir } from '../../support/temp.ts';
import { serveVolume, VOLUME } from '../appliances.ts';
import type { Subject } from '../comparison.ts';
import { makeFullCache, volumeBytesFor } from '../full-cache.ts';
import { cpuTimeUs, residentBytes } from '../process-usage.ts';
import type { Bench, Scenario } from '../scenario.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const CACHE_BYTES = 100 * GIB;
const OPEN_SECONDS_MAX = 3;
const MEMORY_MIB_MAX = 400;

interface Home {
  readonly bucket: TestBucket;
  readonly dir: string;
}

async function run(bench: Bench): Promise<void> {
  const empty = await newHome(bench);
  const full = await newHome(bench);
  bench.say('making the full cache');
  const { volumeId } = JSON.parse(await readFile(join(cacheOf(full), 'volume.json'), 'utf8')) as { volumeId: string };
  const pages = await makeFullCache(cacheOf(full), volumeId, CACHE_BYTES);
  bench.note(`the full cache has ${pages} pages in an index of its own making; its data is a file with nothing in it`);
  await bench.compare({
    metrics: [
      {
        key: 'seconds',
        label: 'start of the process until it serves',
        unit: 's',
        better: 'less',
        limit: OPEN_SECONDS_MAX,
      },
      { key: 'cpu', label: 'CPU time of that', unit: 's', better: 'less' },
      { key: 'memory', label: 'memory, then', unit: 'MiB', better: 'less', limit: MEMORY_MIB_MAX },
    ],
    subjects: [
      opens(bench, `a full cache of ${CACHE_BYTES / GIB} GiB`, full, pages),
      opens(bench, 'an empty one', empty, 0),
    ],
    warmupSeconds: 0,
  });
}

/** A volume with a cache, left as a crash leaves it: then nobody can have written it since, and what is cached counts. */
async function newHome(bench: Bench): Promise<Home> {
  const home = { bucket: await fileBucket(bench.lifetime), dir: await tempDir(bench.lifetime, 'appliance') };
  await (await serve(bench, home)).kill();
  return home;
}

function serve(bench: Bench, { bucket, dir }: Home): Promise<Appliance> {
  return serveVolume(bench, {
    bucket,
    dir,
    prefix: 'ours/',
    volume: { size: `${volumeBytesFor(CACHE_BYTES) / GIB}GiB` },
    cache: { size: `${CACHE_BYTES / GIB}GiB`, logSize: '64MiB' },
  });
}

function cacheOf({ dir }: Home): string {
  return cacheDirectory(join(dir, 'cache'), VOLUME);
}

function opens(bench: Bench, name: string, home: Home, pages: number): Subject {
  return {
    name,
    measure: async () => {
      const began = performance.now();
      const appliance = await serve(bench, home);
      const seconds = (performance.now() - began) / 1000;
      const cpu = cpuTimeUs(appliance.pid) / 1e6;
      const memory = residentBytes(appliance.pid) / MIB;
      const opened = appliance.logs.find(({ message }) => message === 'the read cache is open');
      if (opened?.pages !== pages) throw new Error(`${opened?.pages} pages were opened, not ${pages}`);
      await appliance.kill();
      return { values: { seconds, cpu, memory } };
    },
  };
}

export const cacheOpen: Scenario = {
  name: 'cache-open',
  about: 'starting with a full cache of 100 GiB: time until it serves, memory',
  tools: [],
  facilities: [],
  run,
};
