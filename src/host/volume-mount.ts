/** A volume's file, attached and mounted: up step by step, down in the opposite order, and away again after a crash. */
import type { Clock } from '../lib/clock.ts';
import { describeError, StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { type AttachedRecord, attach, cut, detach, isAttached, isHeld } from './attachment.ts';
import { type FilesystemType, filesystemOn, makeFilesystem } from './filesystem.ts';
import { mountFilesystem, type UnmountRequest, unmountFilesystem, waitForRelease } from './filesystem-mount.ts';
import type { MountRecord, MountRecords, Via } from './mount-records.ts';
import { NbdGuard } from './nbd-guard.ts';

export interface Host {
  readonly records: MountRecords;
  /** Identity of this boot of this kernel. */
  readonly boot: string;
  readonly clock: Clock;
  readonly log: Log;
}

export interface VolumeMountOptions {
  readonly volume: string;
  readonly via: Via;
  /** The volume as a file, or the socket it is served on. */
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
  readonly record: AttachedRecord;
  readonly #guard: NbdGuard | null;
  readonly #host: Host;

  private constructor(record: AttachedRecord, guard: NbdGuard | null, host: Host) {
    this.record = record;
    this.#guard = guard;
    this.#host = host;
  }

  /**
   * Attaches, makes a filesystem where that is asked for and there is nothing, and mounts. When it rejects, nothing is left in
   * place. INVALID where there is no filesystem and none is to be made, or something that is not to be overwritten.
   */
  static async up(options: VolumeMountOptions, host: Host): Promise<VolumeMount> {
    const { volume, via, file, dir, readOnly, signal } = options;
    const { records, boot } = host;
    const cancel = signal === undefined ? {} : { signal };
    let planned: AttachedRecord | null = null;
    let guard: NbdGuard | null = null;
    try {
      const plan: MountRecord = { volume, dir, via, file, device: null, pid: null, sequence: null, boot };
      const onTry = (next: AttachedRecord): void => {
        planned = next;
        records.write(next);
      };
      const record = await attach(plan, { readOnly, ...cancel, onTry });
      onTry(record);
      const { device } = record;
      if (via === 'nbd') guard = NbdGuard.start(device);
      const type = await ensureFilesystem(device, options, host);
      await mountFilesystem({ device, dir, type, readOnly, ...cancel });
      return new VolumeMount(record, guard, host);
    } catch (error) {
      if (planned === null) records.remove(volume);
      else {
        await giveBack(planned, guard, host, { until: AbortSignal.abort(), lazy: true });
        forget(planned, host);
      }
      throw error instanceof StorageError ? error : new StorageError('INVALID', describeError(error), { cause: error });
    }
  }

  /** Whether the device is still the one that was attached. */
  get isAttached(): boolean {
    return isAttached(this.record);
  }

  /**
   * Unmounts and detaches. While the filesystem is in use it waits until `until` aborts, and then takes it away lazily. False
   * where it came to that, where not everything was written when `giveUp` aborted, or where the device is still held. With
   * `lazy` false it rejects with HELD instead, and stays.
   */
  async down(until: AbortSignal, options: { readonly lazy: boolean; readonly giveUp?: AbortSignal }): Promise<boolean> {
    const clean = await giveBack(this.record, this.#guard, this.#host, { ...options, until });
    forget(this.record, this.#host);
    return clean;
  }
}

/**
 * Takes away what a process that died has left in place: what the records name, and of that only what is still as it was put
 * there. To be called before the volumes are served anew. Returns what was taken away. `only`: of that volume.
 */
export async function reclaimMounts(host: Host, only?: string): Promise<AttachedRecord[]> {
  const { records, boot, log } = host;
  const reclaimed: AttachedRecord[] = [];
  for (const record of records.list().filter((one) => only === undefined || one.volume === only)) {
    const { volume, dir, device } = record;
    if (record.boot === boot && isAttached(record)) {
      log.warn('a mount that a process has left is taken away', { volume, dir, device, event: 'mount-stale' });
      await cut(record).catch((error: unknown) => {
        log.warn('the device is not cut off', { volume, device, error: describeError(error) });
      });
      // Nothing more can be written to it: there is nothing to wait for.
      const now = AbortSignal.abort();
      await giveBack(record, null, host, { until: now, giveUp: now, lazy: true }, true);
      reclaimed.push(record);
    }
    forget(record, host);
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
    throw new StorageError(
      'INVALID',
      `volume ${volume} holds something that blkid does not know: it is left alone. Where nothing of it is wanted, make the filesystem by hand (docs/MOUNT.md)`,
    );
  }
  host.log.info('making a filesystem on the empty volume', { volume, type: make });
  await makeFilesystem(make, device, signal);
  return make;
}

/** What could not be detached is for a later process to take away. A record that stays does no harm: it is of nothing that is there. */
function forget(record: MountRecord, { records, boot, log }: Host): void {
  if (record.boot === boot && isAttached(record)) return;
  try {
    records.remove(record.volume);
  } catch (error) {
    log.warn('what was mounted stays written down', { volume: record.volume, error: describeError(error) });
  }
}

/** Whatever became of one step, the next one is tried. */
async function giveBack(
  record: AttachedRecord,
  guard: NbdGuard | null,
  { clock, log }: Host,
  options: Omit<UnmountRequest, 'clock' | 'log'>,
  isOurs = isAttached(record),
): Promise<boolean> {
  const { volume, dir, device } = record;
  const request = { ...options, clock, log };
  // What is not as it was put there is left alone: on a device of that name there may be somebody else's filesystem by now.
  let clean = !isOurs || (await unmountFilesystem(device, dir, request));
  const isUsed = (): boolean => isAttached(record) && isHeld(device);
  if (isUsed()) {
    if (!options.lazy) {
      throw new StorageError('HELD', `${device} is still in use by a filesystem: try again later`);
    }
    clean = (await waitForRelease(device, isUsed, request)) && clean;
  }
  await guard?.stop(clock);
  if (isAttached(record)) {
    await detach(record, clock).catch((error: unknown) => {
      clean = false;
      log.warn('the device is not detached', { volume, device, error: describeError(error) });
    });
    // A mount(8) that was given up may have come to its end only now.
    if (isAttached(record)) await unmountFilesystem(device, dir, request);
  }
  return clean;
}
