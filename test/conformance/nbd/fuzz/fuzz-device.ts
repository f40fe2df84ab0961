/** A device that fails as the reference foretells, answers at once or in any order, and watches over its buffers. */
import assert from 'node:assert/strict';
import { StorageError } from '../../../../src/lib/errors.ts';
import type { DeviceExtent, WriteOptions, ZeroOptions } from '../../../../src/volume/block-device.ts';
import type { Random } from '../../lease/random.ts';
import { MemoryDevice } from '../memory-device.ts';
import { fate, PAYLOAD_MAX, SIZE } from './reference.ts';

export class FuzzDevice extends MemoryDevice {
  readonly #random: Random;
  readonly #late: boolean;
  /** Requests to be completed, in any order. */
  readonly #pending: (() => void)[] = [];

  /** `late`: about half of the requests are answered when `completeOne` says so, the others at once. */
  constructor(random: Random, late: boolean) {
    super(SIZE, { blockSizeMaxBytes: PAYLOAD_MAX });
    this.#random = random;
    this.#late = late;
    this.recordCalls = false;
  }

  get pending(): number {
    return this.#pending.length;
  }

  completeOne(): void {
    this.#pending.splice(this.#random.int(0, this.#pending.length - 1), 1)[0]?.();
  }

  override read(offset: number, length: number): Buffer | Promise<Buffer> {
    return this.#answer(offset, length, () => super.read(offset, length) as Buffer);
  }

  override write(offset: number, data: Buffer, options: WriteOptions): void | Promise<void> {
    const asGiven = Buffer.from(data);
    return this.#answer(
      offset,
      data.length,
      () => void super.write(offset, data, options),
      () => assert.ok(data.equals(asGiven), 'the data of a write changed before it was done'),
    );
  }

  override zero(offset: number, length: number, options: ZeroOptions): void | Promise<void> {
    return this.#answer(offset, length, () => void super.zero(offset, length, options));
  }

  override trim(offset: number, length: number, options: WriteOptions): void | Promise<void> {
    return this.#answer(offset, length, () => void super.trim(offset, length, options));
  }

  override flush(): void | Promise<void> {
    return this.#answer(0, 0, () => {});
  }

  override extents(offset: number, length: number, countMax?: number): DeviceExtent[] | Promise<DeviceExtent[]> {
    return this.#answer(offset, length, () => super.extents(offset, length, countMax) as DeviceExtent[]);
  }

  override prefetch(offset: number, length: number): void | Promise<void> {
    return this.#answer(offset, length, () => {});
  }

  /** Takes effect at once, so in the order the requests were made; the answer may come later. */
  #answer<T>(offset: number, length: number, act: () => T, whenDone: () => void = () => {}): T | Promise<T> {
    const lot = length === 0 ? 'good' : fate(offset, length);
    if (lot === 'throws') throw new StorageError('CORRUPT', 'thrown');
    const value = lot === 'good' ? act() : undefined;
    if (lot === 'good' && !(this.#late && this.#random.chance(0.5))) return value as T;
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        try {
          whenDone();
        } catch (error) {
          reject(error);
          return;
        }
        if (lot === 'good') resolve(value as T);
        else reject(new StorageError('UNAVAILABLE', 'rejected'));
      };
      if (this.#late) this.#pending.push(settle);
      else settle();
    });
  }
}
