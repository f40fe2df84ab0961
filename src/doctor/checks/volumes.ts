/** Checks of each volume: whether it is there, what its cache says, and who holds its lease. */
import { approximateDuration, approximateSize } from '../../lib/units.ts';
import type { VolumeFacts } from '../facts.ts';
import { fail, ok, type Result, warn } from '../finding.ts';

/** `volumes`: those that could be looked at; `configured`: all. */
export function volumeResults(
  volumes: readonly VolumeFacts[],
  configured: readonly string[],
  running: boolean,
): Result[] {
  if (configured.length === 0)
    return [warn('no volume is configured', 'add one to volumes, such as { media: { size: "1TiB" } }')];
  const results = volumes.flatMap((volume) => [stateResult(volume, running), ...cacheResults(volume)]);
  if (!running) return results;
  const unknown = configured.filter((name) => !volumes.some((volume) => volume.name === name));
  return [
    ...results,
    ...unknown.map((name) =>
      warn(`${name} is configured, and the running appliance does not know it`, 'restart the appliance'),
    ),
  ];
}

function stateResult({ name, state, error, sizeBytes }: VolumeFacts, running: boolean): Result {
  if (error !== null) {
    const remedy = running
      ? 'correct what the message names and restart the appliance'
      : 'correct what the message names';
    return fail(`${name}: ${error.code}: ${error.message}`, remedy);
  }
  if (state === 'absent') {
    return ok(`${name} is not in the bucket yet: it is made at the first start, or by "bucketdisk create ${name}"`);
  }
  if (running && state !== 'serving')
    return warn(`${name} is not being served (${state})`, 'see the log of the appliance');
  const size = sizeBytes === null ? 'of unknown size' : approximateSize(sizeBytes);
  return ok(`${name}, ${size}${running ? ', is being served' : ''}`);
}

function cacheResults({ name, cache }: VolumeFacts): Result[] {
  if (cache === null) return [];
  const results: Result[] = [];
  if (cache.logError !== null) {
    results.push(
      fail(
        `${name}: the write log cannot be made durable: ${cache.logError}`,
        'look at the disk of cache.dir and the kernel log (dmesg)',
      ),
    );
  }
  if (cache.damagedPages > 0) {
    results.push(
      fail(
        `${name}: ${cache.damagedPages} pages were damaged on the cache disk and cannot be read`,
        'restore what is on them from elsewhere, and replace the disk',
      ),
    );
  }
  if (cache.uploadError !== null) {
    const { code, message } = cache.uploadError;
    const dirty = approximateSize(cache.dirtyBytes);
    results.push(
      fail(
        `${name}: ${dirty} cannot be uploaded: ${code}: ${message}`,
        'correct what the message names: the data is safe in the cache until then',
      ),
    );
  }
  return results;
}

/** Who holds what, and what to do where it is somebody else. */
export function leaseResults(volumes: readonly VolumeFacts[]): Result[] {
  const results = volumes.map(leaseResult).filter((result) => result !== null);
  return results.length > 0 ? results : [ok('nobody holds a volume')];
}

function leaseResult({ name, lease, readOnly, sharedDisk }: VolumeFacts): Result | null {
  if (readOnly || sharedDisk) return ok(`${name} takes no lease (${readOnly ? 'read-only' : 'shared disk'})`);
  if (lease === null) return null;
  const { holder, state, renewedAgoMs } = lease;
  const renewed = renewedAgoMs === null ? '' : `, renewed ${approximateDuration(renewedAgoMs)} ago`;
  switch (state) {
    case 'held':
      return ok(`${name} is held by the running appliance, ${holder}${renewed}`);
    case 'left':
      return ok(`${name} was left by ${holder}, which ended without giving it back: the next start takes it`);
    case 'other':
      return warn(
        `${name} is held by another appliance, ${holder}${renewed}`,
        `stop that one; where it is surely gone, wait for the lease to lapse, or "bucketdisk serve --take-over ${name}"`,
      );
    case 'expired':
      return ok(`${name} was held by ${holder}${renewed}: the lease has lapsed, and is taken at the next start`);
    case 'token':
      return warn(
        `${name} bears the token of ${holder}: s3backer, or an appliance without conditional puts, may have it open`,
        `make sure that nobody has it open, then "bucketdisk serve --take-over ${name}"`,
      );
  }
}
