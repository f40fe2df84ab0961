/** The directory that is mounted on: made ready, mounted, and given back. Every step has a deadline. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { longChecksumOf } from '../lib/checksum.ts';
import type { Clock } from '../lib/clock.ts';
import { tellsDeath } from '../lib/dead-mount.ts';
import { describeError, isStorageError, StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { type MountEntry, readMountTable, topMountAt } from '../lib/mount-table.ts';
import { runProgram } from '../lib/run-program.ts';
import { systemReason } from '../lib/system-reason.ts';

/** What our mounts are called in the table, by which they are known as bucketdisk's. */
const MOUNT_TYPE = 'fuse.bucketdisk';

const STEP_TIMEOUT_MS = 10_000;
/** A mount that answers at all answers soon. */
const PROBE_TIMEOUT_MS = 5_000;
const BUSY_PAUSE_MS = 200;
/** So many dead mounts may lie on top of each other before something else must be wrong. */
const STALE_MAX = 16;

export interface MountOptions {
  /** The open FUSE device. */
  readonly fd: number;
  readonly uid: number;
  readonly gid: number;
  /** Who mounts: of two processes that say the same one is dead. */
  readonly instance: string;
  readonly readBytesMax: number;
  readonly signal: AbortSignal;
}

export class MountPoint {
  /** Without symbolic links. */
  readonly path: string;
  readonly #clock: Clock;
  readonly #log: Log;
  /** Device number of what we have mounted. */
  #device: string | null = null;

  private constructor(path: string, clock: Clock, log: Log) {
    this.path = path;
    this.#clock = clock;
    this.#log = log;
  }

  /**
   * Makes `dir` ready: created where it is missing, freed from what a process of ours that was killed has left on it.
   * Rejects with HELD where another process serves there, INVALID where it cannot be used.
   */
  static async prepare(dir: string, clock: Clock, log: Log): Promise<MountPoint> {
    const path = await canonicalPath(dir);
    const point = new MountPoint(path, clock, log);
    await point.#clearStale(({ type }) => type === MOUNT_TYPE);
    await point.#checkEmpty();
    return point;
  }

  /** Takes away what processes of that instance that were killed have left, wherever it is seen, and nothing else. Never rejects. */
  static async reclaim(instance: string, clock: Clock, log: Log): Promise<void> {
    const source = sourceOf(instance);
    const isOurs = (entry: MountEntry): boolean => entry.type === MOUNT_TYPE && entry.source === source;
    const mounts = seenMounts().filter(isOurs);
    for (const path of new Set(mounts.map((entry) => entry.path))) {
      await new MountPoint(path, clock, log).#clearStale(isOurs).catch((error: unknown) => {
        log.warn('a mount that an earlier process has made stays', { dir: path, error: describeError(error) });
      });
    }
  }

  /** Rejects with UNSUPPORTED where the system does not let us, or has no mount(8). */
  async mount({ fd, uid, gid, instance, readBytesMax, signal }: MountOptions): Promise<void> {
    // Everybody may pass the directory; who may open a file is said by its mode, and the kernel sees to that.
    const options = [
      'fd=3',
      'rootmode=40000',
      `user_id=${uid}`,
      `group_id=${gid}`,
      'allow_other',
      'default_permissions',
      `max_read=${readBytesMax}`,
      'nosuid,nodev,noexec,noatime',
    ].join(',');
    const args = ['-i', '-c', '-t', MOUNT_TYPE, '-o', options, sourceOf(instance), this.path];
    const { code, stderr } = await runProgram('mount', args, { timeoutMs: STEP_TIMEOUT_MS, fd, signal });
    if (code !== 0) {
      const advice = 'mounting needs root, or in a container the capability SYS_ADMIN; or set fuse.dir to null';
      throw new StorageError(
        'UNSUPPORTED',
        `cannot mount on ${this.path}: ${stderr || `exit code ${code}`}: ${advice}`,
      );
    }
    this.#device = this.#top()?.device ?? null;
  }

  /**
   * Unmounts. While files are in use it is tried again until `until` aborts, and then done lazily: the directory is empty at
   * once, and what is still open is for the caller to cut off. False where it came to that.
   */
  async unmount(until: AbortSignal): Promise<boolean> {
    let told = false;
    while (this.#isOurs()) {
      const { code, stderr } = await this.#umount();
      if (code === 0) return true;
      const busy = /busy/.test(stderr);
      if (!busy || until.aborted) {
        this.#log.warn('the directory is unmounted lazily: programs that have its files open are cut off', {
          dir: this.path,
          reason: busy ? 'its files are still in use' : stderr,
          loopDevices: this.#loopDevices(),
          event: 'fuse-busy',
        });
        await this.#umount('-l');
        return false;
      }
      if (!told) {
        this.#log.warn('the directory is still in use: unmount what is on its files', {
          dir: this.path,
          loopDevices: this.#loopDevices(),
        });
      }
      told = true;
      await this.#clock.sleep(BUSY_PAUSE_MS, until).catch(() => {});
    }
    return true;
  }

  /** False where somebody else has unmounted it, or mounted over it. */
  #isOurs(): boolean {
    return this.#device !== null && this.#top()?.device === this.#device;
  }

  async #umount(...options: string[]): Promise<{ code: number | null; stderr: string }> {
    try {
      return await runProgram('umount', ['-i', ...options, this.path], { timeoutMs: STEP_TIMEOUT_MS });
    } catch (error) {
      return { code: null, stderr: systemReason(error) };
    }
  }

  #top(): MountEntry | undefined {
    return topMountAt(readMountTable(), this.path);
  }

  async #clearStale(isOurs: (seen: MountEntry) => boolean): Promise<void> {
    for (let count = 0; ; count++) {
      const seen = this.#top();
      if (seen === undefined || !isOurs(seen)) return;
      if (count === STALE_MAX) throw unusable(this.path, `${count} dead mounts were taken away, and there are more`);
      await this.#checkDead();
      this.#log.warn('a mount that a killed process has left is taken away', {
        dir: this.path,
        loopDevices: this.#loopDevices(),
        event: 'fuse-stale',
      });
      // Nothing that was open there can be read or written any more: lazily loses nothing.
      const { code, stderr } = await this.#umount('-l');
      if (code !== 0) throw unusable(this.path, `a dead mount cannot be taken away: ${stderr}`);
    }
  }

  async #checkDead(): Promise<void> {
    const held = (reason: string): StorageError =>
      new StorageError('HELD', `another process serves on ${this.path}${reason}: stop it, or choose another fuse.dir`);
    const { code, stderr } = await runProgram('stat', ['-f', this.path], { timeoutMs: PROBE_TIMEOUT_MS }).catch(() => {
      throw held(', though it does not answer');
    });
    if (code === 0) throw held('');
    if (!tellsDeath(stderr)) throw unusable(this.path, stderr);
  }

  async #checkEmpty(): Promise<void> {
    await look(this.path, 'mkdir', ['-p', '--', this.path]);
    const names = await look(this.path, 'ls', ['-A', '--', this.path]);
    if (names !== '') throw unusable(this.path, 'it is not empty, and what is in it would be hidden');
  }

  /** Loop devices on our files, for a message. */
  #loopDevices(): string[] {
    try {
      return readdirSync('/sys/block')
        .filter((name) => name.startsWith('loop'))
        .filter((name) => backingFile(name).startsWith(`${this.path}/`))
        .map((name) => `/dev/${name}`);
    } catch {
      return [];
    }
  }
}

/** In the table of mounts, so that a later process knows what is ours from the moment it is mounted. */
function sourceOf(instance: string): string {
  return `bucketdisk-${longChecksumOf(Buffer.from(instance))}`;
}

/** None where the system has no such table: then nothing of ours can be mounted. */
function seenMounts(): MountEntry[] {
  try {
    return readMountTable();
  } catch {
    return [];
  }
}

/** Without symbolic links, also where the directory is not there yet. A mount of ours is not looked through: it may not answer. */
async function canonicalPath(dir: string): Promise<string> {
  const isOurs = (path: string): boolean => topMountAt(readMountTable(), path)?.type === MOUNT_TYPE;
  if (isOurs(dir)) return dir;
  const parent = await look(dir, 'realpath', ['-m', '--', dirname(dir)]);
  const path = join(parent.replace(/\n$/, ''), basename(dir));
  if (isOurs(path)) return path;
  return (await look(dir, 'realpath', ['-m', '--', dir])).replace(/\n$/, '');
}

/**
 * What a program says about the directory. By programs, as one that waits for a filesystem which does not answer can be
 * killed; a thread of ours could not, and would keep the process from ending.
 */
async function look(path: string, program: string, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runProgram(program, args, { timeoutMs: PROBE_TIMEOUT_MS }).catch((cause) => {
    throw unusable(path, isStorageError(cause, 'TIMEOUT') ? 'it does not answer' : systemReason(cause), cause);
  });
  if (code !== 0) throw unusable(path, stderr);
  return stdout;
}

function backingFile(loop: string): string {
  try {
    return readFileSync(`/sys/block/${loop}/loop/backing_file`, 'utf8');
  } catch {
    // Not attached to anything.
    return '';
  }
}

function unusable(path: string, reason: string, cause?: unknown): StorageError {
  return new StorageError('INVALID', `cannot mount on ${path} (fuse.dir): ${reason}`, { cause });
}
