/** How the read cache divides a volume: lines of 16 pages, each of which lies in one slot of the data file. */
import { PAGE_BYTES } from '../page.ts';

/** As many pages as there are bits in a slot's mask. */
export const LINE_PAGES = 16;
export const LINE_BYTES: number = LINE_PAGES * PAGE_BYTES;

/** Knuth's multiplier, 2^32 divided by the golden ratio: neighbours are scattered. */
const SCATTER = 0x9e3779b1;
const HIGH_FACTOR = 1 / 2 ** 32;

/** Not by shifting: page numbers have up to 41 bits. */
export function lineOf(page: number): number {
  return Math.floor(page / LINE_PAGES);
}

/** 32 bits of the number, of which the upper ones and the lower ones are as good. */
export function scatter(value: number): number {
  let mixed = Math.imul((value | 0) ^ Math.imul((value * HIGH_FACTOR) | 0, 0x85ebca6b), SCATTER);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x2c1b3c6d);
  return (mixed ^ (mixed >>> 13)) >>> 0;
}

/** A hash of 32 bits as an index below `size`. */
export function indexOf(hash: number, size: number): number {
  return Math.floor(hash * HIGH_FACTOR * size);
}

/** The bits of the pages [from, to) of a line. */
export function maskOf(from: number, to: number): number {
  return ((1 << to) - 1) & ~((1 << from) - 1);
}

export function bitCount(mask: number): number {
  let bits = mask - ((mask >>> 1) & 0x5555);
  bits = (bits & 0x3333) + ((bits >>> 2) & 0x3333);
  bits = (bits + (bits >>> 4)) & 0x0f0f;
  return (bits + (bits >>> 8)) & 0x1f;
}

/** How many bits are set one after another from bit `from` on. */
export function runLength(mask: number, from: number): number {
  const absent = ~(mask >>> from);
  return 31 - Math.clz32(absent & -absent);
}
