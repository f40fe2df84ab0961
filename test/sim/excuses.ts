/** Which failures of a request the simulation has brought about itself. All others are the volume's fault. */
import { type ErrorCode, StorageError } from '../../src/lib/errors.ts';
import type { DiskIncidents } from '../support/sim-disk.ts';
import type { SimStore } from './sim-store.ts';
import type { Durability } from './subject.ts';

export type RequestKind = 'open' | 'read' | 'write' | 'durable write' | 'flush' | 'extents' | 'upload' | 'close';

const OF_THE_STORE: readonly ErrorCode[] = ['UNAVAILABLE', 'TIMEOUT', 'ACCESS_DENIED'];
const OF_THE_DISK: readonly ErrorCode[] = ['UNAVAILABLE', 'CORRUPT'];

export class Excuses {
  readonly #incidents: DiskIncidents;
  readonly #store: SimStore;
  readonly #durability: Durability;
  /** Failures of the disk before this life. */
  readonly #before: number;
  readonly #noSpaceBefore: number;

  constructor(incidents: DiskIncidents, store: SimStore, durability: Durability) {
    this.#incidents = incidents;
    this.#store = store;
    this.#durability = durability;
    this.#before = this.#diskErrors;
    this.#noSpaceBefore = incidents.noSpace;
  }

  get diskHasFailed(): boolean {
    return this.#diskErrors > this.#before || this.#incidents.noSpace > this.#noSpaceBefore;
  }

  admit(kind: RequestKind, error: unknown): boolean {
    if (!(error instanceof StorageError)) return false;
    const { code } = error;
    if (code === 'NO_SPACE') return this.#incidents.noSpace > this.#noSpaceBefore;
    // Bytes that have rotted stay so, over all lives.
    if (this.#incidents.damages > 0 && OF_THE_DISK.includes(code)) return true;
    if (this.#diskErrors > this.#before && OF_THE_DISK.includes(code)) return true;
    return this.#dependsOnStore(kind) && this.#store.isToBlame && OF_THE_STORE.includes(code);
  }

  /** Nothing that only goes to the cache may fail because of the bucket. */
  #dependsOnStore(kind: RequestKind): boolean {
    if (kind === 'read' || kind === 'upload') return true;
    return this.#durability === 's3' && (kind === 'flush' || kind === 'durable write');
  }

  get #diskErrors(): number {
    const { readErrors, writeErrors, syncErrors, nameErrors } = this.#incidents;
    return readErrors + writeErrors + syncErrors + nameErrors;
  }
}
