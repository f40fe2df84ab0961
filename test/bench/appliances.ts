/** A volume of ours, served by a whole appliance, as a user would run it. */

import type { TestBucket } from '../interop/support/buckets.ts';
import { type Appliance, startAppliance } from '../support/appliance.ts';
import type { Bench } from './scenario.ts';

type Section = Readonly<Record<string, unknown>>;

export interface VolumeOptions {
  readonly bucket: TestBucket;
  /** All keys of the volume begin with it. */
  readonly prefix: string;
  /** `size`, `blockSize`, `durability` ... as in a configuration file. */
  readonly volume: Section;
  readonly cache?: Section;
  /** Kept, to start a second appliance on what the first one has left. */
  readonly dir?: string;
}

export const VOLUME = 'disk';

/** Starts an appliance with one volume, `disk`. */
export function serveVolume(bench: Bench, options: VolumeOptions): Promise<Appliance> {
  const { bucket, prefix, volume, cache = {}, dir } = options;
  return startAppliance({
    lifetime: bench.lifetime,
    env: bench.env,
    config: {
      store: bucket.section,
      cache,
      // Lines for every request would be measured too.
      log: { level: 'info' },
      volumes: { [VOLUME]: { keyPrefix: prefix, ...volume } },
    },
    ...(dir === undefined ? {} : { dir }),
  });
}
