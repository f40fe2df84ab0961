/** Setting space aside on a filesystem: by fallocate(2), and where there is none, by writing. */
import { execFile } from 'node:child_process';
import { fdatasync, fstatSync, ftruncateSync, readSync, write, writeSync } from 'node:fs';
import { promisify } from 'node:util';

const FALLOCATE_TIMEOUT_MS = 60_000;
const PIECE_BYTES = 64 * 1024;
/** What st_blocks counts in (stat(2)). */
const STAT_BLOCK_BYTES = 512;

const run = promisify(execFile);
const writeAsync = promisify(write);
const fdatasyncAsync = promisify(fdatasync);

/**
 * Makes the open file `sizeBytes` long with its space set aside; what is there stays. Rejects with the system's error, the
 * size being the old one. On a filesystem that writes elsewhere each time (btrfs, ZFS) no space can be promised for good.
 */
export async function reserveSpace(fd: number, sizeBytes: number, allocate = fallocate): Promise<void> {
  const oldBytes = fstatSync(fd).size;
  try {
    if (sizeBytes > 0 && !(await allocate(fd, sizeBytes))) await fillUp(fd, Math.min(oldBytes, sizeBytes), sizeBytes);
    if (sizeBytes < oldBytes) ftruncateSync(fd, sizeBytes);
  } catch (error) {
    restoreSize(fd, oldBytes);
    throw error;
  }
}

/** The error that brought us here says more than one of cutting the file off again. */
function restoreSize(fd: number, sizeBytes: number): void {
  try {
    if (fstatSync(fd).size > sizeBytes) ftruncateSync(fd, sizeBytes);
  } catch {}
}

/**
 * False where it is not to be had: no such program, system call or filesystem. Node has no fallocate of its own. The file is
 * named by its descriptor, as its path may be another file's by now, and the program would make one that is missing.
 */
async function fallocate(fd: number, sizeBytes: number): Promise<boolean> {
  try {
    await run('fallocate', ['-l', String(sizeBytes), `/proc/${process.pid}/fd/${fd}`], {
      timeout: FALLOCATE_TIMEOUT_MS,
      env: { LC_ALL: 'C', PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    });
  } catch (error) {
    const { stderr = '' } = error as { stderr?: string };
    if (stderr.includes('No space left on device')) throw noSpace('ENOSPC', 'no space left on device');
    if (stderr.includes('Disk quota exceeded')) throw noSpace('EDQUOT', 'disk quota exceeded');
    return false;
  }
  return fstatSync(fd).size >= sizeBytes;
}

function noSpace(code: string, words: string): Error {
  return Object.assign(new Error(`${words} (${code})`), { code });
}

/** Writes zeros after the end, and where the part before it has holes, that part once more as it is. */
async function fillUp(fd: number, oldBytes: number, sizeBytes: number): Promise<void> {
  const { blocks, size } = fstatSync(fd);
  if (blocks * STAT_BLOCK_BYTES < size) await rewrite(fd, oldBytes);
  const zeros = Buffer.alloc(PIECE_BYTES);
  for (let at = oldBytes; at < sizeBytes; ) {
    at += (await writeAsync(fd, zeros, 0, Math.min(PIECE_BYTES, sizeBytes - at), at)).bytesWritten;
  }
  // Some filesystems find out only now that there is no room.
  await fdatasyncAsync(fd);
}

async function rewrite(fd: number, endBytes: number): Promise<void> {
  const piece = Buffer.allocUnsafe(PIECE_BYTES);
  for (let at = 0; at < endBytes; ) {
    const length = readSync(fd, piece, 0, Math.min(PIECE_BYTES, endBytes - at), at);
    if (length === 0) return;
    for (let done = 0; done < length; ) done += writeSync(fd, piece, done, length - done, at + done);
    at += length;
    await new Promise((resolve) => setImmediate(resolve));
  }
}
