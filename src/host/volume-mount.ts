/** A volume's file, attached and mounted: up step by step, down in the opposite order, and away again after a crash. */
import type { Clock } from '../lib/clock.ts';
import { describeError, StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { type FilesystemType, filesystemOn, makeFilesystem } from './filesystem.ts';
import { mountFilesystem, unmountFilesystem } from './filesystem-mount.ts';
import { attachLoop, detachLoop, loopFile, loopSequence } from './loop-device.ts';
import type { MountRecord, MountRecords } from './mount-records.ts';

export interface Host {
  readonly records: MountRecords;
  /** Identity of this boot of this kernel. */
  readonly boot: string;
  readonly clock: Clock;
  readonly log: Log;
}

export interface VolumeMountOptions {
  readonly volume: string;
  /** The volume as a file. */
  readonly file: string;
  /** An absolute path without symbolic links. */
  readonly dir: string;
  /** The filesystem to make where the volume is empty; null: none is made. */
  readonly make: FilesystemType | null;
  readonly readOnly: boolean;
  /** Whether nothing at all has been written to the volume, by what the volume itself knows. */
  readonly isEmpty: () => Promise<boolean>;
  readonly signal?: AbortSignal;
}

export class VolumeMount {
  readonly record: MountRecord & { readonly device: string };
  readonly #host: Host;

  private constructor(record: MountRecord & { readonly device: string }, host: Host) {
    this.record = record;
    this.#host = host;
  }

  /**
   * Attaches, makes a filesystem where that is asked for and there is nothing, and mounts. When it rejects, nothing is left in
   * place. INVALID where there is no filesystem and none is to be made, or something that is not to be overwritten.
   */
  static async up(options: VolumeMountOptions, host: Host): Promise<VolumeMount> {
    const { volume, file, dir, readOnly, signal } = options;
    const { records, boot } = host;
    const planned: MountRecord = { volume, dir, file, device: null, sequence: null, boot };
    records.write(planned);
    let device: string | null = null;
    try {
      device = await attachLoop(file, signal === undefined ? { readOnly } : { readOnly, signal });
      const record = { ...planned, device, sequence: loopSequence(device) };
      records.write(record);
      const type = await ensureFilesystem(device, options, host);
      await mountFilesystem({ device, dir, type, readOnly, ...(signal === undefined ? {} : { signal }) });
      return new VolumeMount(record, host);
    } catch (error) {
      if (device !== null) await giveBack({ ...planned, device }, host, AbortSignal.abort());
      records.remove(volume);
      throw error instanceof StorageError ? error : new StorageError('INVALID', describeError(error), { cause: error });
    }
  }

  /**
   * Unmounts and detaches. While the filesystem is in use it waits until `until` aborts, and then takes it away lazily. False
   * where it came to that, or where the device is still held. With `lazy` false it rejects with HELD instead, and stays.
   */
  async down(until: AbortSignal, { lazy }: { readonly lazy: boolean }): Promise<boolean> {
    const clean = await giveBack(this.record, this.#host, until, lazy);
    this.#host.records.remove(this.record.volume);
    return clean;
  }
}

/**
 * Takes away what a process that died has left in place: what the records name, and of that only what is still as it was put
 * there. To be called before the volumes' files are mounted anew. Returns what was taken away.
 */
export async function reclaimMounts(host: Host): Promise<MountRecord[]> {
  const reclaimed: MountRecord[] = [];
  for (const record of host.records.list()) {
    const { volume, dir, device } = record;
    const stale = record.boot === host.boot && device !== null && isStillAttached({ ...record, device });
    if (stale) {
      host.log.warn('a mount that a process has left is taken away', { volume, dir, device, event: 'mount-stale' });
      // Nothing more can be written to it: there is nothing to wait for.
      await giveBack({ ...record, device }, host, AbortSignal.abort());
      reclaimed.push(record);
    }
    host.records.remove(volume);
  }
  return reclaimed;
}

async function ensureFilesystem(device: string, options: VolumeMountOptions, host: Host): Promise<string> {
  const { volume, make, readOnly, isEmpty, signal } = options;
  const found = await filesystemOn(device, signal);
  if (found !== null) {
    if (make !== null && make !== found) {
      throw new StorageError('INVALID', `volume ${volume} has ${found} on it, not ${make}: it is left alone`);
    }
    return found;
  }
  if (make === null || readOnly) {
    throw new StorageError(
      'INVALID',
      `volume ${volume} has no filesystem: say which to make with --fs, or make it by hand`,
    );
  }
  if (!(await isEmpty())) {
    throw new StorageError('INVALID', `volume ${volume} holds something that blkid does not know: it is left alone`);
  }
  host.log.info('making a filesystem on the empty volume', { volume, type: make });
  await makeFilesystem(make, device, signal);
  return make;
}

/** Whether the device carries what the record says, and not what somebody has attached since. */
function isStillAttached({ device, sequence, file }: MountRecord & { readonly device: string }): boolean {
  return sequence === null ? loopFile(device) === file : loopSequence(device) === sequence;
}

/** Whatever became of one step, the next one is tried. */
async function giveBack(
  record: MountRecord & { readonly device: string },
  { clock, log }: Host,
  until: AbortSignal,
  lazy = true,
): Promise<boolean> {
  const { volume, dir, device } = record;
  let clean = await unmountFilesystem(device, dir, { clock, log, until, lazy });
  if (isStillAttached(record)) {
    await detachLoop(device, clock).catch((error: unknown) => {
      clean = false;
      log.warn('the device is not detached', { volume, device, error: describeError(error) });
    });
  }
  return clean;
}
