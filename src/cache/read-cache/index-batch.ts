/**
 * The form of the index on disk. Snapshot and journal are runs of batches: 32-bit words in the machine's own order, which
 * the magic number tells.
 *
 *     0  magic                                     4  number of the batch, from 0 in its epoch
 *     1  CRC-32 of the words 2 to the last,        5  kind
 *        continuing that of the batch before       6  words that follow the header
 *     2  epoch, lower 32 bits                      7  stage: twice the number of the checkpoint, and 1
 *     3  epoch, the rest                              more in the checkpoint's last batch
 *
 * An entry tells what is in a slot: its number; a bit for each page that is there, and above them the state for eviction;
 * the line, in two words; a checksum for each page that is there. The last one that tells of a slot, or of a line, holds.
 */
import { crc32 } from 'node:zlib';
import { bitCount, LINE_PAGES } from './geometry.ts';

export const FORMAT_VERSION = 2;
const MAGIC = 0x31_43_52_42; // "BRC1"
export const HEADER_WORDS = 8;
export const WORD_BYTES = 4;
/** Encoding this much keeps the thread for well under a millisecond. */
export const BATCH_WORDS_MAX: number = 32 * 1024;
const ENTRY_WORDS_MAX = 4 + LINE_PAGES;
export const ENTRY_BYTES_MAX: number = ENTRY_WORDS_MAX * WORD_BYTES;

/**
 * What follows: the identity and the size of the cache; entries; nothing, as the snapshot ends here; nothing, as what is
 * before is durable.
 */
export const HEAD = 1;
export const ENTRIES = 2;
export const END = 3;
export const SEAL = 4;

/** The last batch before the first checkpoint. */
export const STAGE_BEFORE_ALL = 1;

export function stageOf(checkpoint: number, isLast: boolean): number {
  return checkpoint * 2 + (isLast ? 1 : 0);
}

/** Of what follows a batch of this stage, only the batches of this checkpoint may be torn. */
export function unsyncedAfter(stage: number): number {
  return Math.floor((stage + 1) / 2);
}

export interface SlotView {
  lineAt(slot: number): number;
  maskAt(slot: number): number;
  checksumAt(slot: number, page: number): number;
}

/** Where a run of batches stands: what the next one continues. */
export interface ChainPoint {
  readonly epoch: number;
  readonly number: number;
  readonly checksum: number;
}

/** Fills one batch after another. */
export class BatchEncoder {
  readonly #bytes = Buffer.allocUnsafeSlow(BATCH_WORDS_MAX * WORD_BYTES);
  readonly #words = new Uint32Array(this.#bytes.buffer);
  #length = HEADER_WORDS;

  get isEmpty(): boolean {
    return this.#length === HEADER_WORDS;
  }

  get isFull(): boolean {
    return this.#length + ENTRY_WORDS_MAX > BATCH_WORDS_MAX;
  }

  addWord(word: number): void {
    this.#words[this.#length++] = word;
  }

  addEntry(table: SlotView, slot: number, state: number): void {
    const words = this.#words;
    const mask = table.maskAt(slot);
    const line = mask === 0 ? 0 : table.lineAt(slot);
    words[this.#length++] = slot;
    words[this.#length++] = mask | (state << 16);
    words[this.#length++] = line % 2 ** 32;
    words[this.#length++] = Math.floor(line / 2 ** 32);
    for (let page = 0; page < LINE_PAGES; page++) {
      if ((mask & (1 << page)) !== 0) words[this.#length++] = table.checksumAt(slot, page);
    }
  }

  /** The bytes of the batch, for as long as nothing else is encoded, and what the next one continues. */
  finish(kind: number, stage: number, { epoch, number, checksum }: ChainPoint): { bytes: Buffer; next: ChainPoint } {
    const words = this.#words;
    const length = this.#length;
    words[0] = MAGIC;
    words[2] = epoch % 2 ** 32;
    words[3] = Math.floor(epoch / 2 ** 32);
    words[4] = number;
    words[5] = kind;
    words[6] = length - HEADER_WORDS;
    words[7] = stage;
    const bytes = this.#bytes.subarray(0, length * WORD_BYTES);
    words[1] = crc32(bytes.subarray(2 * WORD_BYTES), checksum);
    this.#length = HEADER_WORDS;
    return { bytes, next: { epoch, number: number + 1, checksum: words[1] as number } };
  }
}

export interface Batch {
  readonly kind: number;
  readonly stage: number;
  readonly words: Uint32Array;
  readonly sizeBytes: number;
  readonly next: ChainPoint;
}

/** The batch that the words begin with, or null where that is not the one that continues `point`; any epoch where it is null. */
export function decodeBatch(words: Uint32Array, point: ChainPoint | null): Batch | null {
  if (words.length < HEADER_WORDS || words[0] !== MAGIC) return null;
  const length = HEADER_WORDS + (words[6] as number);
  const epoch = (words[2] as number) + (words[3] as number) * 2 ** 32;
  const number = words[4] as number;
  if (length > words.length || number !== (point?.number ?? 0)) return null;
  if (point !== null && epoch !== point.epoch) return null;
  const checked = new Uint8Array(words.buffer, words.byteOffset + 2 * WORD_BYTES, (length - 2) * WORD_BYTES);
  const checksum = crc32(checked, point?.checksum ?? 0);
  if (checksum !== words[1]) return null;
  return {
    kind: words[5] as number,
    stage: words[7] as number,
    words: words.subarray(HEADER_WORDS, length),
    sizeBytes: length * WORD_BYTES,
    next: { epoch, number: number + 1, checksum },
  };
}

/** The highest checkpoint that any header among the words names, of those of the epoch; its batch need not be whole. */
export function highestCheckpoint(words: Uint32Array, epoch: number): number {
  let highest = 0;
  for (let at = words.indexOf(MAGIC); at >= 0 && at + HEADER_WORDS <= words.length; at = words.indexOf(MAGIC, at + 1)) {
    const found = (words[at + 2] as number) + (words[at + 3] as number) * 2 ** 32;
    if (found === epoch) highest = Math.max(highest, (words[at + 7] as number) >>> 1);
  }
  return highest;
}

export interface EntrySink {
  /** `checksumsAt`: where in `words` those of the pages of `mask` begin. */
  put(slot: number, line: number, mask: number, state: number, words: Uint32Array, checksumsAt: number): void;
}

/** False where the words are not entries. */
export function decodeEntries(words: Uint32Array, sink: EntrySink): boolean {
  let at = 0;
  while (at + 4 <= words.length) {
    const slot = words[at] as number;
    const mask = (words[at + 1] as number) & 0xffff;
    const state = (words[at + 1] as number) >>> 16;
    const line = (words[at + 2] as number) + (words[at + 3] as number) * 2 ** 32;
    const next = at + 4 + bitCount(mask);
    if (next > words.length) return false;
    sink.put(slot, line, mask, state, words, at + 4);
    at = next;
  }
  return at === words.length;
}
