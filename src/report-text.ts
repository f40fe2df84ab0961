/** The state of an appliance in a sentence: what the job `report` tells. */
import type { ApplianceStatus } from './cli/actions.ts';
import { approximateDuration, approximateSize } from './lib/units.ts';

export function reportText({ volumes, store, uptimeMs, connections, jobs }: ApplianceStatus): string {
  const serving = volumes.filter(({ state }) => state === 'serving').length;
  const sum = (of: (cache: NonNullable<(typeof volumes)[number]['cache']>) => number): number =>
    volumes.reduce((total, { cache }) => total + (cache === null ? 0 : of(cache)), 0);
  const dirtyBytes = sum((cache) => cache.dirtyBytes);
  const oldestMs = volumes.reduce((oldest, { cache }) => Math.max(oldest, cache?.oldestDirtyMs ?? 0), 0);
  const damagedPages = sum((cache) => cache.damagedPages);
  const scan = jobs.find(({ name }) => name === 'scan')?.lastRun ?? null;
  const parts = [
    `${serving} of ${volumes.length} volumes served to ${connections.length} clients`,
    dirtyBytes === 0
      ? 'everything is uploaded'
      : `${approximateSize(dirtyBytes)} not uploaded, for up to ${approximateDuration(oldestMs)}`,
    `${approximateSize(store.metrics.bytesUp ?? 0)} up and ${approximateSize(store.metrics.bytesDown ?? 0)} down in ${approximateDuration(uptimeMs ?? 0)}`,
    store.health === 'failing'
      ? `the bucket is failing: ${store.error ?? 'no reason known'}`
      : `bucket ${store.health}`,
    ...(damagedPages === 0 ? [] : [`${damagedPages} pages damaged on the cache disk`]),
    ...(scan === null ? [] : [`last scan at ${scan.startedAt}: ${scan.detail ?? scan.result}`]),
  ];
  return parts.join('; ');
}
