/** Mounting a filesystem on a directory, and taking it away whatever holds on to it. */
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock } from '../lib/clock.ts';
import { StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { readMountTable, topMountAt } from '../lib/mount-table.ts';
import { runProgram } from '../lib/run-program.ts';
import { systemReason } from '../lib/system-reason.ts';
import { runStep } from './step.ts';

/** A journal may have to be recovered from the bucket. */
const MOUNT_TIMEOUT_MS = 300_000;
/** What is not written yet is written on the way. */
const UNMOUNT_TIMEOUT_MS = 300_000;
const HASTY_UNMOUNT_TIMEOUT_MS = 10_000;
/** Once there is no time left: what is written goes to the log on the local disk. */
const LAST_SYNC_TIMEOUT_MS = 5_000;
const BUSY_PAUSE_MS = 200;

export interface MountRequest {
  readonly device: string;
  /** An absolute path without symbolic links. It is created where it is missing. */
  readonly dir: string;
  readonly type: string;
  readonly readOnly: boolean;
  readonly signal?: AbortSignal;
}

/** Mounted with `discard`, so that what is deleted costs nothing, `noatime`, and so that other namespaces see what is mounted in it. */
export async function mountFilesystem({ device, dir, type, readOnly, signal }: MountRequest): Promise<void> {
  const taken = topMountAt(readMountTable(), dir);
  if (taken?.source === device) throw new StorageError('HELD', `${device} is mounted on ${dir} already`);
  await ensureDirectory(dir);
  await runStep({
    what: `mount ${device} on ${dir}`,
    program: 'mount',
    args: ['-t', type, '-o', readOnly ? 'ro,noatime' : 'discard,noatime', device, dir],
    timeoutMs: MOUNT_TIMEOUT_MS,
    advice:
      '"dmesg" may say why; docs/OPERATIONS.md, "The machine has crashed", tells how to have the filesystem checked',
    ...(signal === undefined ? {} : { signal }),
  });
  await runStep({
    what: `share what is mounted in ${dir}`,
    program: 'mount',
    args: ['--make-shared', dir],
    timeoutMs: MOUNT_TIMEOUT_MS,
    advice: 'mounting needs root, or in a container the capability SYS_ADMIN',
  });
}

/** One that we make is nobody's while nothing is mounted on it: what were written there then would be hidden later. */
async function ensureDirectory(dir: string): Promise<void> {
  try {
    await mkdir(dirname(dir), { recursive: true });
    await mkdir(dir, { mode: 0 });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return;
    throw new StorageError('INVALID', `cannot make the directory ${dir}: ${systemReason(cause)}`, { cause });
  }
}

export interface UnmountRequest {
  readonly clock: Clock;
  readonly log: Log;
  /** So long a filesystem in use is waited for. */
  readonly until: AbortSignal;
  /** So long, and no longer, one that is not in use may take to write what it still has. Left out: as long as it needs. */
  readonly giveUp?: AbortSignal;
  /** Whether it is taken away also where it is in use. */
  readonly lazy: boolean;
}

/**
 * Unmounts `device` from `dir`, if that is what is seen there. While it is in use it is tried again until `until` aborts, and then
 * done lazily. False where it came to that, or where not everything was written. HELD instead where it must not be done lazily
 * (`lazy` is false).
 */
export async function unmountFilesystem(device: string, dir: string, request: UnmountRequest): Promise<boolean> {
  const { clock, log, until, giveUp, lazy } = request;
  let told = false;
  const isThere = (): boolean => topMountAt(readMountTable(), dir)?.source === device;
  while (isThere()) {
    const { code, stderr } = await umount([dir], giveUp);
    if (code === 0) continue;
    if (!isThere()) {
      if (!lazy) throw new StorageError('TIMEOUT', `${dir} is unmounted, and still being written: try again later`);
      log.warn('the filesystem is still writing, and is no longer waited for', { dir, device, reason: stderr });
      return false;
    }
    const busy = /busy/.test(stderr);
    if (!busy || until.aborted) {
      const reason = busy ? 'it is still in use' : stderr;
      if (!lazy) throw new StorageError('HELD', `cannot unmount ${dir}: ${reason}: "fuser -vm ${dir}" tells by whom`);
      // What its programs have written while it was waited for.
      if (told) await runProgram('sync', ['-f', dir], { timeoutMs: LAST_SYNC_TIMEOUT_MS }).catch(() => {});
      log.warn('the filesystem is unmounted lazily', { dir, device, reason, event: 'mount-busy' });
      const { code: lazily, stderr: refusal } = await umount(['-l', dir]);
      if (lazily !== 0) log.error(`cannot unmount ${dir}: try "umount -l ${dir}" by hand`, { device, reason: refusal });
      return false;
    }
    if (!told) {
      log.warn(`the filesystem is in use: "fuser -vm ${dir}" tells by whom`, { dir, device });
      // Whatever becomes of it, what its programs have written so far is not lost.
      await runProgram('sync', ['-f', dir], { timeoutMs: UNMOUNT_TIMEOUT_MS, signal: until }).catch(() => {});
    }
    told = true;
    await clock.sleep(BUSY_PAUSE_MS, until).catch(() => {});
  }
  return true;
}

/**
 * For a filesystem that is not seen any more where it was mounted, and that the kernel still has: it writes still, another mount
 * hides it, or it is mounted elsewhere too, as a container with a mount namespace of its own has it. Has what it holds written, and
 * unmounts it wherever it is seen, until it is released (true) or `until` aborts.
 */
export async function waitForRelease(device: string, isUsed: () => boolean, request: UnmountRequest): Promise<boolean> {
  const { clock, log, until } = request;
  if (until.aborted) return false;
  log.warn('the filesystem is unmounted, and is mounted elsewhere or still writing: it is waited for', { device });
  // No path of ours leads to it, so that it is one of all of them that are synced.
  const synced = runProgram('sync', [], { timeoutMs: UNMOUNT_TIMEOUT_MS, signal: until }).catch(() => {});
  while (isUsed() && !until.aborted) {
    await clock.sleep(BUSY_PAUSE_MS, until).catch(() => {});
    for (const dir of seenAt(device)) await unmountFilesystem(device, dir, request);
  }
  await synced;
  return !isUsed();
}

function seenAt(device: string): string[] {
  const table = readMountTable();
  const dirs = new Set(table.filter(({ source }) => source === device).map(({ path }) => path));
  return [...dirs].filter((dir) => topMountAt(table, dir)?.source === device);
}

async function umount(args: string[], giveUp?: AbortSignal): Promise<{ code: number | null; stderr: string }> {
  // Asked for once there is no time left, as for what a dead process has left: it has to be tried all the same.
  const hasty = giveUp?.aborted === true;
  const options = giveUp === undefined || hasty ? {} : { signal: giveUp };
  try {
    return await runProgram('umount', args, {
      timeoutMs: hasty ? HASTY_UNMOUNT_TIMEOUT_MS : UNMOUNT_TIMEOUT_MS,
      ...options,
    });
  } catch (error) {
    return { code: null, stderr: systemReason(error) };
  }
}
