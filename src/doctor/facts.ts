/** What the doctor is told of the appliance: what is configured, and what one that runs says of itself. */
import type { Settings } from '../config/settings.ts';

export interface VolumeFacts {
  readonly name: string;
  readonly state: string;
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly sizeBytes: number | null;
  readonly readOnly: boolean;
  readonly sharedDisk: boolean;
  readonly lease: {
    readonly holder: string;
    readonly state: 'held' | 'left' | 'other' | 'expired' | 'token';
    readonly renewedAgoMs: number | null;
  } | null;
  readonly cache: {
    readonly dirtyBytes: number;
    readonly damagedPages: number;
    readonly logError: string | null;
    readonly uploadError: { readonly code: string; readonly message: string } | null;
  } | null;
}

export interface RunningFacts {
  readonly pid: number | null;
  readonly nbd: readonly string[];
  readonly fuse: { readonly dir: string } | null;
  readonly mounts: readonly { readonly dir: string; readonly device: string }[];
  readonly volumes: readonly VolumeFacts[];
}

export interface Facts {
  readonly settings: Settings;
  /** The appliance that uses `cache.dir`; null where none answers. */
  readonly running: RunningFacts | null;
}

/** Volumes with a write log in `cache.dir`. */
export function cachedVolumes({ settings }: Pick<Facts, 'settings'>): string[] {
  if (settings.cache.sizeBytes === 0) return [];
  return Object.values(settings.volumes)
    .filter(({ readOnly, sharedDisk }) => !readOnly && !sharedDisk)
    .map(({ name }) => name);
}
