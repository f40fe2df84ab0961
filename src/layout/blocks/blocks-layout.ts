/** The `blocks` layout: one object a block, in s3backer's own format; a block of zeros has no object. */
import type { Clock } from '../../lib/clock.ts';
import { copyPart } from '../../lib/copy-part.ts';
import { raceAbort, waitOrGiveUp, withDeadline } from '../../lib/deadline.ts';
import { StorageError } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { RangeCells, Tally } from '../../lib/range-cells.ts';
import { RangeGates } from '../../lib/range-gates.ts';
import { Semaphore } from '../../lib/semaphore.ts';
import { settleAll } from '../../lib/settle.ts';
import { isAllZero } from '../../lib/zeros.ts';
import type { ObjectData, ObjectStore } from '../../object/object-store.ts';
import type { Batch, Extent, Layout } from '../layout.ts';
import type { BlockCodec } from './block-codec.ts';
import { BlockDiscards } from './block-discards.ts';
import { BlockInspector } from './block-inspector.ts';
import type { BlockKeys } from './block-keys.ts';
import { listBlocks } from './block-listing.ts';
import { BlockQueues, type BlockWorker, type Patch } from './block-queues.ts';
import { ABSENT, type BlockState, BlockStates, PRESENT, REPLACED, UNCERTAIN, UNKNOWN } from './block-states.ts';
import { BlockSurvey, type SurveyStatus } from './block-survey.ts';
import { DamageLog } from './damage-log.ts';
import { DeleteBatcher } from './delete-batcher.ts';
import { EtagTable } from './etag-table.ts';
import { mapExtents } from './extent-map.ts';
import { changeNothing, composeBlock, coverBlock } from './patches.ts';
import { formatVolumeMetadata, type SizeMark, type VolumeMetadata } from './volume-metadata.ts';
import { planZero, type ZeroPlan } from './zero-plan.ts';

/** Blocks zeroed in one go. More are taken in turns, so that a trim of any size costs bounded memory. */
const ZERO_TURN_BLOCKS = 4000;
/** Unknown blocks it is cheaper to delete unseen than to list. */
const BLIND_DELETES_MAX = 1000;
/** The least that is worth a request where a part of a block can be had: a request takes longer than this much data. */
const FETCH_BYTES = 64 * 1024;
/** How long a question about allocation waits for the survey before it answers "data". */
const EXTENTS_WAIT_MS = 5000;

export interface BlocksLayoutOptions {
  readonly store: ObjectStore;
  readonly keys: BlockKeys;
  readonly codec: BlockCodec;
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  /** Goes with the size in block 0. */
  readonly mark: SizeMark;
  /** Nobody else writes while we hold the volume: what has been seen of a block stays true. */
  readonly exclusive: boolean;
  /** Blocks held in memory at once: so many to be read, and so many to be written. */
  readonly inFlightBlocksMax: number;
  readonly clock: Clock;
  readonly log: Log;
}

type NoteObject = (object: ObjectData | null) => void;

export class BlocksLayout implements Layout, BlockWorker {
  readonly blockSizeBytes: number;
  readonly fetchBytes: number;
  readonly #store: ObjectStore;
  readonly #keys: BlockKeys;
  readonly #codec: BlockCodec;
  readonly #clock: Clock;
  readonly #queues: BlockQueues;
  readonly #gates = new RangeGates();
  readonly #deletes: DeleteBatcher;
  /** Apart, so that writes that the store does not take hold up no reads. */
  readonly #readPlaces: Semaphore;
  readonly #writePlaces: Semaphore;
  readonly #stop = new AbortController();
  /** Null where others write too: then nothing is remembered. */
  readonly #states: BlockStates | null;
  readonly #etags: EtagTable | null;
  /** For scans. */
  readonly inspector: BlockInspector;
  #blockCount: number;
  /** What block 0 says, or is about to say. */
  #recorded: VolumeMetadata & { readonly mark: SizeMark };
  readonly #survey: BlockSurvey | null;
  readonly #discards: BlockDiscards;
  readonly #damage: DamageLog;

  constructor(options: BlocksLayoutOptions) {
    this.blockSizeBytes = options.blockSizeBytes;
    this.fetchBytes = options.codec.writesPlain
      ? Math.min(FETCH_BYTES, options.blockSizeBytes)
      : options.blockSizeBytes;
    this.#store = options.store;
    this.#keys = options.keys;
    this.#codec = options.codec;
    this.#clock = options.clock;
    this.#damage = new DamageLog(options.log);
    this.#queues = new BlockQueues(this, options.exclusive);
    this.#deletes = new DeleteBatcher(options.store);
    this.#discards = new BlockDiscards({ ...options, deletes: this.#deletes, stop: this.#stop.signal });
    this.#readPlaces = new Semaphore(options.inFlightBlocksMax);
    this.#writePlaces = new Semaphore(options.inFlightBlocksMax);
    this.#blockCount = options.sizeBytes / options.blockSizeBytes;
    const { sizeBytes, blockSizeBytes, mark } = options;
    this.#recorded = { sizeBytes, blockSizeBytes, mark };
    this.#states = options.exclusive ? new BlockStates(this.#blockCount) : null;
    this.#etags = options.exclusive ? new EtagTable(this.#blockCount) : null;
    const [states, etags] = [this.#states, this.#etags];
    this.#survey =
      states === null || etags === null
        ? null
        : new BlockSurvey({ ...options, states, etags, signal: this.#stop.signal });
    this.inspector = new BlockInspector({
      ...options,
      queues: this.#queues,
      places: this.#readPlaces,
      states,
      etags,
      blockCount: () => this.#blockCount,
    });
  }

  get sizeBytes(): number {
    return this.#blockCount * this.blockSizeBytes;
  }

  /** Null where nothing is remembered of blocks, and nothing surveyed. */
  get surveyStatus(): SurveyStatus | null {
    return this.#survey?.status ?? null;
  }

  /** Blocks that have an object, or null where that is not known. */
  get storedBlocks(): number | null {
    return this.#survey?.status.state === 'done' ? (this.#states?.count(PRESENT) ?? null) : null;
  }

  /** Adds what has an object to `stored`, and what nobody knows of to `unknown`. */
  *tally(stored: RangeCells, unknown: RangeCells): Tally {
    if (this.#states === null) unknown.add(0, this.sizeBytes);
    else yield* this.#states.tally(this.blockSizeBytes, stored, unknown);
  }

  read(offset: number, length: number): Promise<Buffer> {
    const first = Math.floor(offset / this.blockSizeBytes);
    const end = Math.ceil((offset + length) / this.blockSizeBytes);
    return this.#gates.run(first, end, false, () =>
      this.#readEach(offset, length, (block, from, to) => this.#queues.read(block, from, to)),
    );
  }

  peek(offset: number, length: number): Promise<Buffer> {
    return this.#readEach(offset, length, (block, from, to) => this.#queues.peek(block, from, to));
  }

  async commit(batch: Batch): Promise<void> {
    const { sizeBytes } = this;
    await settleAll(
      batch.extents.map((extent) => {
        const { offset } = extent;
        const given = extent.data === undefined ? extent.zeroLength : extent.data.length;
        const length = Math.min(given, sizeBytes - offset);
        if (length <= 0) return Promise.resolve();
        const first = Math.floor(offset / this.blockSizeBytes);
        const end = Math.ceil((offset + length) / this.blockSizeBytes);
        if (extent.data !== undefined) {
          const data = extent.data.subarray(0, length);
          return this.#gates.run(first, end, false, () => this.#write(offset, data));
        }
        const plan = planZero(offset, length, this.blockSizeBytes);
        const inTurns = this.#takesTurns(plan.firstWhole, plan.endWhole);
        return this.#gates.run(first, end, inTurns, () => this.#zero(plan, inTurns));
      }),
    );
  }

  zerosFrom(offset: number, length: number): number {
    const states = this.#states;
    if (states === null) return 0;
    const first = Math.floor(offset / this.blockSizeBytes);
    const end = Math.ceil((offset + length) / this.blockSizeBytes);
    let block = first;
    while (block < end && states.get(block) === ABSENT && !this.#queues.isBusy(block)) block++;
    return Math.max(0, Math.min(length, block * this.blockSizeBytes - offset));
  }

  zeroesFast(offset: number, length: number): boolean {
    const { blockSizeBytes } = this;
    const fast = (at: number): boolean => {
      const block = Math.floor(at / blockSizeBytes);
      return at % blockSizeBytes === 0 || (this.#stateOf(block) === ABSENT && !this.#queues.isBusy(block));
    };
    return fast(offset) && fast(offset + length);
  }

  async extents(offset: number, length: number, countMax?: number): Promise<Extent[]> {
    const states = this.#states;
    if (states === null) return [{ length, hole: false, zero: false }];
    const survey = this.#survey?.running?.catch(() => {});
    if (survey !== undefined) {
      await withDeadline(this.#clock, EXTENTS_WAIT_MS, (signal) => raceAbort(survey, signal), this.#stop.signal);
    }
    const first = Math.floor(offset / this.blockSizeBytes);
    const end = Math.ceil((offset + length) / this.blockSizeBytes);
    return this.#gates.run(first, end, false, async () =>
      mapExtents(states, this.#queues.writtenBlocks(first, end), this.blockSizeBytes, offset, length, countMax),
    );
  }

  async clearBeyondEnd(sizeBytes: number, signal: AbortSignal, onDeleted?: (blocks: number) => void): Promise<void> {
    // A shrink waits for no reads. Those under way since have what was there: nobody may join them, nor they say what is there.
    const ended = (first: number): Promise<void> => this.#queues.endedFrom(first);
    await this.#waitFrom(this.#blockCount, ended, 'what is under way beyond the old end', signal);
    // Objects left by an earlier and larger life of the volume must not come back to life.
    await this.discardBeyondEnd(sizeBytes, signal, onDeleted);
  }

  extend(sizeBytes: number): void {
    this.#resize(sizeBytes / this.blockSizeBytes);
  }

  async cutOff(sizeBytes: number, signal: AbortSignal): Promise<void> {
    const end = sizeBytes / this.blockSizeBytes;
    this.#resize(end);
    // What is put there now would come back to life. Nothing new begins beyond the end, so that it does end.
    const ended = (first: number): Promise<void> => this.#queues.writtenFrom(first);
    await this.#waitFrom(end, ended, 'the writes under way beyond the new end', signal);
  }

  /**
   * Has block 0 say this size from now on, and as written with the volume's resize `resizes`: at once, where there is one. CANCELLED when `signal`
   * aborts: it may be under way still.
   */
  async recordSize(sizeBytes: number, resizes: number, signal: AbortSignal): Promise<void> {
    this.#recorded = { ...this.#recorded, sizeBytes, mark: { ...this.#recorded.mark, resizes } };
    await this.rewriteSize(signal);
  }

  /** Has block 0 say the size once more, where there is one. CANCELLED as `recordSize`. */
  async rewriteSize(signal: AbortSignal): Promise<void> {
    await waitOrGiveUp(this.#queues.rewrite(0), signal, 'the size in block 0');
  }

  /**
   * Deletes the objects of blocks beyond the volume's end, up to that size; returns how many there were. `onDeleted` is called
   * with how many it has been so far. CANCELLED when `signal` aborts.
   */
  discardBeyondEnd(sizeBytes: number, signal: AbortSignal, onDeleted?: (blocks: number) => void): Promise<number> {
    return this.#discards.run(this.#blockCount, sizeBytes / this.blockSizeBytes, signal, onDeleted);
  }

  /** Lists the volume's blocks: see BlockSurvey. */
  survey(): Promise<void> {
    return this.#survey?.run(this.#blockCount) ?? Promise.resolve();
  }

  /**
   * Finds out by the survey which blocks nobody has changed since `since`, by the store's clock, and returns how to ask: whether
   * all blocks of a range are of those. Rejects where the survey fails, or there is none.
   */
  async unchangedSince(since: Date): Promise<(offset: number, length: number) => boolean> {
    if (this.#survey === null) {
      throw new StorageError('UNSUPPORTED', 'nothing is known of the blocks of a volume that others write too');
    }
    const unchanged = await this.#survey.unchangedSince(this.#blockCount, since);
    return (offset, length) => {
      const end = Math.ceil((offset + length) / this.blockSizeBytes);
      const first = Math.floor(offset / this.blockSizeBytes);
      return unchanged.next(PRESENT, false, first, end) === end;
    };
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled([this.#queues.idle(), this.#discards.idle(), this.#survey?.running]);
  }

  /** BlockWorker: bytes [start, end) of a block. */
  async readBlock(block: number, start: number, end: number): Promise<Buffer> {
    if (this.#stateOf(block) === ABSENT) return Buffer.alloc(end - start);
    const note = (object: ObjectData | null): void => this.#noteLooked(block, object);
    return (await this.#readPlaces.run(() => this.#load(block, start, end, note))) ?? Buffer.alloc(end - start);
  }

  /** BlockWorker: the same beside a write: what is seen of the object then says nothing about what is there afterwards. */
  async peekBlock(block: number, start: number, end: number): Promise<Buffer | null> {
    const before = this.#stateOf(block);
    if (before === ABSENT) return Buffer.alloc(end - start);
    const bytes = await this.#readPlaces.run(() => this.#load(block, start, end, () => {}));
    if (bytes !== null) return bytes;
    // Deleted by the write, or by somebody else: that can be told once the write has ended.
    return isThere(before) ? null : Buffer.alloc(end - start);
  }

  /** BlockWorker: applies the patches and stores what comes of it; stores the block again where there are none. */
  async writeBlock(block: number, patches: readonly Patch[]): Promise<void> {
    const zeroes = patches.length > 0 && patches.every((patch) => patch.data === null);
    const covered = coverBlock(patches, this.blockSizeBytes);
    if (zeroes && this.#stateOf(block) === ABSENT) return;
    if (zeroes && covered) return this.#remove(block);
    const empty = await this.#writePlaces.run(async () => {
      const note = (object: ObjectData | null): void => this.#noteLooked(block, object);
      const before = this.#stateOf(block);
      const base = covered || before === ABSENT ? null : await this.#fetch(block, note);
      // After a write without a clear answer, which may yet arrive, another one has to follow, whatever is there now.
      const isSettled = before !== UNCERTAIN && before !== REPLACED;
      if (base === null && patches.length === 0) return false;
      if (base === null && zeroes) return !isSettled;
      // Block 0 carries the volume's size, which may have changed although its bytes have not.
      if (base !== null && block !== 0 && isSettled && changeNothing(base, patches)) return false;
      const image = composeBlock(base, patches, this.blockSizeBytes);
      if (isAllZero(image)) return true;
      await this.#put(block, image);
      return false;
    });
    if (empty) await this.#remove(block);
  }

  #write(offset: number, data: Buffer): Promise<void> {
    const writes: Promise<void>[] = [];
    for (let at = 0; at < data.length; ) {
      const block = Math.floor((offset + at) / this.blockSizeBytes);
      const start = offset + at - block * this.blockSizeBytes;
      const piece = data.subarray(at, at + this.blockSizeBytes - start);
      writes.push(this.#queues.write(block, { start, length: piece.length, data: piece }));
      at += piece.length;
    }
    return settleAll(writes);
  }

  /** Too many blocks to queue at once: they are taken in turns, and requests behind wait. */
  #takesTurns(first: number, end: number): boolean {
    if (end - first <= BLIND_DELETES_MAX) return false;
    const states = this.#states;
    return states === null || end - first - states.count(ABSENT, first, end) > BLIND_DELETES_MAX;
  }

  async #zero({ parts, firstWhole, endWhole }: ZeroPlan, inTurns: boolean): Promise<void> {
    const edges = parts.map(({ block, patch }) => this.#queues.write(block, patch));
    await settleAll([
      ...edges,
      inTurns ? this.#zeroInTurns(firstWhole, endWhole) : this.#zeroBlocks(this.#candidates(firstWhole, endWhole)),
    ]);
  }

  async #zeroInTurns(first: number, end: number): Promise<void> {
    if (this.#states === null) {
      await this.#zeroBlocks(this.#queues.busyBlocks(first, end));
      for await (const blocks of listBlocks(this.#store, this.#keys, first, end, this.#stop.signal))
        await this.#zeroBlocks(blocks.map(({ block }) => block));
      return;
    }
    if (this.#states.count(UNKNOWN, first, end) > BLIND_DELETES_MAX) await this.survey();
    await this.#zeroBlocks(this.#queues.busyBlocks(first, end));
    for (let at = first; at < end; ) {
      const blocks: number[] = [];
      while (blocks.length < ZERO_TURN_BLOCKS && at < end) {
        at = this.#states.next(ABSENT, false, at, end);
        if (at < end) blocks.push(at++);
      }
      await this.#zeroBlocks(blocks);
    }
  }

  /** The blocks of [first, end) that may have an object now or once what is queued for them is done. */
  #candidates(first: number, end: number): number[] {
    const blocks = new Set(this.#queues.busyBlocks(first, end));
    for (let at = first; at < end; at++) {
      at = this.#states === null ? at : this.#states.next(ABSENT, false, at, end);
      if (at < end) blocks.add(at);
    }
    return [...blocks];
  }

  #zeroBlocks(blocks: readonly number[]): Promise<void> {
    const patch: Patch = { start: 0, length: this.blockSizeBytes, data: null };
    return settleAll(blocks.map((block) => this.#queues.write(block, patch)));
  }

  #resize(blockCount: number): void {
    this.#blockCount = blockCount;
    this.#survey?.cutOff(blockCount);
    this.#states?.resize(blockCount);
    this.#etags?.resize(blockCount);
  }

  /** Waits for `ended`, once nothing of blocks from `first` on is at the gates any more. CANCELLED when `signal` aborts. */
  async #waitFrom(
    first: number,
    ended: (first: number) => Promise<void>,
    what: string,
    signal: AbortSignal,
  ): Promise<void> {
    const waited = this.#gates.run(first, Number.MAX_SAFE_INTEGER, true, () => ended(first));
    await waitOrGiveUp(waited, signal, what);
  }

  /** The bytes of a range, from those of its blocks: `readBlock` has bytes [start, end) of one. */
  async #readEach(
    offset: number,
    length: number,
    readBlock: (block: number, start: number, end: number) => Promise<Buffer>,
  ): Promise<Buffer> {
    const end = Math.ceil((offset + length) / this.blockSizeBytes);
    const pieces: Promise<Buffer>[] = [];
    for (let block = Math.floor(offset / this.blockSizeBytes); block < end; block++) {
      const base = block * this.blockSizeBytes;
      pieces.push(readBlock(block, Math.max(offset - base, 0), Math.min(offset + length - base, this.blockSizeBytes)));
    }
    const [only] = pieces;
    if (only !== undefined && pieces.length === 1) return only;
    return Buffer.concat(await Promise.all(pieces), length);
  }

  /** Bytes [start, end) of a block, or null where it has no object. `note` is told of what is found. */
  #load(block: number, start: number, end: number, note: NoteObject): Promise<Buffer | null> {
    const loading = this.#loadPart(block, start, end, note);
    loading.catch((error: unknown) => this.#damage.failed(block, error));
    return loading;
  }

  async #loadPart(block: number, start: number, end: number, note: NoteObject): Promise<Buffer | null> {
    const whole = start === 0 && end === this.blockSizeBytes;
    if (!whole && this.#codec.writesPlain) {
      const part = await this.#fetchPart(block, start, end, note);
      if (part !== undefined) return part;
    }
    const bytes = await this.#fetch(block, note);
    return bytes === null ? null : copyPart(bytes, start, end);
  }

  /** The block's bytes, or null where it has no object. */
  async #fetch(block: number, note: NoteObject): Promise<Buffer | null> {
    const object = await this.#store.get(this.#keys.keyOf(block));
    note(object);
    return object === null ? null : this.#codec.decode(block, object);
  }

  /** A part of a block that is stored plain; null where it has no object, undefined where the whole is needed to tell. */
  async #fetchPart(block: number, start: number, end: number, note: NoteObject): Promise<Buffer | null | undefined> {
    const key = this.#keys.keyOf(block);
    let object: ObjectData | null;
    try {
      object = await this.#store.get(key, { range: { offset: start, length: end - start } });
    } catch (error) {
      // A compressed block of a mixed volume may be shorter than where the part would begin.
      if (error instanceof StorageError && error.code === 'INVALID') return undefined;
      throw error;
    }
    note(object);
    if (object === null) return null;
    const plain = (object.contentEncoding ?? '') === '' && object.sizeBytes === this.blockSizeBytes;
    return plain ? object.body : undefined;
  }

  async #put(block: number, image: Buffer): Promise<void> {
    const metadata = block === 0 ? formatVolumeMetadata(this.#recorded) : {};
    const { body, headers } = await this.#codec.encode(block, image, metadata);
    this.#note(block, isThere(this.#stateOf(block)) ? REPLACED : UNCERTAIN, null);
    const { etag } = await this.#store.put(this.#keys.keyOf(block), body, { headers });
    this.#note(block, PRESENT, etag);
    this.#damage.replaced(block);
  }

  async #remove(block: number): Promise<void> {
    if (this.#stateOf(block) === ABSENT) return;
    this.#note(block, UNCERTAIN, null);
    await this.#deletes.delete(this.#keys.keyOf(block));
    this.#note(block, ABSENT, null);
    this.#damage.replaced(block);
  }

  #note(block: number, state: BlockState, etag: string | null): void {
    this.#states?.set(block, state);
    this.#etags?.set(block, etag);
  }

  #stateOf(block: number): BlockState {
    return this.#states?.get(block) ?? UNKNOWN;
  }

  /** No write of the block is under way: its queue has us at the head. CORRUPT where its object has been lost. */
  #noteLooked(block: number, object: ObjectData | null): void {
    const state = this.#stateOf(block);
    if (state === UNKNOWN) this.#states?.set(block, object === null ? ABSENT : PRESENT);
    if (!isThere(state) || object !== null) return;
    throw new StorageError(
      'CORRUPT',
      `block object ${this.#keys.keyOf(block)} is gone although it was there: somebody else has deleted it`,
    );
  }
}

/** There is an object, unless somebody else has deleted it. */
function isThere(state: BlockState): boolean {
  return state === PRESENT || state === REPLACED;
}
