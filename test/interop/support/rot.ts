/** Damages files as a disk that rots does: bytes change without anybody having written them. */
import { closeSync, fstatSync, openSync, readdirSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Random } from '../../conformance/lease/random.ts';

const SECTOR_BYTES = 512;
const PAGE_BYTES = 4096;

/** All files below the directory. */
export function filesBelow(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/** Changes `length` bytes from `position` on by `change`, as far as the file goes. Returns how many. */
export function damage(path: string, position: number, length: number, change: (bytes: Buffer) => void): number {
  const fd = openSync(path, 'r+');
  try {
    const bytes = Buffer.alloc(Math.max(0, Math.min(length, fstatSync(fd).size - position)));
    const count = readSync(fd, bytes, 0, bytes.length, position);
    change(bytes.subarray(0, count));
    return writeSync(fd, bytes, 0, count, position);
  } finally {
    closeSync(fd);
  }
}

export function flip(path: string, position: number): void {
  damage(path, position, 1, (bytes) => {
    for (let at = 0; at < bytes.length; at++) bytes[at] = (bytes[at] as number) ^ 0xff;
  });
}

/** Of every `everyPages` pages of the file that hold anything, a byte of one. Returns how many. */
export function flipPages(path: string, everyPages: number, random: Random): number {
  let damaged = 0;
  const fd = openSync(path, 'r+');
  try {
    const page = Buffer.alloc(PAGE_BYTES);
    const { size } = fstatSync(fd);
    for (let position = 0; position < size; position += PAGE_BYTES * everyPages) {
      const length = readSync(fd, page, 0, page.length, position);
      if (page.subarray(0, length).every((byte) => byte === 0)) continue;
      const at = random.int(0, length - 1);
      writeSync(fd, Buffer.of((page[at] as number) ^ 0x55), 0, 1, position + at);
      damaged++;
    }
  } finally {
    closeSync(fd);
  }
  return damaged;
}

/** One thing that a disk may do to a file, somewhere in it; says what. */
export function rotSomewhere(path: string, sizeBytes: number, random: Random): string {
  const position = random.int(0, Math.max(0, sizeBytes - 1));
  const lot = random.next();
  if (lot < 0.5) {
    flip(path, position);
    return `a byte at ${position}`;
  }
  if (lot < 0.8) {
    const sector = position - (position % SECTOR_BYTES);
    damage(path, sector, SECTOR_BYTES, (bytes) => bytes.fill(0));
    return `a sector at ${sector}`;
  }
  const page = position - (position % PAGE_BYTES);
  damage(path, page, PAGE_BYTES, (bytes) => {
    for (let at = 0; at < bytes.length; at++) bytes[at] = random.int(0, 255);
  });
  return `a page at ${page}`;
}
