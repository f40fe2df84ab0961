/** Where on its disk btrfs keeps what it calls by logical addresses: its chunk tree, as far as it can be read. */
import type { ReadBytes } from './byte-reader.ts';

/** Of the superblock (btrfs-dev-docs, "On-disk Format"). */
export const BTRFS_SUPER_AT = 0x10000;
export const BTRFS_SUPER_BYTES = 4096;
const CHUNK_ROOT_AT = 0x58;
const NODE_SIZE_AT = 0x94;
const SYSTEM_CHUNKS_BYTES_AT = 0xa0;
const SYSTEM_CHUNKS_AT = 0x32b;
const SYSTEM_CHUNKS_BYTES_MAX = 2048;

const KEY_BYTES = 17;
const CHUNK_BYTES = 48;
const STRIPE_BYTES = 32;
const HEADER_BYTES = 101;
const LEAF_ITEM_BYTES = 25;
const POINTER_BYTES = 33;
const CHUNK_ITEM_TYPE = 228;

/** What is on a disk is not believed to end. */
const NODES_MAX = 10_000;
const LEVEL_MAX = 8;
const STRIPES_MAX = 1024;
const NODE_BYTES_MAX = 65_536;

/** A stretch of the disk, and the logical address of its first byte. */
export interface Chunk {
  readonly offset: number;
  readonly length: number;
  readonly logical: number;
}

/** Of the filesystem that begins at `base` on the disk; offsets are from there. */
export async function readChunks(read: ReadBytes, base: number, superblock: Buffer): Promise<Chunk[]> {
  const nodeBytes = superblock.readUInt32LE(NODE_SIZE_AT);
  if (nodeBytes < 4096 || nodeBytes > NODE_BYTES_MAX) return [];
  const chunks = systemChunks(superblock);
  const queue: { logical: number; level: number }[] = [
    { logical: Number(superblock.readBigUInt64LE(CHUNK_ROOT_AT)), level: LEVEL_MAX },
  ];
  const seen = new Set<number>();
  for (let next = queue.pop(); next !== undefined && seen.size < NODES_MAX; next = queue.pop()) {
    const { logical, level: levelMax } = next;
    const at = offsetOf(chunks, logical);
    if (seen.has(logical) || at === null) continue;
    seen.add(logical);
    const node = await read(base + at, nodeBytes);
    if (node === null) continue;
    const count = node.readUInt32LE(96);
    const level = node.readUInt8(100);
    if (level >= levelMax) continue;
    if (level === 0) chunks.push(...leafChunks(node, count));
    else for (const pointer of pointers(node, count)) queue.push({ logical: pointer, level });
  }
  return chunks;
}

/** The logical addresses of [offset, offset + length), a run for each chunk it touches. */
export function logicalRuns(
  chunks: readonly Chunk[],
  offset: number,
  length: number,
): { logical: number; length: number }[] {
  const runs = new Map<number, number>();
  for (const chunk of chunks) {
    const from = Math.max(offset, chunk.offset);
    const to = Math.min(offset + length, chunk.offset + chunk.length);
    if (from < to) runs.set(chunk.logical + from - chunk.offset, to - from);
  }
  return [...runs]
    .map(([logical, runLength]) => ({ logical, length: runLength }))
    .sort((a, b) => a.logical - b.logical);
}

function systemChunks(superblock: Buffer): Chunk[] {
  const bytes = Math.min(superblock.readUInt32LE(SYSTEM_CHUNKS_BYTES_AT), SYSTEM_CHUNKS_BYTES_MAX);
  const chunks: Chunk[] = [];
  for (let at = SYSTEM_CHUNKS_AT; at + KEY_BYTES + CHUNK_BYTES <= SYSTEM_CHUNKS_AT + bytes; ) {
    const logical = Number(superblock.readBigUInt64LE(at + 9));
    const { found, end } = chunkAt(superblock, at + KEY_BYTES, logical);
    chunks.push(...found);
    at = end;
  }
  return chunks;
}

/** A chunk item: a run for each copy of it. */
function chunkAt(buffer: Buffer, at: number, logical: number): { found: Chunk[]; end: number } {
  const length = Number(buffer.readBigUInt64LE(at));
  const stripes = Math.min(buffer.readUInt16LE(at + 44), STRIPES_MAX);
  const found: Chunk[] = [];
  for (let index = 0; index < stripes; index++) {
    const stripeAt = at + CHUNK_BYTES + index * STRIPE_BYTES;
    if (stripeAt + STRIPE_BYTES > buffer.length) break;
    found.push({ offset: Number(buffer.readBigUInt64LE(stripeAt + 8)), length, logical });
  }
  return { found, end: at + CHUNK_BYTES + stripes * STRIPE_BYTES };
}

function leafChunks(node: Buffer, count: number): Chunk[] {
  const chunks: Chunk[] = [];
  for (let index = 0; index < count; index++) {
    const at = HEADER_BYTES + index * LEAF_ITEM_BYTES;
    if (at + LEAF_ITEM_BYTES > node.length) break;
    const dataAt = HEADER_BYTES + node.readUInt32LE(at + KEY_BYTES);
    if (node.readUInt8(at + 8) !== CHUNK_ITEM_TYPE || dataAt + CHUNK_BYTES > node.length) continue;
    chunks.push(...chunkAt(node, dataAt, Number(node.readBigUInt64LE(at + 9))).found);
  }
  return chunks;
}

function pointers(node: Buffer, count: number): number[] {
  const found: number[] = [];
  for (let index = 0; index < count; index++) {
    const at = HEADER_BYTES + index * POINTER_BYTES;
    if (at + POINTER_BYTES > node.length) break;
    found.push(Number(node.readBigUInt64LE(at + KEY_BYTES)));
  }
  return found;
}

function offsetOf(chunks: readonly Chunk[], logical: number): number | null {
  const chunk = chunks.find((one) => logical >= one.logical && logical < one.logical + one.length);
  return chunk === undefined ? null : chunk.offset + logical - chunk.logical;
}
