/** Sectors that say what they are: where they belong, which write they came with, and whether they are whole. */
import { crc32 } from 'node:zlib';

export const SECTOR_BYTES = 512;

const MAGIC = 0x62646b21;
const CHECKED_BYTES = SECTOR_BYTES - 4;
const ZEROS = Buffer.alloc(SECTOR_BYTES);

/**
 * Ends every sector of `bytes` with the CRC-32 of the rest of it, as much data does that checks itself. The CRC-32 of what is made of
 * such sectors is the same whatever they hold: whoever tells bytes apart by it is found out.
 */
export function sealSectors(bytes: Buffer): Buffer {
  for (let at = 0; at + SECTOR_BYTES <= bytes.length; at += SECTOR_BYTES) {
    bytes.writeUInt32LE(crc32(bytes.subarray(at, at + CHECKED_BYTES)), at + CHECKED_BYTES);
  }
  return bytes;
}

/** The sectors from `firstSector` on, as write `sequence` (1 or more) leaves them. */
export function formatSectors(firstSector: number, count: number, sequence: number): Buffer {
  const bytes = Buffer.allocUnsafe(count * SECTOR_BYTES);
  for (let at = 0; at < count; at++) {
    const sector = bytes.subarray(at * SECTOR_BYTES, (at + 1) * SECTOR_BYTES);
    // Half of it repeats, so that compression has something to do, and half of it does not.
    sector.fill(sequence & 0xff, 0, 256);
    for (let word = 256; word < CHECKED_BYTES; word += 4) {
      sector.writeUInt32LE(Math.imul(sequence ^ (word << 16), 0x9e3779b1 ^ (firstSector + at)) >>> 0, word);
    }
    sector.writeUInt32LE(MAGIC, 0);
    sector.writeUInt32LE(firstSector + at, 4);
    sector.writeUInt32LE(sequence, 8);
  }
  return sealSectors(bytes);
}

/** The write that `bytes` came with, 0 where they are zeros. Throws where they are no sector, or another one. */
export function parseSector(bytes: Buffer, sector: number): number {
  if (bytes.readUInt32LE(0) !== MAGIC) {
    if (bytes.equals(ZEROS)) return 0;
    throw new Error(`sector ${sector} is neither zeros nor anything that was ever written`);
  }
  const place = bytes.readUInt32LE(4);
  const sequence = bytes.readUInt32LE(8);
  if (bytes.readUInt32LE(CHECKED_BYTES) !== crc32(bytes.subarray(0, CHECKED_BYTES))) {
    throw new Error(`sector ${sector} is torn: it begins like sector ${place} of write ${sequence}`);
  }
  if (place !== sector) throw new Error(`sector ${sector} holds sector ${place} of write ${sequence}`);
  return sequence;
}
