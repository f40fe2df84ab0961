/** What the buckets say of volumes while no appliance serves them. */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { VolumeStatus } from './cli/actions.ts';
import type { Settings, VolumeSettings } from './config/settings.ts';
import { isStorageError } from './lib/errors.ts';
import { StateDir } from './lib/state-dir.ts';
import type { Stores } from './stores.ts';
import { idleVolumeStatus, missingVolumeStatus } from './volume-status.ts';

/** The settings for somebody who waits for the answer: a bucket that is down is told of after `deadlineMs` at the latest. */
export function hasty(settings: Settings, deadlineMs: number): Settings {
  const { store } = settings;
  const retryDeadlineMs = Math.min(store.retryDeadlineMs, deadlineMs);
  const requestTimeoutMs = Math.min(store.requestTimeoutMs, deadlineMs);
  return { ...settings, store: { ...store, retryDeadlineMs, requestTimeoutMs } };
}

/** Why a volume cannot be looked at is in its status. `cacheDir`: of the appliance that would serve it, and does not run. */
export async function lookAtVolume(
  volume: VolumeSettings,
  cacheDir: string,
  stores: Stores,
  signal: AbortSignal,
): Promise<VolumeStatus> {
  try {
    const stranger = { instance: randomUUID(), host: hostname(), pid: process.pid };
    const { options, environment } = await stores.environment(volume, stranger, { cached: false });
    return await idleVolumeStatus(volume, options, environment.store, StateDir.instanceAt(cacheDir), signal);
  } catch (error) {
    if (!isStorageError(error)) throw error;
    return missingVolumeStatus(volume, stores.locate(volume).url, 'failed', error);
  }
}
