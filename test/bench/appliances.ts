/** Volumes of ours, served by a whole appliance, as a user would run it. */
import { fileURLToPath } from 'node:url';
import type { ApplianceStatus } from '../../src/cli/actions.ts';

import type { TestBucket } from '../interop/support/buckets.ts';
import { type Appliance, startAppliance } from '../support/appliance.ts';
import { runProgram } from './run-program.ts';
import type { Bench } from './scenario.ts';

type Section = Readonly<Record<string, unknown>>;

export interface VolumeOptions {
  readonly bucket: TestBucket;
  /** All keys of the volume begin with it. */
  readonly prefix: string;
  /** `size`, `blockSize`, `durability` ... as in a configuration file. */
  readonly volume: Section;
  readonly cache?: Section;
  readonly upload?: Section;
  readonly fuse?: Section;
  /** Kept, to start a second appliance on what the first one has left. */
  readonly dir?: string;
}

export const VOLUME = 'disk';

/** The room that an appliance has where its configuration does not tell: that of tests is too small for a disk in use. */
const DEFAULT_CACHE: Section = { size: '10GiB', logSize: '1GiB' };

/** `upload` for a volume that is to be left alone: nothing is uploaded unless it is asked for. */
export const NO_UPLOAD: Section = { age: '1h', dirty: '64GiB' };

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

/** Starts an appliance with one volume, `disk`. */
export function serveVolume(bench: Bench, options: VolumeOptions): Promise<Appliance> {
  const { bucket, prefix, volume, cache = {}, upload, fuse, dir } = options;
  return startAppliance({
    lifetime: bench.lifetime,
    env: bench.env,
    config: {
      store: bucket.section,
      cache: { ...DEFAULT_CACHE, ...cache },
      ...(upload === undefined ? {} : { upload }),
      ...(fuse === undefined ? {} : { fuse }),
      // Lines for every request would be measured too.
      log: { level: 'info' },
      volumes: { [VOLUME]: { keyPrefix: prefix, ...volume } },
    },
    ...(dir === undefined ? {} : { dir }),
  });
}

/** What `bucketdisk status --json` says of it. */
export async function statusOf(bench: Bench, appliance: Appliance): Promise<ApplianceStatus> {
  return JSON.parse(await command(bench, appliance, ['status', '--json'])) as ApplianceStatus;
}

/**
 * Uploads everything written, so that nothing is in the log and all of it in the read cache.
 * @throws Error where fewer than `bytes` are cached then
 */
export async function uploadAll(bench: Bench, appliance: Appliance, bytes: number): Promise<void> {
  bench.say('uploading what was written');
  await command(bench, appliance, ['flush', VOLUME]);
  const cache = (await statusOf(bench, appliance)).volumes[0]?.cache;
  if (cache?.dirtyBytes === 0 && cache.cachedBytes >= bytes) return;
  throw new Error(`${cache?.dirtyBytes} bytes are not uploaded and ${cache?.cachedBytes} of ${bytes} are cached`);
}

function command({ lifetime }: Bench, { configFile }: Appliance, words: readonly string[]): Promise<string> {
  return runProgram(lifetime, process.execPath, [MAIN, ...words, '--config', configFile]);
}
