/** Runs of batches in a file: writing them one after another, and reading them back up to the first that is not whole. */
import type { DiskFile } from '../../lib/disk.ts';
import type { Bitmap } from './bitmap.ts';
import type { EvictionQueues } from './eviction-queues.ts';
import {
  BATCH_WORDS_MAX,
  type Batch,
  BatchEncoder,
  type ChainPoint,
  decodeBatch,
  ENTRIES,
  HEADER_WORDS,
  highestCheckpoint,
  SEAL,
  STAGE_BEFORE_ALL,
  stageOf,
  unsyncedAfter,
  WORD_BYTES,
} from './index-batch.ts';
import type { SlotTable } from './slot-table.ts';

export class BatchWriter {
  readonly #file: DiskFile;
  readonly #encoder = new BatchEncoder();
  #point: ChainPoint;
  #positionBytes = 0;
  #checkpoint = 0;

  constructor(file: DiskFile, point: ChainPoint) {
    this.#file = file;
    this.#point = point;
  }

  get point(): ChainPoint {
    return this.#point;
  }

  /** How much it has written. */
  get sizeBytes(): number {
    return this.#positionBytes;
  }

  async write(kind: number, words: readonly number[]): Promise<void> {
    for (const word of words) this.#encoder.addWord(word);
    await this.#flush(kind, STAGE_BEFORE_ALL);
  }

  /** What has been written is durable: when this can be read, what is before and cannot has been damaged since. */
  async writeSeal(): Promise<void> {
    await this.#flush(SEAL, stageOf(this.#checkpoint + 1, false));
  }

  /**
   * Writes the entries of the slots of the set, each as it is when its turn comes, and takes them out of it. One that is
   * marked again behind that point stays in.
   */
  async writeMarked(slots: Bitmap, table: SlotTable, queues: EvictionQueues): Promise<void> {
    const checkpoint = ++this.#checkpoint;
    for (let slot = slots.next(0); slot >= 0; slot = slots.next(slot + 1)) {
      if (this.#encoder.isFull) await this.#flush(ENTRIES, stageOf(checkpoint, false));
      slots.delete(slot);
      this.#encoder.addEntry(table, slot, queues.stateAt(slot));
    }
    await this.#flush(ENTRIES, stageOf(checkpoint, true));
  }

  /** Writes the entries of all slots that hold pages. */
  async writeAll(table: SlotTable, queues: EvictionQueues): Promise<void> {
    for (let slot = 0; slot < table.slots; slot++) {
      if (table.maskAt(slot) === 0) continue;
      this.#encoder.addEntry(table, slot, queues.stateAt(slot));
      if (this.#encoder.isFull) await this.#flush(ENTRIES, STAGE_BEFORE_ALL);
    }
    if (!this.#encoder.isEmpty) await this.#flush(ENTRIES, STAGE_BEFORE_ALL);
  }

  async #flush(kind: number, stage: number): Promise<void> {
    const { bytes, next } = this.#encoder.finish(kind, stage, this.#point);
    this.#point = next;
    const position = this.#positionBytes;
    this.#positionBytes += bytes.length;
    await this.#file.write(bytes, position);
  }
}

export class BatchReader {
  readonly #file: DiskFile;
  readonly #buffer = Buffer.from(new ArrayBuffer(BATCH_WORDS_MAX * WORD_BYTES));
  #point: ChainPoint | null;
  #positionBytes = 0;
  #stage = STAGE_BEFORE_ALL;

  /** `point` null: the file begins a chain of its own. */
  constructor(file: DiskFile, point: ChainPoint | null) {
    this.#file = file;
    this.#point = point;
  }

  get point(): ChainPoint | null {
    return this.#point;
  }

  /** How much it has read that was whole. */
  get sizeBytes(): number {
    return this.#positionBytes;
  }

  /** The next batch, for as long as no other is read; null where none follows. Rejects where the disk fails. */
  async next(): Promise<Batch | null> {
    const read = await this.#file.read(this.#buffer, this.#positionBytes);
    const words = new Uint32Array(this.#buffer.buffer, 0, Math.floor(read / WORD_BYTES));
    const batch = decodeBatch(words, this.#point);
    if (batch === null) return null;
    this.#point = batch.next;
    this.#stage = batch.stage;
    this.#positionBytes += batch.sizeBytes;
    return batch;
  }

  /**
   * Where no batch follows: whether one was there that had been synced, and is damaged now. Otherwise a crash came before
   * the sync. What is behind it tells, as nothing of a later checkpoint is written before the sync of the one before.
   */
  async isDamaged(): Promise<boolean> {
    const torn = unsyncedAfter(this.#stage);
    const { epoch } = this.#point as ChainPoint;
    const overlapBytes = HEADER_WORDS * WORD_BYTES;
    for (let position = this.#positionBytes; ; position += this.#buffer.length - overlapBytes) {
      const read = await this.#file.read(this.#buffer, position);
      const words = new Uint32Array(this.#buffer.buffer, 0, Math.floor(read / WORD_BYTES));
      if (highestCheckpoint(words, epoch) > torn) return true;
      if (read < this.#buffer.length) return false;
    }
  }
}
