/**
 * The kernel's NBD client on a socket of ours, by nbd-client(8) over netlink: an attempt at a device that is attached, or still
 * open somewhere, is then refused by the kernel, where the older ioctls would take it away from whoever has it.
 */
import { accessSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import type { Clock } from '../lib/clock.ts';
import { isStorageError, StorageError } from '../lib/errors.ts';
import { findProgram, runProgram } from '../lib/run-program.ts';
import { runStep } from './step.ts';

const STEP_TIMEOUT_MS = 20_000;
const LOOK_TIMEOUT_MS = 5_000;
/** The kernel lets go of a device once nobody has it open any more, and says so a moment later. */
const RELEASE_TIMEOUT_MS = 10_000;
const RELEASE_PAUSE_MS = 20;
const NBD_PATH = /^\/dev\/(nbd\d+)$/;
/** What the least of our filesystems may ask for, so that one made on a loop device can be mounted on this one and back. */
const SECTOR_BYTES = 512;
/** What nbd-client says where the kernel refuses: most likely somebody was quicker, or has the device open still. */
const REFUSED = /Failed to setup device/;
const NO_NETLINK = /netlink family/;

export interface NbdRequest {
  /** Path of the socket the export is served on. */
  readonly socket: string;
  readonly exportName: string;
  readonly readOnly: boolean;
  readonly signal?: AbortSignal;
  /** Told of each device before it is tried. */
  readonly onTry: (device: string) => void;
}

export interface NbdAttached {
  readonly device: string;
  readonly pid: number;
}

/** Why the kernel's client cannot be used here, or null. Loads the module where it may. */
export async function nbdProblem(): Promise<string | null> {
  if (findProgram('nbd-client') === null) return 'nbd-client is not installed (apt-get install nbd-client)';
  const usage = await runProgram('nbd-client', ['--help'], { timeoutMs: LOOK_TIMEOUT_MS });
  if (!/nonetlink/.test(usage.stdout + usage.stderr)) return 'this nbd-client was built without netlink';
  if (!existsSync('/sys/module/nbd')) await loadModule();
  if (!existsSync('/sys/module/nbd')) return 'the kernel has no nbd module loaded (modprobe nbd)';
  if (freeDevices().length > 0) return null;
  if (devices().length > 0) return 'every nbd device is in use (modprobe nbd nbds_max=64 makes more)';
  return 'there is no /dev/nbd0; a container needs the devices (--device /dev/nbd0)';
}

/**
 * Attaches the export to the first device that is free. One connection and no timeout: with either the kernel would take a
 * bucket that is slow for a server that is gone, and give the device up. Rejects with UNSUPPORTED where the kernel's client
 * cannot be used here.
 */
export async function attachNbd(request: NbdRequest): Promise<NbdAttached> {
  const { socket, exportName, readOnly, signal, onTry } = request;
  const problem = await nbdProblem();
  if (problem !== null) throw new StorageError('UNSUPPORTED', `cannot attach by the kernel's NBD client: ${problem}`);
  const options = ['-unix', socket, '-N', exportName, '-b', String(SECTOR_BYTES), ...(readOnly ? ['-readonly'] : [])];
  let refused: StorageError | undefined;
  for (const device of freeDevices()) {
    onTry(device);
    try {
      await runStep({
        what: `attach volume ${exportName} to ${device}`,
        program: 'nbd-client',
        args: [...options, device],
        timeoutMs: STEP_TIMEOUT_MS,
        advice: 'it needs root and the module nbd; "dmesg" may say more; --via fuse does without',
        ...(signal === undefined ? {} : { signal }),
      });
    } catch (error) {
      if (isStorageError(error) && NO_NETLINK.test(error.message)) {
        const advice = "a container sees the kernel's NBD client on the host's network only; --via fuse does without";
        throw new StorageError('UNSUPPORTED', `${error.message} (${advice})`, { cause: error });
      }
      if (!isStorageError(error) || !REFUSED.test(error.message)) throw error;
      refused = error;
      continue;
    }
    const pid = nbdPid(device);
    if (pid === null) throw new StorageError('UNAVAILABLE', `${device} was attached and is not any more: see "dmesg"`);
    return { device, pid };
  }
  const cause = refused === undefined ? {} : { cause: refused };
  throw new StorageError('UNSUPPORTED', refused?.message ?? 'every nbd device is in use by now', cause);
}

/** The process that attached the device; null where it is none, or not attached. */
export function nbdPid(device: string): number | null {
  const name = NBD_PATH.exec(device)?.[1];
  if (name === undefined) return null;
  try {
    const pid = Number(readFileSync(`/sys/block/${name}/pid`, 'utf8'));
    return Number.isInteger(pid) && pid > 0 ? pid : null;
  } catch {
    return null;
  }
}

/** Cuts the device off: whatever is asked of it from now on, or waits for an answer, fails. It may still be open. */
export async function cutNbd(device: string): Promise<void> {
  if (!NBD_PATH.test(device)) throw new StorageError('INVALID', `${device} is no nbd device`);
  await runStep({
    what: `detach ${device}`,
    program: 'nbd-client',
    args: ['-d', device],
    timeoutMs: STEP_TIMEOUT_MS,
    advice: `try "nbd-client -d ${device}" by hand; "dmesg" may say more`,
  });
}

/** Detaches, and waits until the kernel has let go. HELD where it is still open somewhere: it is free once it is not. */
export async function detachNbd(device: string, clock: Clock): Promise<void> {
  await cutNbd(device);
  const deadline = clock.now() + RELEASE_TIMEOUT_MS;
  while (nbdPid(device) !== null) {
    if (clock.now() > deadline) {
      throw new StorageError(
        'HELD',
        `${device} is cut off, and still open: it is free once nobody has it open any more`,
      );
    }
    await clock.sleep(RELEASE_PAUSE_MS);
  }
}

async function loadModule(): Promise<void> {
  // A container has no modules, and maybe no modprobe; what matters is whether the module is there afterwards.
  await runProgram('modprobe', ['nbd'], { timeoutMs: STEP_TIMEOUT_MS }).catch(() => {});
}

/** Those that have a node in /dev, in order. */
function devices(): string[] {
  return readdirSync('/sys/block')
    .filter((name) => /^nbd\d+$/.test(name))
    .sort((one, other) => Number(one.slice(3)) - Number(other.slice(3)))
    .map((name) => `/dev/${name}`)
    .filter(isThere);
}

function freeDevices(): string[] {
  return devices().filter((device) => nbdPid(device) === null);
}

function isThere(path: string): boolean {
  try {
    accessSync(path);
    return true;
  } catch {
    return false;
  }
}
