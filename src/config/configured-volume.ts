/** A volume by the name that somebody gave. */
import { StorageError } from '../lib/errors.ts';
import type { Settings, VolumeSettings } from './settings.ts';

/** Throws NOT_FOUND with the names that there are. */
export function configuredVolume({ volumes }: Settings, name: string): VolumeSettings {
  const volume = Object.hasOwn(volumes, name) ? volumes[name] : undefined;
  if (volume !== undefined) return volume;
  const names = Object.keys(volumes).join(', ');
  throw new StorageError(
    'NOT_FOUND',
    `volume "${name}" is not configured (${names === '' ? 'none is' : `configured: ${names}`})`,
  );
}
