/** Where the partitions of a disk begin: MBR and GPT. */
import type { ReadBytes } from './byte-reader.ts';

const SECTOR_BYTES = 512;
const MBR_ENTRIES_AT = 446;
const MBR_ENTRY_BYTES = 16;
const MBR_ENTRIES = 4;
const MBR_SIGNATURE = 0xaa55;
const GPT_ENTRY_BYTES_MIN = 128;
const GPT_ENTRIES_MAX = 128;

/** Bytes from the beginning of the disk; none where there is no table. */
export async function partitionOffsets(read: ReadBytes): Promise<number[]> {
  const sector = await read(0, SECTOR_BYTES);
  if (sector === null || sector.readUInt16LE(510) !== MBR_SIGNATURE) return [];
  const gpt = await gptOffsets(read);
  if (gpt !== null) return gpt;
  const offsets: number[] = [];
  for (let index = 0; index < MBR_ENTRIES; index++) {
    const at = MBR_ENTRIES_AT + index * MBR_ENTRY_BYTES;
    const first = sector.readUInt32LE(at + 8);
    if (sector.readUInt8(at + 4) !== 0 && first > 0) offsets.push(first * SECTOR_BYTES);
  }
  return offsets;
}

async function gptOffsets(read: ReadBytes): Promise<number[] | null> {
  const header = await read(SECTOR_BYTES, SECTOR_BYTES);
  if (header === null || header.toString('latin1', 0, 8) !== 'EFI PART') return null;
  const entriesAt = Number(header.readBigUInt64LE(72)) * SECTOR_BYTES;
  const count = Math.min(header.readUInt32LE(80), GPT_ENTRIES_MAX);
  const entryBytes = header.readUInt32LE(84);
  if (entryBytes < GPT_ENTRY_BYTES_MIN || entryBytes > 4096) return [];
  const entries = await read(entriesAt, count * entryBytes);
  if (entries === null) return [];
  const offsets: number[] = [];
  for (let index = 0; index < count; index++) {
    const at = index * entryBytes;
    const isUsed = entries.subarray(at, at + 16).some((byte) => byte !== 0);
    if (isUsed) offsets.push(Number(entries.readBigUInt64LE(at + 32)) * SECTOR_BYTES);
  }
  return offsets;
}
