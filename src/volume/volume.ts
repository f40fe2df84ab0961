/** An open volume: its device for those who serve it, and what can be done with it while it is open. */

import type { CachedVolume } from '../cache/cached-volume.ts';
import type { BlockInspector } from '../layout/blocks/block-inspector.ts';
import type { SurveyStatus } from '../layout/blocks/block-survey.ts';
import type { BlocksLayout } from '../layout/blocks/blocks-layout.ts';
import { raceAbort, waitOrGiveUp } from '../lib/deadline.ts';
import { StorageError } from '../lib/errors.ts';
import { formatSize } from '../lib/units.ts';
import type { ObjectStore } from '../object/object-store.ts';
import type { BlockDevice } from './block-device.ts';
import { openFence, whenOurs } from './fence.ts';
import type { Hold } from './hold.ts';
import { checkGeometry } from './identity.ts';
import { volumeKeys } from './volume-keys.ts';
import { drawMap, type MapRange, type VolumeMap } from './volume-map.ts';
import type { VolumeOptions } from './volume-options.ts';
import { replaceRecord, type VolumeRecord } from './volume-record.ts';

export interface VolumeParts {
  readonly options: VolumeOptions;
  readonly record: VolumeRecord;
  readonly layout: BlocksLayout;
  readonly device: BlockDevice;
  /** What is behind the device, where it has a cache. */
  readonly cached: CachedVolume | null;
  /** Null where the volume is only read. */
  readonly hold: Hold | null;
  /** Fenced where the volume is held. */
  readonly store: ObjectStore;
  /** The store honours conditional puts. */
  readonly conditional: boolean;
}

export interface ResizeOptions {
  /** Allow a smaller size. */
  readonly force: boolean;
  /** Gives up waiting: the same resize may be made again then, and the next opening finds the old size or the new one. */
  readonly signal?: AbortSignal;
  /** Called with how many blocks have been deleted so far. */
  readonly onDeleted?: (blocks: number) => void;
}

export interface Resized {
  readonly oldSizeBytes: number;
  readonly newSizeBytes: number;
  /** Blocks deleted beyond the new end. */
  readonly deletedBlocks: number;
}

/** `clean`: everything that was answered is in the bucket. `dirty`: some of it is in the cache only. `cut`: requests were cut off. */
export type Closed = 'clean' | 'dirty' | 'cut';

export class Volume {
  readonly options: VolumeOptions;
  readonly device: BlockDevice;
  readonly cached: CachedVolume | null;
  readonly #layout: BlocksLayout;
  readonly #hold: Hold | null;
  readonly #store: ObjectStore;
  readonly #conditional: boolean;
  /** The last one that is known to have counted. What may have come after it in the bucket is `#undecided`, or that record with a resize begun. */
  #record: VolumeRecord;
  /** The record that ends a resize, and block 0 with it, of which it is not known whether the bucket has them. */
  #undecided: VolumeRecord | null = null;
  /** What the volume had before a shrink that is not decided. All of that may still count, but nobody is shown it. */
  #cutFromBytes: number | null = null;
  /** The resize that is under way. `ended` never rejects. */
  #resizing: { readonly ended: Promise<unknown>; readonly shrinks: boolean } | null = null;
  /** What has not begun in the bucket is not begun any more. */
  readonly #closing = new AbortController();
  /** Nor is what has begun waited for. */
  readonly #cut = new AbortController();

  constructor(parts: VolumeParts) {
    this.options = parts.options;
    this.device = parts.device;
    this.cached = parts.cached;
    this.#record = parts.record;
    this.#layout = parts.layout;
    this.#hold = parts.hold;
    this.#store = parts.store;
    this.#conditional = parts.conditional;
  }

  get name(): string {
    return this.options.name;
  }

  /** With the size that the volume has for everybody, whatever the bucket may say by now. */
  get record(): VolumeRecord {
    return { ...this.#record, sizeBytes: this.#layout.sizeBytes };
  }

  /** What of it may count, and is not to be made smaller unasked. */
  get #sizeBytes(): number {
    return this.#cutFromBytes ?? this.#layout.sizeBytes;
  }

  /** For scans. */
  get inspector(): BlockInspector {
    return this.#layout.inspector;
  }

  /** Fenced where the volume is held. */
  get store(): ObjectStore {
    return this.#store;
  }

  /** It is held, and may be written. */
  get isHeld(): boolean {
    return this.#hold !== null && this.#hold.lost === null;
  }

  /** How `work` ended, told once it is known that the volume was ours until then: see fence.ts. */
  whenOurs<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
    return whenOurs(this.#hold ?? openFence, work, signal);
  }

  get survey(): SurveyStatus | null {
    return this.#layout.surveyStatus;
  }

  /** Resolves once the survey is done or has failed, where the volume is to have one. CANCELLED when the signal aborts. */
  async surveyed(signal: AbortSignal): Promise<void> {
    if (!this.options.survey || this.survey === null) return;
    const done = this.#layout.survey().catch(() => {});
    await waitOrGiveUp(done, signal, 'the survey');
  }

  /**
   * Why no client may attach at the moment, or null. Set as soon as `resize` has been called with a smaller size: clients who
   * came now would lose what they write beyond the new end.
   */
  get closedToClients(): string | null {
    if (this.#resizing?.shrinks !== true) return null;
    return `volume ${this.name} is being made smaller: attach once "bucketdisk resize" has ended`;
  }

  get storedBlocks(): number | null {
    return this.#layout.storedBlocks;
  }

  /** Null where the volume is not held but only read. */
  get confirmedAgoMs(): number | null {
    return this.#hold?.confirmedAgoMs ?? null;
  }

  /** Why another writer has it now, or null. */
  get lost(): StorageError | null {
    return this.#hold?.lost ?? null;
  }

  /** Where the bytes of a range are, for people: see VolumeMap. INVALID for a range that is not in the volume. */
  map(range: MapRange): Promise<VolumeMap> {
    return drawMap(range, this.#layout, this.cached);
  }

  /**
   * Changes the size. Crash-safe: at the next opening the volume has its old size or its new one, and all that was written
   * to it. Before a smaller one the caller sees to it that no client is attached, and that none attaches while `closedToClients`. INVALID for a size the format cannot have, or a smaller one without
   * `force`.
   */
  async resize(sizeBytes: number, { force, signal = this.#cut.signal, onDeleted }: ResizeOptions): Promise<Resized> {
    const { name, readOnly } = this.options;
    const { blockSizeBytes } = this.#record;
    const oldSizeBytes = this.#sizeBytes;
    if (readOnly) throw new StorageError('READ_ONLY', `volume ${name} is read-only`);
    if (this.options.sharedDisk)
      throw new StorageError(
        'UNSUPPORTED',
        `volume ${name} is a shared disk: stop everybody and resize it without sharedDisk`,
      );
    checkGeometry(this.options, sizeBytes, blockSizeBytes);
    if (this.#closing.signal.aborted) throw new StorageError('CANCELLED', `volume ${name} is being closed`);
    if (this.#resizing !== null) throw new StorageError('CONFLICT', `volume ${name} is being resized already`);
    // A shrink has failed on the way. What lies between its end and ours may be data, or about to be deleted.
    const halfwayBytes = this.#layout.sizeBytes;
    if (this.#cutFromBytes !== null && sizeBytes !== halfwayBytes) {
      throw new StorageError(
        'CONFLICT',
        `volume ${name} was being made ${formatSize(halfwayBytes)} and that has not ended: finish it with the same size first`,
      );
    }
    if (sizeBytes < oldSizeBytes && !force) {
      throw new StorageError(
        'INVALID',
        `volume ${name} is ${formatSize(oldSizeBytes)}: making it ${formatSize(sizeBytes)} deletes everything beyond that for good. ` +
          'Shrink the filesystem in it first, then use --force',
      );
    }
    const resizing = this.#resizeTo(sizeBytes, signal, onDeleted);
    this.#resizing = { ended: resizing.catch(() => {}), shrinks: sizeBytes < oldSizeBytes };
    try {
      return await resizing;
    } finally {
      this.#resizing = null;
    }
  }

  /**
   * Finishes what is under way, uploads what is written, and gives the volume up. When `giveUp` aborts first, what is still
   * being sent is cut off, and the lease is left to lapse; so it is where writes are left in the cache, as nobody else
   * should come between them and the bucket.
   */
  async close(giveUp: AbortSignal): Promise<Closed> {
    this.#closing.abort();
    let closed: Closed = 'cut';
    try {
      closed = await this.#finish(giveUp);
    } finally {
      if (closed === 'clean') await this.#hold?.release();
      else await this.#hold?.abandon();
    }
    return closed;
  }

  async #finish(giveUp: AbortSignal): Promise<Closed> {
    if (!(await raceAbort(Promise.resolve(this.#resizing?.ended), giveUp))) this.#cut.abort();
    if (this.cached === null) return (await raceAbort(this.device.close(), giveUp)) ? 'clean' : 'cut';
    if (!(await this.cached.close(giveUp))) return 'dirty';
    return (await raceAbort(this.#layout.close(), giveUp)) ? 'clean' : 'cut';
  }

  /**
   * The new size counts once the volume's record says it without a resize under way, and not before: see `sizeOf`. While that is not known, nobody is
   * shown more than the smaller of the two sizes, and nothing between them is touched, so that either may come of it.
   */
  async #resizeTo(sizeBytes: number, signal: AbortSignal, onDeleted?: (blocks: number) => void): Promise<Resized> {
    const oldSizeBytes = this.#sizeBytes;
    const beginning = AbortSignal.any([this.#closing.signal, signal]);
    const going = AbortSignal.any([this.#cut.signal, signal]);
    // What may arrive late has to be known to have arrived before anything else is decided.
    if (this.#undecided !== null) await this.#decide(this.#undecided, beginning);
    if (sizeBytes > oldSizeBytes) {
      await this.cached?.beforeGrowth(beginning);
      await this.#layout.clearBeyondEnd(sizeBytes, beginning, onDeleted);
    } else if (sizeBytes < oldSizeBytes) await this.cached?.uploadAll(beginning);
    if (sizeBytes !== this.#record.sizeBytes) {
      await this.#begin(sizeBytes, beginning, going);
      await this.#decide({ ...this.#record, sizeBytes, resizes: this.#record.resizes + 1 }, going);
    }
    if (sizeBytes > oldSizeBytes) this.#layout.extend(sizeBytes);
    const deletedBlocks = await this.#layout.discardBeyondEnd(oldSizeBytes, going, onDeleted);
    // Last, as only this fails where the cache's disk does, and nothing depends on it.
    if (sizeBytes < oldSizeBytes) await this.cached?.forgetBeyondEnd();
    return { oldSizeBytes, newSizeBytes: sizeBytes, deletedBlocks };
  }

  /** Leaves a trace in the record before anything is put that decides and may arrive late: whoever finds that takes it back: see `settleIdentity`. */
  async #begin(resizeToBytes: number, beginning: AbortSignal, going: AbortSignal): Promise<void> {
    // Block 0 will have to be written, and cannot be where it is damaged.
    await waitOrGiveUp(this.#layout.read(0, this.#layout.blockSizeBytes), beginning, 'block 0');
    if (beginning.aborted) throw new StorageError('CANCELLED', 'the resize was given up', { cause: beginning.reason });
    await this.#putRecord({ ...this.#record, resizeToBytes, resizeUnshown: true }, going);
  }

  /** Record first, which decides. It is known to have ended only with block 0, which s3backer goes by, and we where the record is lost. */
  async #decide(record: VolumeRecord, signal: AbortSignal): Promise<void> {
    const { sizeBytes, resizes } = record;
    this.#undecided = record;
    if (sizeBytes < this.#layout.sizeBytes) this.#cutFromBytes = this.#layout.sizeBytes;
    if (this.#cutFromBytes !== null) await this.#layout.cutOff(sizeBytes, signal);
    await this.#putRecord(record, signal);
    await this.#layout.recordSize(sizeBytes, resizes, signal);
    this.#record = record;
    this.#undecided = null;
    this.#cutFromBytes = null;
  }

  #putRecord(record: VolumeRecord, signal: AbortSignal): Promise<void> {
    const { record: key } = volumeKeys(this.options.prefix);
    return replaceRecord(this.#store, key, record, { conditional: this.#conditional, signal });
  }
}
