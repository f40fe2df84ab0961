/** Tells of blocks that cannot be had from their objects: of each once, until it has been written again. */
import { describeError, isStorageError } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';

/** Of so many the log says enough. */
const BLOCKS_TOLD_MAX = 1000;

export class DamageLog {
  readonly #log: Log;
  readonly #told = new Set<number>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** Any failure of reading a block: only what says that its object is not what it was is told. */
  failed(block: number, error: unknown): void {
    if (!isStorageError(error, 'CORRUPT') || this.#told.has(block) || this.#told.size >= BLOCKS_TOLD_MAX) return;
    this.#told.add(block);
    this.#log.error('a block cannot be read: whoever asks for it gets an I/O error', {
      block,
      error: describeError(error),
    });
  }

  /** The block has been written, or deleted. */
  replaced(block: number): void {
    this.#told.delete(block);
  }
}
