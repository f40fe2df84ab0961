/** Scanning for a command: by the appliance that serves the volume, or in this process. */
import type { CommandContext, ScanActionOptions } from './cli/actions.ts';
import type { VolumeSettings } from './config/settings.ts';
import type { Clock } from './lib/clock.ts';
import type { Disk } from './lib/disk.ts';
import { StorageError } from './lib/errors.ts';
import type { ScanProgress, ScanReport } from './scan/scan-report.ts';
import { ScanState } from './scan/scan-state.ts';
import { scanVolume } from './scan/scan-volume.ts';
import type { Stores } from './stores.ts';
import type { Claimant } from './volume/claim.ts';
import { openVolume } from './volume/open-volume.ts';

interface ScanAnswer {
  readonly id: string;
  readonly progress: ScanProgress | null;
  readonly report: ScanReport | null;
}

/** `ask`: a POST to the appliance; null where it has gone. `cancel`: the same, also when the user wants out. */
export async function scanServed(
  name: string,
  { onProgress, ...options }: ScanActionOptions,
  ask: (path: string, body: object) => Promise<unknown>,
  cancel: (path: string, body: object) => Promise<unknown>,
): Promise<ScanReport> {
  let id: string | null = null;
  try {
    for (;;) {
      const answer = (await ask('/v1/scan', { name, id, ...options })) as ScanAnswer | null;
      if (answer === null) throw new StorageError('UNAVAILABLE', 'the appliance has stopped');
      id = answer.id;
      if (answer.report !== null) return answer.report;
      if (answer.progress !== null) tell(answer.progress, onProgress);
    }
  } catch (error) {
    // Where it does not hear of that, it notices by itself that nobody asks any more.
    if (id !== null) await cancel('/v1/scan/cancel', { name, id }).catch(() => {});
    throw error;
  }
}

export interface AloneParts {
  readonly volume: VolumeSettings;
  readonly stores: Stores;
  readonly claimant: Claimant;
  /** Nobody else uses the directory: how far the checks have come is kept there. */
  readonly held: boolean;
  /** An appliance has left a cache of the volume, ours alone. */
  readonly hasCache: boolean;
  readonly disk: Disk;
  readonly clock: Clock;
}

/** Without `repair` nothing is written, and no lease is taken: somebody else may be serving the volume. */
export async function scanAlone(
  { settings, log, signal }: CommandContext,
  { onProgress, ...options }: ScanActionOptions,
  { volume, stores, claimant, held, hasCache, disk, clock }: AloneParts,
): Promise<ScanReport> {
  const readOnly = volume.readOnly || !options.repair;
  const cached = hasCache && !readOnly;
  const found = await stores.environment({ ...volume, readOnly }, claimant, { cached });
  const opened = await openVolume(found.options, found.environment, {
    ...{ create: null, takeOver: false, signal, onLost: ({ message }) => log.error(message) },
  });
  try {
    const directory = `${settings.cache.dir}/scans`;
    const state = new ScanState(held ? disk : null, directory, volume.name, opened.record.volumeId, log);
    return await scanVolume(options, {
      ...{ volume: opened, by: readOnly ? 'alone' : 'appliance', state, mounted: null, clock, log, signal },
      isBusy: () => false,
      onProgress: (progress) => tell(progress, onProgress),
    });
  } finally {
    await opened.close(signal);
  }
}

function tell({ phase, done, total, findings }: ScanProgress, onProgress: ScanActionOptions['onProgress']): void {
  const unit = phase === 'listing' ? 'keys' : phase === 'cache' ? 'bytes of the cache' : 'blocks';
  const note = findings === 0 ? {} : { note: `${findings} ${findings === 1 ? 'finding' : 'findings'}` };
  onProgress({ unit, done, total, ...note });
}
