/** All metrics of an appliance, in Prometheus's text format. */
import { collectDefaultMetrics, Registry } from 'prom-client';
import { APPLIANCE_FAMILIES, JOB_FAMILIES } from './appliance-families.ts';
import { type Family, register } from './family.ts';
import { FUSE_FAMILIES, NBD_FAMILIES } from './front-families.ts';
import type { Reading } from './sources.ts';
import { STORE_FAMILIES } from './store-families.ts';
import { CACHE_FAMILIES, VOLUME_FAMILIES } from './volume-families.ts';

/** In the order they are told, under headings for people. */
export const METRIC_GROUPS: Readonly<Record<string, readonly Family<Reading>[]>> = {
  Appliance: APPLIANCE_FAMILIES,
  Volumes: VOLUME_FAMILIES,
  'Cache and uploads': CACHE_FAMILIES,
  Bucket: STORE_FAMILIES,
  NBD: NBD_FAMILIES,
  FUSE: FUSE_FAMILIES,
  'Scheduled jobs': JOB_FAMILIES,
};

/** Gauges of prom-client whose names say that they are counters: promtool complains, and the sums are in others. */
const MISNAMED = ['nodejs_active_resources_total', 'nodejs_active_handles_total', 'nodejs_active_requests_total'];

export class Metrics {
  readonly #registry: Registry;

  /** `read` is asked once for each text. It must answer from memory. */
  constructor(read: () => Reading) {
    this.#registry = new Registry();
    // All families of one text are read in one turn, and are of one moment.
    let reading: Reading | null = null;
    const once = (): Reading => {
      if (reading === null) {
        reading = read();
        queueMicrotask(() => {
          reading = null;
        });
      }
      return reading;
    };
    for (const family of Object.values(METRIC_GROUPS).flat()) register(this.#registry, family, once);
    addProcessMetrics(this.#registry);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }
}

/** The process and Node, the lag of the event loop among them, as prom-client has them. */
export function addProcessMetrics(registry: Registry): void {
  collectDefaultMetrics({ register: registry });
  for (const name of MISNAMED) registry.removeSingleMetric(name);
}
