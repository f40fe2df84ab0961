/** A file of the simulated disk: what a process sees of it, what would be left after a power cut, and what lies between. */
import type { Random } from '../random.ts';
import { SparseBytes } from './sparse-bytes.ts';

/** What a disk writes whole or not at all. */
export const SECTOR_BYTES = 512;

/** A change that a power cut may undo. */
export interface Change {
  readonly kind: 'write' | 'size' | 'reserve';
  readonly position: number;
  readonly data: Buffer;
  /** What the file grows to, at least, or is set to. */
  readonly sizeBytes: number;
  /** It shows: a call that has returned made it. Otherwise the call is under way. */
  done: boolean;
}

/** Which of the changes outlive a power cut. `sectors` of one write part from each other; otherwise most writes do not. */
export type CrashStyle = 'none' | 'all' | 'sectors' | 'writes' | 'prefix';

const NO_DATA = Buffer.alloc(0);

export class SimInode {
  #visible = new SparseBytes();
  readonly #durable = new SparseBytes();
  /** In the order in which they took effect; those under way in that in which they were begun. */
  readonly #pending = new Set<Change>();
  /** Sectors that cannot be read until they are written again. */
  readonly #broken = new Set<number>();

  get visible(): SparseBytes {
    return this.#visible;
  }

  /** Changes that are not durable. */
  get pendingChanges(): number {
    return this.#pending.size;
  }

  beginWrite(data: Buffer, position: number): Change {
    return this.#begin('write', position, data, position + data.length);
  }

  beginResize(kind: 'size' | 'reserve', sizeBytes: number): Change {
    return this.#begin(kind, 0, NO_DATA, sizeBytes);
  }

  /** Makes the change show. Of changes that meet, the one that ends later shows. */
  end(change: Change): void {
    this.#pending.delete(change);
    this.#pending.add(change);
    change.done = true;
    apply(this.#visible, change);
    if (change.kind === 'write') this.#mend(change);
  }

  giveUp(change: Change): void {
    this.#pending.delete(change);
  }

  isBroken(position: number, length: number): boolean {
    if (this.#broken.size === 0) return false;
    const end = Math.ceil((position + length) / SECTOR_BYTES);
    for (let sector = Math.floor(position / SECTOR_BYTES); sector < end; sector++) {
      if (this.#broken.has(sector)) return true;
    }
    return false;
  }

  breakSector(position: number): void {
    this.#broken.add(Math.floor(position / SECTOR_BYTES));
  }

  flipBit(position: number, bit: number): void {
    this.#visible.flipBit(position, bit);
    this.#durable.flipBit(position, bit);
  }

  /** What a sync that begins now makes durable. */
  syncable(): readonly Change[] {
    return [...this.#pending].filter(({ done }) => done);
  }

  synced(changes: readonly Change[]): void {
    // Of two syncs at once, the first may have seen to it.
    for (const change of changes) if (this.#pending.delete(change)) apply(this.#durable, change);
  }

  /**
   * A sync that has failed: some of what was to be written has been, and nothing will ever write the rest, although reads
   * show it for as long as the machine runs.
   */
  syncFailed(changes: readonly Change[], random: Random): void {
    const lost = changes.filter((change) => change.kind === 'write' && this.#pending.delete(change));
    putSome(this.#durable, lost, 'sectors', random);
    // The size is the filesystem's own business, and gets there.
    for (const { sizeBytes } of lost) {
      if (sizeBytes > this.#durable.sizeBytes) this.#begin('write', sizeBytes, NO_DATA, sizeBytes).done = true;
    }
  }

  /** The machine has lost its power. */
  crash(style: CrashStyle, random: Random): void {
    const changes = [...this.#pending];
    // Sizes are kept by the filesystem's journal, in order; data is not.
    const sized = style === 'none' ? 0 : style === 'all' ? changes.length : random.below(changes.length + 1);
    const sizeBytes = sizeAfter(this.#durable.sizeBytes, changes.slice(0, sized));
    putSome(this.#durable, changes, style, random, sized);
    this.#durable.resize(sizeBytes);
    this.#visible = this.#durable.copy();
    this.#pending.clear();
  }

  /** The process has died, and the machine runs on: only calls that were under way may be half done. */
  kill(random: Random): void {
    for (const change of [...this.#pending]) {
      const { kind, position, data, sizeBytes, done } = change;
      if (done) continue;
      this.#pending.delete(change);
      if (kind !== 'write') {
        if (random.chance(0.5)) this.end(this.#begin(kind, position, data, sizeBytes));
        continue;
      }
      // A write goes from its beginning to its end.
      const part = data.subarray(0, random.below(data.length + 1));
      if (part.length > 0) this.end(this.#begin(kind, position, part, position + part.length));
    }
  }

  #begin(kind: Change['kind'], position: number, data: Buffer, sizeBytes: number): Change {
    const change: Change = { kind, position, data, sizeBytes, done: false };
    this.#pending.add(change);
    return change;
  }

  #mend({ position, data }: Change): void {
    if (this.#broken.size === 0) return;
    const end = Math.ceil((position + data.length) / SECTOR_BYTES);
    for (let sector = Math.floor(position / SECTOR_BYTES); sector < end; sector++) this.#broken.delete(sector);
  }
}

function apply(bytes: SparseBytes, { kind, position, data, sizeBytes }: Change): void {
  if (kind === 'write') {
    bytes.put(data, position);
    bytes.resize(Math.max(bytes.sizeBytes, sizeBytes));
    return;
  }
  bytes.resize(sizeBytes);
  if (kind === 'reserve') bytes.setAside(sizeBytes);
}

function sizeAfter(sizeBytes: number, changes: readonly Change[]): number {
  return changes.reduce(
    (size, change) => (change.kind === 'write' ? Math.max(size, change.sizeBytes) : change.sizeBytes),
    sizeBytes,
  );
}

/** Applies some of the changes: of the first `sized` that set the size, all; of each sector, the first few writes to it. */
function putSome(
  bytes: SparseBytes,
  changes: readonly Change[],
  style: CrashStyle,
  random: Random,
  sized = changes.length,
): void {
  const kept = new SectorChoice(changes, style, random);
  for (const [index, change] of changes.entries()) {
    if (change.kind === 'write') kept.put(bytes, change, index);
    else if (index < sized) apply(bytes, change);
  }
}

/** Which writes are kept of each sector: always the first ones, as a later one holds what the earlier ones wrote. */
class SectorChoice {
  readonly #style: CrashStyle;
  readonly #random: Random;
  readonly #prefix: number;
  readonly #left = new Map<number, number>();

  constructor(changes: readonly Change[], style: CrashStyle, random: Random) {
    this.#style = style;
    this.#random = random;
    this.#prefix = random.below(changes.length + 1);
    if (style !== 'sectors') return;
    const writes = new Map<number, number>();
    for (const change of changes) {
      for (const { sector } of piecesOf(change)) writes.set(sector, (writes.get(sector) ?? 0) + 1);
    }
    // Some power cuts keep little and some much.
    const share = random.next() * 1.5;
    for (const [sector, count] of writes) {
      this.#left.set(sector, random.chance(share) ? count : random.below(count + 1));
    }
  }

  put(bytes: SparseBytes, change: Change, index: number): void {
    const whole = this.#keeps(index);
    if (whole !== null) {
      if (whole) bytes.put(change.data, change.position);
      return;
    }
    for (const { sector, data, position } of piecesOf(change)) {
      const left = this.#left.get(sector) ?? (this.#random.chance(0.5) ? 1 : 0);
      this.#left.set(sector, left - 1);
      if (left > 0) bytes.put(data, position);
    }
  }

  /** Null: sector by sector. */
  #keeps(index: number): boolean | null {
    if (this.#style === 'none') return false;
    if (this.#style === 'all') return true;
    if (this.#style === 'prefix' && index !== this.#prefix) return index < this.#prefix;
    if (this.#style === 'writes') return this.#random.chance(0.5);
    return null;
  }
}

interface Piece {
  readonly sector: number;
  readonly position: number;
  readonly data: Buffer;
}

function* piecesOf({ position, data }: Change): Generator<Piece> {
  for (let done = 0; done < data.length; ) {
    const at = position + done;
    const end = Math.min(data.length, done + SECTOR_BYTES - (at % SECTOR_BYTES));
    yield { sector: Math.floor(at / SECTOR_BYTES), position: at, data: data.subarray(done, end) };
    done = end;
  }
}
