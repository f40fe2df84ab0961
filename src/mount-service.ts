/** The filesystems of an appliance: which volumes are mounted where, from asking for it until they are taken down. */
import { join } from 'node:path';
import type { MountOptions, MountOutcome, MountVia, UnmountOptions, UnmountOutcome } from './cli/actions.ts';
import { MountPoint } from './fuse/mount-point.ts';
import type { FuseServer } from './fuse/server.ts';
import { isAttached } from './host/attachment.ts';
import { writableLoopsOn } from './host/loop-device.ts';
import { MountRecords, type Via } from './host/mount-records.ts';
import { nbdProblem } from './host/nbd-device.ts';
import { type Host, reclaimMounts, VolumeMount } from './host/volume-mount.ts';
import type { Clock } from './lib/clock.ts';
import { withDeadline } from './lib/deadline.ts';
import { describeError, isStorageError, StorageError } from './lib/errors.ts';
import type { Log } from './lib/log.ts';
import { readMountTable, topMountAt } from './lib/mount-table.ts';
import { runProgram } from './lib/run-program.ts';
import { bootId, type StateDir } from './lib/state-dir.ts';
import type { BlockDevice } from './volume/block-device.ts';
import { isEmpty } from './volume/is-empty.ts';

export interface MountServiceOptions {
  /** `cache.dir`: the records are kept there, and the volumes' files where `fuse.dir` is not set. */
  readonly stateDir: string;
  readonly fuseDir: string | null;
  readonly fuse: FuseServer;
  /** Has every volume served on a unix socket at that path, to nobody but the kernel. Rejects where that cannot be. */
  readonly serveOn: (path: string) => Promise<void>;
  /** The open volume of that name, to be attached. Throws NOT_FOUND or UNAVAILABLE, or HELD where it may not be at the moment. */
  readonly device: (name: string) => BlockDevice;
  readonly clock: Clock;
  readonly log: Log;
}

export type MountRequest = MountOptions & { readonly name: string; readonly dir: string };

const LOOK_TIMEOUT_MS = 5_000;
/** In `cache.dir`: where the kernel's NBD client is attached. */
const SOCKET_NAME = 'kernel.sock';
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
  /** Aborts when there is no time left for what was begun before the stop. */
  readonly #hurry = new AbortController();
  #socketServed = false;

  constructor(options: MountServiceOptions) {
    this.#options = options;
    this.#host = mountHost(options.stateDir, options.clock, options.log);
  }

  /** What a process before this one has left is taken away. To be called before the volumes' files are there again. */
  async reclaim(): Promise<void> {
    await reclaimMounts(this.#host);
    await this.#options.fuse.reclaim();
  }

  /** HELD where the volume is mounted already, or another one there; UNSUPPORTED where it cannot be attached that way; otherwise as `VolumeMount.up`. */
  mount({ name, dir, fs, via }: MountRequest, signal: AbortSignal): Promise<MountOutcome> {
    return this.#inTurn(async () => {
      this.#options.device(name);
      const there = this.#mounts.get(name);
      if (there !== undefined)
        throw new StorageError('HELD', `volume ${name} is mounted on ${there.record.dir} already`);
      this.#checkUnused(name);
      const path = await canonicalPath(dir);
      this.#refuseHiding(path, name);
      const mount = await this.#attachedBy(via, (chosen) => this.#up(name, path, fs, chosen, signal));
      this.#mounts.set(name, mount);
      const { device } = mount.record;
      this.#host.log.info('mounted', { volume: name, dir: path, device, via: mount.record.via, event: 'mounted' });
      return outcomeOf(mount);
    });
  }

  /** HELD where the filesystem is in use, unless `force`: then it is taken away lazily. */
  unmount({ name, force }: UnmountOptions & { readonly name: string }): Promise<UnmountOutcome> {
    return this.#inTurn(async () => {
      const mount = this.#mounts.get(name);
      if (mount === undefined) throw new StorageError('NOT_FOUND', `volume ${name} is not mounted by this appliance`);
      const { clock, log } = this.#host;
      await withDeadline(clock, BUSY_TIMEOUT_MS, (until) =>
        mount.down(until, { lazy: force, giveUp: this.#hurry.signal }),
      );
      this.#mounts.delete(name);
      log.info('unmounted', { volume: name, dir: mount.record.dir, event: 'unmounted' });
      return { ...outcomeOf(mount), detached: !mount.isAttached };
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
    const isThere = ({ isAttached, record: { dir, device } }: VolumeMount): boolean =>
      isAttached && topMountAt(table, dir)?.source === device;
    return [...this.#mounts.values()].filter((mount) => !isThere(mount)).map(outcomeOf);
  }

  /** Takes everything down; what is still in use when `until` aborts, lazily. False where it came to that. */
  close(until: AbortSignal): Promise<boolean> {
    this.#closing = true;
    const hurry = (): void => this.#hurry.abort();
    if (until.aborted) hurry();
    else until.addEventListener('abort', hurry, { once: true });
    const down = async (): Promise<boolean> => {
      const all = [...this.#mounts.values()];
      this.#mounts.clear();
      // Whatever becomes of one, the others have their time, and so have the volumes after them.
      const failed = (error: unknown): boolean => {
        this.#host.log.error('a mount could not be taken away', { error: describeError(error) });
        return false;
      };
      const clean = await Promise.all(
        all.map((mount) => mount.down(until, { lazy: true, giveUp: until }).catch(failed)),
      );
      return clean.every((value) => value);
    };
    const closed = this.#turn.then(down, down);
    this.#turn = closed;
    return closed;
  }

  /** One volume over another would hide it, and it could not be taken down before that one. */
  #refuseHiding(path: string, name: string): void {
    const device = topMountAt(readMountTable(), path)?.source;
    const there = this.status().find((mount) => mount.dir === path && mount.device === device);
    if (there !== undefined) {
      throw new StorageError(
        'HELD',
        `volume ${there.name} is mounted on ${path}: choose another directory for ${name}, or unmount that one first`,
      );
    }
  }

  /**
   * A filesystem that was taken away while it was in use goes on writing until it is not, as does one that somebody has mounted by
   * hand: mounted a second time beside that, it would be destroyed.
   */
  #checkUnused(name: string): void {
    const files = this.#options.fuse.status();
    if (files?.mounted !== true) return;
    const [device] = writableLoopsOn(join(files.dir, name));
    if (device === undefined) return;
    throw new StorageError(
      'HELD',
      `volume ${name} is in use by ${device}: end what uses it, and detach it where it was attached by hand ("losetup -d ${device}")`,
    );
  }

  /** `auto`: the kernel's NBD client, and a loop device where there is none or it does not serve. */
  async #attachedBy(wanted: MountVia, up: (via: Via) => Promise<VolumeMount>): Promise<VolumeMount> {
    if (wanted !== 'auto') return up(wanted);
    const { log } = this.#host;
    const problem = await nbdProblem();
    if (problem !== null) {
      log.debug('attaching by FUSE and a loop device', { reason: problem });
      return up('fuse');
    }
    return up('nbd').catch((error: unknown) => {
      if (!isStorageError(error, 'UNSUPPORTED')) throw error;
      log.warn('attaching by FUSE and a loop device instead', { reason: describeError(error) });
      return up('fuse');
    });
  }

  async #up(name: string, dir: string, make: MountOptions['fs'], via: Via, signal: AbortSignal): Promise<VolumeMount> {
    const file = via === 'nbd' ? await this.#socket() : await this.#file(name, signal);
    const device = this.#options.device(name);
    const { readOnly } = device.geometry;
    const empty = (): Promise<boolean> => isEmpty(device, signal);
    const request = { volume: name, via, file, dir, make, readOnly, isEmpty: empty, signal };
    return VolumeMount.up(request, this.#host).catch((error: unknown) => {
      // Where it may not be attached by now, that is why, and better said than what the programs made of it.
      this.#options.device(name);
      throw error;
    });
  }

  async #socket(): Promise<string> {
    const path = join(this.#options.stateDir, SOCKET_NAME);
    if (!this.#socketServed) await this.#options.serveOn(path);
    this.#socketServed = true;
    return path;
  }

  /** The volume as a file: the directory of files is mounted with the first that is needed. */
  async #file(name: string, signal: AbortSignal): Promise<string> {
    const { fuse, fuseDir, stateDir } = this.#options;
    if (fuse.status() === null) await fuse.mount(fuseDir ?? join(stateDir, 'disks'), signal);
    const files = fuse.status();
    if (files?.mounted !== true) {
      throw new StorageError('UNAVAILABLE', 'the directory of the volumes was unmounted: start the appliance anew');
    }
    return join(files.dir, name);
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

/** Where the appliance with that `cache.dir` writes down what it mounts. */
function mountHost(stateDir: string, clock: Clock, log: Log): Host {
  return { records: new MountRecords(join(stateDir, 'mounts')), boot: bootId(), clock, log };
}

/** Takes away what an appliance with that `cache.dir`, held by this process, has left of the volume. NOT_FOUND where that is nothing. */
export async function unmountLeftover(
  stateDir: StateDir,
  name: string,
  clock: Clock,
  log: Log,
): Promise<UnmountOutcome> {
  const [left] = await reclaimMounts(mountHost(stateDir.path, clock, log), name);
  if (left === undefined) {
    throw new StorageError('NOT_FOUND', `no appliance runs with ${stateDir.path}, and none has left ${name} mounted`);
  }
  // The directory with the files has died with the process.
  await MountPoint.reclaim(stateDir.instance(), clock, log);
  return { name, dir: left.dir, device: left.device, via: left.via, detached: !isAttached(left) };
}

function outcomeOf({ record }: VolumeMount): MountOutcome {
  return { name: record.volume, dir: record.dir, device: record.device, via: record.via };
}

/** By programs, which can be killed where a filesystem on the way does not answer. INVALID where nothing can be mounted there. */
async function canonicalPath(dir: string): Promise<string> {
  const { code, stdout, stderr } = await runProgram('realpath', ['-m', '--', dir], { timeoutMs: LOOK_TIMEOUT_MS });
  if (code !== 0) throw new StorageError('INVALID', `cannot mount on ${dir}: ${stderr}`);
  const path = stdout.replace(/\n$/, '');
  if (path === '/') {
    throw new StorageError('INVALID', 'cannot mount on /, as that would hide all there is: name a directory below it');
  }
  const other = await runProgram('test', ['-e', path, '-a', '!', '-d', path], { timeoutMs: LOOK_TIMEOUT_MS });
  if (other.code === 0) throw new StorageError('INVALID', `cannot mount on ${path}: it is not a directory`);
  return path;
}
