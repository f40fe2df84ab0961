/** The filesystems of an appliance: which volumes are mounted where, from asking for it until they are taken down. */
import { join } from 'node:path';
import type { MountOptions, MountOutcome, UnmountOptions } from './cli/actions.ts';
import type { FuseServer } from './fuse/server.ts';
import { MountRecords } from './host/mount-records.ts';
import { type Host, reclaimMounts, VolumeMount } from './host/volume-mount.ts';
import type { Clock } from './lib/clock.ts';
import { withDeadline } from './lib/deadline.ts';
import { describeError, isStorageError, StorageError } from './lib/errors.ts';
import type { Log } from './lib/log.ts';
import { readMountTable, topMountAt } from './lib/mount-table.ts';
import { runProgram } from './lib/run-program.ts';
import { bootId } from './lib/state-dir.ts';
import type { BlockDevice } from './volume/block-device.ts';

export interface MountServiceOptions {
  /** `cache.dir`: the records are kept there, and the volumes' files where `fuse.dir` is not set. */
  readonly stateDir: string;
  readonly fuseDir: string | null;
  readonly fuse: FuseServer;
  /** The open volume of that name. Throws NOT_FOUND or UNAVAILABLE. */
  readonly device: (name: string) => BlockDevice;
  readonly clock: Clock;
  readonly log: Log;
}

const LOOK_TIMEOUT_MS = 5_000;
/** So long `unmount` waits for a filesystem in use. */
const BUSY_TIMEOUT_MS = 10_000;

export class MountService {
  readonly #options: MountServiceOptions;
  readonly #host: Host;
  /** By the name of the volume. */
  readonly #mounts = new Map<string, VolumeMount>();
  /** One change at a time. */
  #turn: Promise<unknown> = Promise.resolve();
  #closing = false;

  constructor(options: MountServiceOptions) {
    const { stateDir, clock, log } = options;
    this.#options = options;
    this.#host = { records: new MountRecords(join(stateDir, 'mounts')), boot: bootId(), clock, log };
  }

  /** What a process before this one has left is taken away. To be called before the volumes' files are there again. */
  async reclaim(): Promise<void> {
    await reclaimMounts(this.#host);
  }

  /** HELD where the volume is mounted already; otherwise as `VolumeMount.up`. */
  mount(name: string, dir: string, { fs }: MountOptions, signal: AbortSignal): Promise<MountOutcome> {
    return this.#inTurn(async () => {
      const { device: find, fuse, fuseDir, stateDir } = this.#options;
      const device = find(name);
      const there = this.#mounts.get(name);
      if (there !== undefined)
        throw new StorageError('HELD', `volume ${name} is mounted on ${there.record.dir} already`);
      if (fuse.status() === null) await fuse.mount(fuseDir ?? join(stateDir, 'disks'), signal);
      const files = fuse.status();
      if (files?.mounted !== true) {
        throw new StorageError('UNAVAILABLE', 'the directory of the volumes was unmounted: start the appliance anew');
      }
      const { sizeBytes, readOnly } = device.geometry;
      const mount = await VolumeMount.up(
        {
          ...{ volume: name, file: join(files.dir, name), dir: await canonicalPath(dir), make: fs, readOnly, signal },
          isEmpty: async () => {
            const [first] = await device.extents(0, sizeBytes, 1);
            return first?.length === sizeBytes && first.hole && first.zero;
          },
        },
        this.#host,
      );
      this.#mounts.set(name, mount);
      this.#host.log.info('mounted', {
        volume: name,
        dir: mount.record.dir,
        device: mount.record.device,
        event: 'mounted',
      });
      return outcomeOf(mount);
    });
  }

  /** HELD where the filesystem is in use, unless `force`: then it is taken away lazily. */
  unmount(name: string, { force }: UnmountOptions): Promise<MountOutcome> {
    return this.#inTurn(async () => {
      const mount = this.#mounts.get(name);
      if (mount === undefined) throw new StorageError('NOT_FOUND', `volume ${name} is not mounted by this appliance`);
      const { clock, log } = this.#host;
      await withDeadline(clock, BUSY_TIMEOUT_MS, (until) => mount.down(until, { lazy: force }));
      this.#mounts.delete(name);
      log.info('unmounted', { volume: name, dir: mount.record.dir, event: 'unmounted' });
      return outcomeOf(mount);
    });
  }

  /** What is mounted where. */
  status(): MountOutcome[] {
    return [...this.#mounts.values()].map(outcomeOf);
  }

  /** What somebody else has unmounted, or mounted over. */
  lost(): MountOutcome[] {
    if (this.#mounts.size === 0) return [];
    const table = readMountTable();
    return this.status().filter(({ dir, device }) => topMountAt(table, dir)?.source !== device);
  }

  /** Takes everything down; what is still in use when `until` aborts, lazily. False where it came to that. */
  close(until: AbortSignal): Promise<boolean> {
    this.#closing = true;
    const down = async (): Promise<boolean> => {
      const all = [...this.#mounts.values()];
      this.#mounts.clear();
      const clean = await Promise.all(all.map((mount) => mount.down(until, { lazy: true })));
      return clean.every((value) => value);
    };
    const closed = this.#turn.then(down, down);
    this.#turn = closed;
    return closed;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const start = (): Promise<T> => {
      if (this.#closing) throw new StorageError('CANCELLED', 'the appliance is stopping');
      return work();
    };
    const done = this.#turn.then(start, start);
    this.#turn = done.catch(() => {});
    return done;
  }
}

/**
 * Who asked for a filesystem gets it also beside an appliance that has taken the addresses which both have by default: HELD is
 * told of, and gone on without.
 */
export function forTheMount(log: Log): (listening: Promise<unknown>) => Promise<void> {
  return async (listening) => {
    await listening.catch((error: unknown) => {
      if (!isStorageError(error, 'HELD')) throw error;
      log.warn(`${describeError(error)}: going on without it, for the sake of the mount`, { event: 'address-taken' });
    });
  };
}

function outcomeOf({ record }: VolumeMount): MountOutcome {
  return { name: record.volume, dir: record.dir, device: record.device };
}

/** By a program, which can be killed where a filesystem on the way does not answer. */
async function canonicalPath(dir: string): Promise<string> {
  const { code, stdout, stderr } = await runProgram('realpath', ['-m', '--', dir], { timeoutMs: LOOK_TIMEOUT_MS });
  if (code !== 0) throw new StorageError('INVALID', `cannot mount on ${dir}: ${stderr}`);
  return stdout.replace(/\n$/, '');
}
