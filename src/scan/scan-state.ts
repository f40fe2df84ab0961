/** How far the checks of a volume's bytes have come, over many scans: a small file for each volume. */

import { readJsonFile, writeJsonFile } from '../lib/disk/json-file.ts';
import type { Disk } from '../lib/disk.ts';
import { describeError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';

const FORMAT = 'bucketdisk-scan';
const VERSION = 1;

export interface Rotation {
  /** The key after which the next scan goes on; null: from the first one. */
  readonly cursor: string | null;
  /** How often all blocks have been gone through, and one more. */
  readonly round: number;
  readonly checkedBlocks: number;
  /** Of the read cache, the line after those that were checked last. */
  readonly slot: number;
}

const BEGINNING: Rotation = { cursor: null, round: 1, checkedBlocks: 0, slot: 0 };

export class ScanState {
  readonly #disk: Disk | null;
  readonly #directory: string;
  readonly #path: string;
  readonly #volumeId: string;
  readonly #log: Log;
  #rotation: Rotation;

  /** `disk`: null where nothing is to be kept. */
  constructor(disk: Disk | null, directory: string, name: string, volumeId: string, log: Log) {
    this.#disk = disk;
    this.#directory = directory;
    this.#path = `${directory}/${name}.json`;
    this.#volumeId = volumeId;
    this.#log = log;
    this.#rotation = this.#read();
  }

  get rotation(): Rotation {
    return this.#rotation;
  }

  /** Where it cannot be written down, the next scan begins where an earlier one did. */
  async save(rotation: Rotation): Promise<void> {
    this.#rotation = rotation;
    if (this.#disk === null) return;
    try {
      this.#disk.makeDirectory(this.#directory);
      const value = { format: FORMAT, version: VERSION, volumeId: this.#volumeId, ...rotation };
      await writeJsonFile(this.#disk, this.#path, value);
    } catch (error) {
      this.#log.warn('cannot write down how far the scan has come', { error: describeError(error) });
    }
  }

  #read(): Rotation {
    if (this.#disk === null) return BEGINNING;
    try {
      const value = (readJsonFile(this.#disk, this.#path) ?? {}) as Record<string, unknown>;
      const { format, version, volumeId, cursor, round, checkedBlocks, slot } = value;
      // Of another volume of that name, or nothing at all.
      if (format !== FORMAT || version !== VERSION || volumeId !== this.#volumeId) return BEGINNING;
      const sound =
        (cursor === null || typeof cursor === 'string') && isCount(round) && isCount(checkedBlocks) && isCount(slot);
      return sound ? { cursor, round, checkedBlocks, slot } : BEGINNING;
    } catch (error) {
      this.#log.warn('cannot tell how far the scan had come: it begins anew', { error: describeError(error) });
      return BEGINNING;
    }
  }
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
