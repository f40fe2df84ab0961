/** The names of block objects, as s3backer has them: `<prefix>[<hash>-]<block>`, both as 8 lower-case hex digits. */

/** Block numbers are 32 bits wide in the format. */
export const BLOCK_COUNT_MAX = 2 ** 32;

const PLAIN = /^[0-9a-f]{8}$/;
const HASHED = /^[0-9a-f]{8}-[0-9a-f]{8}$/;

/**
 * s3backer's block hash (its `--blockHashPrefix`): spreads neighbouring blocks over the key space, for stores that
 * partition by key. 32-bit wraparound arithmetic.
 */
export function hashBlockNumber(block: number): number {
  let hash = block >>> 0;
  for (let n = 12; n >= 1; n--) hash = (Math.imul((hash >>> 8) ^ hash, 0x6b) + n) >>> 0;
  return hash;
}

/** 8 lower-case hex digits. */
export function hex8(value: number): string {
  return (value >>> 0).toString(16).padStart(8, '0');
}

export class BlockKeys {
  readonly prefix: string;
  readonly hashed: boolean;

  /** `prefix` is taken as it stands; where a directory is meant it ends in a slash. */
  constructor(prefix: string, hashed: boolean) {
    this.prefix = prefix;
    this.hashed = hashed;
  }

  keyOf(block: number): string {
    const digits = hex8(block);
    return this.hashed ? `${this.prefix}${hex8(hashBlockNumber(block))}-${digits}` : this.prefix + digits;
  }

  /** The block a key names, or null for every key that is not exactly one of this volume's first `blockCount` blocks. */
  blockOf(key: string, blockCount: number): number | null {
    if (!key.startsWith(this.prefix)) return null;
    const name = key.slice(this.prefix.length);
    if (!(this.hashed ? HASHED : PLAIN).test(name)) return null;
    const block = Number.parseInt(name.slice(-8), 16);
    if (block >= blockCount) return null;
    if (this.hashed && Number.parseInt(name.slice(0, 8), 16) !== hashBlockNumber(block)) return null;
    return block;
  }
}
