/** Pages whose newest bytes are lost, because the cache disk has damaged them before they were in the bucket: kept in a file. */
import { writeJsonFile } from '../../lib/disk/json-file.ts';
import type { Disk } from '../../lib/disk.ts';
import { StorageError } from '../../lib/errors.ts';
import { GIVE_UP } from '../ways-out.ts';

/**
 * What is in the bucket for such a page is older than what was answered: reading it fails until it is written again, also
 * after the log has moved on and the process has stopped.
 */
export class DamagedPages {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #pages: Set<number>;
  #changed = false;

  private constructor(disk: Disk, directory: string, pages: Iterable<number>) {
    this.#disk = disk;
    this.#directory = directory;
    this.#pages = new Set(pages);
  }

  /** CORRUPT where the list itself cannot be read. */
  static open(disk: Disk, directory: string): DamagedPages {
    const path = `${directory}/damaged.json`;
    if (!disk.exists(path)) return new DamagedPages(disk, directory, []);
    const file = disk.open(path);
    try {
      const text = Buffer.alloc(file.sizeBytes());
      file.readSync(text, 0);
      const pages: unknown = JSON.parse(text.toString('utf8'));
      if (!Array.isArray(pages) || !pages.every((page) => Number.isSafeInteger(page)))
        throw new Error('not a list of pages');
      return new DamagedPages(disk, directory, pages);
    } catch (cause) {
      throw new StorageError('CORRUPT', `the list of damaged pages, ${path}, cannot be read. ${GIVE_UP}`, { cause });
    } finally {
      file.close();
    }
  }

  get count(): number {
    return this.#pages.size;
  }

  get pages(): readonly number[] {
    return [...this.#pages].sort((a, b) => a - b);
  }

  has(page: number): boolean {
    return this.#pages.size > 0 && this.#pages.has(page);
  }

  add(page: number): void {
    if (this.#pages.has(page)) return;
    this.#pages.add(page);
    this.#changed = true;
  }

  /** They have been written again. */
  deleteRange(first: number, end: number): void {
    if (this.#pages.size === 0) return;
    for (const page of this.#pages) {
      if (page < first || page >= end) continue;
      this.#pages.delete(page);
      this.#changed = true;
    }
  }

  /** Bytes of a page are lost that have been replaced since: they are no loss once that is durable. */
  noteReplaced(): void {
    this.#changed = true;
  }

  /**
   * Durable when it resolves. To be called before the log forgets the records that tell of the pages. `writesDurable`: makes everything
   * durable that has been written so far; a page is not to be forgotten for a write that a crash takes back.
   */
  async save(writesDurable: () => Promise<void> | undefined): Promise<void> {
    if (!this.#changed) return;
    this.#changed = false;
    try {
      const pages = [...this.#pages];
      await writesDurable();
      await writeJsonFile(this.#disk, `${this.#directory}/damaged.json`, pages);
    } catch (error) {
      this.#changed = true;
      throw error;
    }
  }
}
