/** Reads the small text files that a configuration consists of. */
import { closeSync, openSync, readSync } from 'node:fs';

/** Why a file could not be read, by error code, in words. */
const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EISDIR: 'it is a directory',
  ENOTDIR: 'part of the path is no directory',
};

/** The UTF-8 text of the file, which may be a pipe. Throws an Error where it cannot be read or has more than `bytesMax`. */
export function readBounded(path: string, bytesMax: number): string {
  const buffer = Buffer.alloc(bytesMax + 1);
  const length = read(path, buffer);
  if (length > bytesMax) throw new Error(`cannot read ${path}: it has more than ${bytesMax} bytes`);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(buffer.subarray(0, length));
  } catch (cause) {
    throw new Error(`cannot read ${path}: it is not UTF-8 text`, { cause });
  }
}

/** How many bytes of the buffer were filled; all of them where there may be more. */
function read(path: string, buffer: Buffer): number {
  let fd: number | undefined;
  try {
    fd = openSync(path, 'r');
    let length = 0;
    for (;;) {
      const count = readSync(fd, buffer, length, buffer.length - length, null);
      length += count;
      if (count === 0 || length === buffer.length) return length;
    }
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
    throw new Error(`cannot read ${path}: ${REASONS[code] ?? code}`, { cause });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
