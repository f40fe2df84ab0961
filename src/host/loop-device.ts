/** Loop devices: a volume's file as a block device, with no pages of its own beside those of the filesystem on it. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import type { Clock } from '../lib/clock.ts';
import { isStorageError, StorageError } from '../lib/errors.ts';
import { runStep } from './step.ts';

const STEP_TIMEOUT_MS = 20_000;
/** The kernel lets go of a device a moment after the command returns, and only then has all been written. */
const RELEASE_TIMEOUT_MS = 10_000;
const RELEASE_PAUSE_MS = 20;
const LOOP_PATH = /^\/dev\/(loop\d+)$/;
const TRIES_MAX = 8;

export interface AttachLoopOptions {
  readonly readOnly: boolean;
  readonly signal?: AbortSignal;
  readonly onTry: (device: string) => void;
}

/**
 * Attaches the file, with direct I/O, and returns the path of the device. `onTry` is told of each device before it is tried: of
 * those that look free another process may be quicker to take one.
 */
export async function attachLoop(file: string, options: AttachLoopOptions): Promise<string> {
  const { readOnly, signal, onTry } = options;
  const step = {
    what: `attach ${file} to a loop device`,
    program: 'losetup',
    timeoutMs: STEP_TIMEOUT_MS,
    advice: 'it needs root and loop devices (modprobe loop); a container needs /dev/loop-control and /dev/loop0 and on',
    ...(signal === undefined ? {} : { signal }),
  };
  for (let tries = 1; ; tries++) {
    const device = (await runStep({ ...step, args: ['--find'] })).stdout.trim();
    onTry(device);
    try {
      await runStep({ ...step, args: ['--direct-io=on', ...(readOnly ? ['--read-only'] : []), device, file] });
      return device;
    } catch (error) {
      if (tries === TRIES_MAX || !isStorageError(error) || !/busy/.test(error.message)) throw error;
    }
  }
}

/** The file behind a loop device, as the kernel names it; null where it is none, or not attached. */
export function loopFile(device: string): string | null {
  const name = LOOP_PATH.exec(device)?.[1];
  if (name === undefined) return null;
  try {
    return readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8').trimEnd();
  } catch {
    return null;
  }
}

/** The loop devices on the file that can be written to: what is written through one of them is not seen by the others. */
export function writableLoopsOn(file: string): string[] {
  const names = existsSync('/sys/block') ? readdirSync('/sys/block') : [];
  return names.map((name) => `/dev/${name}`).filter((device) => loopFile(device) === file && !isReadOnly(device));
}

function isReadOnly(device: string): boolean {
  try {
    return readFileSync(`/sys/block/${basename(device)}/ro`, 'utf8').trim() === '1';
  } catch {
    // It has gone.
    return true;
  }
}

/**
 * Which attachment the device carries: the kernel gives each one of this boot a number of its own, from Linux 5.15 on. Null where
 * there is none. Unlike the path of the file it does not change with who asks: once the mount that the file was on is gone, as with
 * the container it was made in, the kernel shows no more than the end of the path.
 */
export function loopSequence(device: string): string | null {
  const name = LOOP_PATH.exec(device)?.[1];
  if (name === undefined || loopFile(device) === null) return null;
  try {
    return readFileSync(`/sys/block/${name}/diskseq`, 'utf8').trim();
  } catch {
    return null;
  }
}

/** Detaches, and waits until the kernel has let go. A device that is still in use is detached by the kernel once it is not: HELD. */
export async function detachLoop(device: string, clock: Clock): Promise<void> {
  const name = LOOP_PATH.exec(device)?.[1];
  if (name === undefined) throw new StorageError('INVALID', `${device} is no loop device`);
  await runStep({
    what: `detach ${device}`,
    program: 'losetup',
    args: ['--detach', device],
    timeoutMs: STEP_TIMEOUT_MS,
    advice: `try "losetup -d ${device}" once nothing uses it any more`,
  });
  const deadline = clock.now() + RELEASE_TIMEOUT_MS;
  while (existsSync(`/sys/block/${name}/loop`)) {
    if (clock.now() > deadline) {
      throw new StorageError('HELD', `${device} is still in use: it is detached once nobody uses it any more`);
    }
    await clock.sleep(RELEASE_PAUSE_MS);
  }
}
