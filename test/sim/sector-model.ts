/**
 * What each sector of a disk may hold, from what was asked of it and what was answered. A write is whole in a sector or not
 * there at all; requests that overlap take effect in the order they were made.
 */
import { SECTOR_BYTES } from '../support/sectors.ts';

/** A sector's content, as latin1 text: cheap to compare and to keep in sets. */
type Image = string;

/** The first may have been under way already, the second is told of by what the third has written. */
const FLUSHES_TO_TELL = 3;
const ZEROS: Image = '\0'.repeat(SECTOR_BYTES);

/** A write or zeroing, and what came of it. */
export interface ModelWrite {
  readonly what: string;
  readonly offset: number;
  readonly length: number;
  /** Null: zeros. */
  readonly data: Buffer | null;
  readonly madeAt: number;
  /** Infinity: not yet. */
  answeredAt: number;
  /** With an error: it may have been carried out or not. */
  failed: boolean;
}

/** A request that changes nothing; what was made before it is what counts for it. */
export interface ModelMark {
  readonly madeAt: number;
}

/** A sector after one write. */
interface State {
  readonly write: ModelWrite;
  /** What it may hold then. */
  images: ReadonlySet<Image>;
}

interface Sector {
  readonly index: number;
  /** In the order the writes were made. The first is what was there when the life began. */
  states: State[];
  /** The oldest state that a power cut may bring back. */
  floor: number;
  /** A read that was answered at `seenAt` has seen this state. */
  seen: number;
  seenAt: number;
  /** What the bucket may hold of it. */
  remote: Set<Image>;
}

export class SectorModel {
  readonly sectorCount: number;
  /** Those that were ever written; the others hold zeros. */
  readonly #sectors = new Map<number, Sector>();
  /** Sectors with states above their floor. */
  readonly #unflushed = new Set<Sector>();
  /** Sectors whose newest state is not proven to be in the bucket. */
  readonly #notUploaded = new Set<Sector>();
  #time = 0;
  /** Sectors compared. */
  checked = 0;
  /**
   * Bytes that were answered have been damaged on the disk: what could not be read could not be uploaded, and to say that
   * everything has been means no more than everything that is left.
   */
  #isDamaged = false;
  /**
   * Flushes, each of something written since the one before, that are to be answered before the disk says by itself what was
   * durable when it was damaged. Until then the end of a log that has been damaged looks like one that has been torn.
   */
  #flushesToTell = 0;
  #writtenSinceFlush = false;

  constructor(sizeBytes: number) {
    this.sectorCount = sizeBytes / SECTOR_BYTES;
  }

  beginWrite(what: string, offset: number, length: number, data: Buffer | null): ModelWrite {
    const copy = data === null ? null : Buffer.from(data);
    const write: ModelWrite = {
      what,
      offset,
      length,
      data: copy,
      madeAt: ++this.#time,
      answeredAt: Infinity,
      failed: false,
    };
    for (const sector of this.#touched(offset, length)) {
      const images = imagesAfter(write, sector.index, currentOf(sector));
      sector.states.push({ write, images });
      for (const image of images) sector.remote.add(image);
      this.#unflushed.add(sector);
      this.#notUploaded.add(sector);
    }
    return write;
  }

  /** `durable`: it was answered as safe from a power cut. */
  endWrite(write: ModelWrite, ok: boolean, durable = false): void {
    write.answeredAt = ++this.#time;
    write.failed = !ok;
    this.#writtenSinceFlush ||= ok;
    for (const sector of this.#touched(write.offset, write.length)) {
      const index = sector.states.findLastIndex((state) => state.write === write);
      if (index < 0) continue;
      if (!ok) this.#recompute(sector, index);
      else if (durable) this.#raiseFloor(sector, index);
    }
  }

  /** What is on the disk has been changed behind everybody's back. */
  damaged(): void {
    this.#isDamaged = true;
    this.#flushesToTell = FLUSHES_TO_TELL;
    this.#writtenSinceFlush = false;
  }

  /** For a flush, an upload, a read. */
  mark(): ModelMark {
    return { madeAt: ++this.#time };
  }

  /** What was made before it and is answered by now outlives a power cut. */
  flushed({ madeAt }: ModelMark): void {
    this.#time++;
    if (this.#writtenSinceFlush) this.#flushesToTell--;
    this.#writtenSinceFlush = false;
    for (const sector of this.#unflushed) {
      const index = sector.states.findLastIndex(({ write }) => write.madeAt < madeAt && isAnswered(write));
      if (index > sector.floor) this.#raiseFloor(sector, index);
    }
  }

  /** What was made before it and is answered by now is in the bucket. */
  uploaded({ madeAt }: ModelMark): void {
    this.#time++;
    if (this.#isDamaged) return;
    for (const sector of this.#notUploaded) {
      const index = sector.states.findLastIndex(({ write }) => write.madeAt < madeAt && isAnswered(write));
      if (index < 0) continue;
      sector.remote = new Set(sector.states.slice(index).flatMap(({ images }) => [...images]));
      if (index === sector.states.length - 1) this.#notUploaded.delete(sector);
    }
  }

  /** Throws where the bytes cannot be what a read of them, made at `mark` and answered now, may return. */
  read({ madeAt }: ModelMark, offset: number, bytes: Buffer): void {
    const now = ++this.#time;
    for (let at = 0; at < bytes.length; ) {
      const index = Math.floor((offset + at) / SECTOR_BYTES);
      const from = offset + at - index * SECTOR_BYTES;
      const to = Math.min(SECTOR_BYTES, from + bytes.length - at);
      this.#see(index, from, bytes.toString('latin1', at, at + to - from), madeAt, now);
      at += to - from;
    }
  }

  /** Throws where the range cannot have been zeros between `mark` and now. */
  readZeros(mark: ModelMark, offset: number, length: number): void {
    const now = ++this.#time;
    for (const sector of this.#known(offset, length)) {
      const { from, to } = partOf(sector.index, offset, length);
      this.checked++;
      const candidates = this.#visible(sector, mark.madeAt, now);
      const zeros = ZEROS.slice(from, to);
      if (candidates.some(({ images }) => [...images].some((image) => image.slice(from, to) === zeros))) continue;
      throw new Error(
        `sector ${sector.index} was said to be zeros, and is not\n${storyOf(sector, madeAtText(mark, now))}`,
      );
    }
  }

  /** The process or the machine has died: of each sector one state from its floor on is left. */
  crash(): void {
    const isTold = this.#flushesToTell <= 0;
    this.#restart((sector) => {
      const states = isTold ? sector.states.slice(sector.floor) : sector.states;
      return new Set([...(isTold ? [] : sector.remote), ...states.flatMap(({ images }) => [...images])]);
    });
    this.#flushesToTell = 0;
  }

  /** What was answered is all that there is, and all of it is there. */
  restart(): void {
    this.#restart(currentOf);
  }

  /** What is left is what the bucket has. */
  loseCache(): void {
    this.#restart((sector) => sector.remote);
  }

  #restart(left: (sector: Sector) => ReadonlySet<Image>): void {
    this.#time++;
    this.#unflushed.clear();
    const write: ModelWrite = {
      what: 'the last life',
      offset: 0,
      length: 0,
      data: null,
      madeAt: -1,
      answeredAt: -1,
      failed: false,
    };
    for (const sector of this.#sectors.values()) {
      sector.states = [{ write, images: new Set(left(sector)) }];
      sector.floor = 0;
      sector.seen = 0;
      sector.seenAt = Infinity;
    }
  }

  #see(index: number, from: number, piece: string, madeAt: number, now: number): void {
    this.checked++;
    const sector = this.#sectors.get(index);
    if (sector === undefined) {
      if (piece === ZEROS.slice(from, from + piece.length)) return;
      throw new Error(`sector ${index} holds what nobody wrote: ${describe(piece)}`);
    }
    const to = from + piece.length;
    const matching = this.#visible(sector, madeAt, now).filter(({ images }) => has(images, from, to, piece));
    const [state] = matching;
    if (state === undefined) {
      const told = `sector ${index}, bytes ${from} to ${to}, holds ${describe(piece)}`;
      throw new Error(`${told}, which it may not\n${storyOf(sector, madeAtText({ madeAt }, now))}`);
    }
    // Where several states look the same, nothing can be told from it.
    if (matching.length > 1) return;
    state.images = new Set([...state.images].filter((image) => image.slice(from, to) === piece));
    const at = sector.states.indexOf(state);
    if (at > sector.seen) {
      sector.seen = at;
      sector.seenAt = now;
    }
  }

  /** The states that a read may see that was made at `madeAt` and is answered now. */
  #visible(sector: Sector, madeAt: number, now: number): State[] {
    const { states } = sector;
    // Requests take effect in the order they are made: what was asked for before it need not be answered to be seen.
    let first = states.findLastIndex(({ write }) => write.madeAt < madeAt);
    if (sector.seenAt < madeAt) first = Math.max(first, sector.seen);
    return states.slice(Math.max(first, 0)).filter(({ write }) => write.madeAt <= now);
  }

  /** The write that led to state `index` has failed: what it changed, and what was built on that, is open. */
  #recompute(sector: Sector, index: number): void {
    for (let at = index; at < sector.states.length; at++) {
      const state = sector.states[at];
      const before = sector.states[at - 1];
      if (state === undefined || before === undefined) continue;
      const images = imagesAfter(state.write, sector.index, before.images);
      if (state.write.failed) for (const image of before.images) images.add(image);
      state.images = images;
      for (const image of images) sector.remote.add(image);
    }
  }

  #raiseFloor(sector: Sector, index: number): void {
    sector.floor = Math.max(sector.floor, index);
    if (sector.floor === sector.states.length - 1) this.#unflushed.delete(sector);
  }

  #touched(offset: number, length: number): Sector[] {
    const sectors: Sector[] = [];
    const end = Math.ceil((offset + length) / SECTOR_BYTES);
    for (let index = Math.floor(offset / SECTOR_BYTES); index < end; index++) {
      let sector = this.#sectors.get(index);
      if (sector === undefined) {
        sector = newSector(index);
        this.#sectors.set(index, sector);
      }
      sectors.push(sector);
    }
    return sectors;
  }

  #known(offset: number, length: number): Sector[] {
    const sectors: Sector[] = [];
    const end = Math.ceil((offset + length) / SECTOR_BYTES);
    for (let index = Math.floor(offset / SECTOR_BYTES); index < end; index++) {
      const sector = this.#sectors.get(index);
      if (sector !== undefined) sectors.push(sector);
    }
    return sectors;
  }
}

function newSector(index: number): Sector {
  const write: ModelWrite = {
    what: 'the new disk',
    offset: 0,
    length: 0,
    data: null,
    madeAt: -1,
    answeredAt: -1,
    failed: false,
  };
  return {
    index,
    states: [{ write, images: new Set([ZEROS]) }],
    floor: 0,
    seen: 0,
    seenAt: Infinity,
    remote: new Set([ZEROS]),
  };
}

function isAnswered(write: ModelWrite): boolean {
  return write.answeredAt !== Infinity && !write.failed;
}

function currentOf(sector: Sector): ReadonlySet<Image> {
  return sector.states.at(-1)?.images ?? new Set();
}

/** The part of sector `index` that the range covers. */
function partOf(index: number, offset: number, length: number): { from: number; to: number } {
  const base = index * SECTOR_BYTES;
  return { from: Math.max(0, offset - base), to: Math.min(SECTOR_BYTES, offset + length - base) };
}

function imagesAfter(write: ModelWrite, index: number, before: ReadonlySet<Image>): Set<Image> {
  const { from, to } = partOf(index, write.offset, write.length);
  const at = index * SECTOR_BYTES + from - write.offset;
  const piece = write.data === null ? ZEROS.slice(from, to) : write.data.toString('latin1', at, at + to - from);
  if (from === 0 && to === SECTOR_BYTES) return new Set([piece]);
  const images = new Set<Image>();
  for (const image of before) images.add(image.slice(0, from) + piece + image.slice(to));
  return images;
}

function has(images: ReadonlySet<Image>, from: number, to: number, piece: string): boolean {
  if (from === 0 && to === SECTOR_BYTES) return images.has(piece);
  for (const image of images) if (image.slice(from, to) === piece) return true;
  return false;
}

/** Zeros in a row are counted, and so is what one write has left, by its number; other text is cut short. */
function describe(piece: string): string {
  const parts = piece.match(/\0+|(\d+@\d+;)\1*|[^\0;]+;?|;/g) ?? [];
  const told = parts.slice(0, 12).map((part) => {
    if (part.startsWith('\0')) return `${part.length} zeros`;
    const shown = part.length > 12 ? `${part.slice(0, part.indexOf(';', 1) + 1)}...` : part;
    return `"${printable(shown)}"${part.length > 12 ? `(${part.length})` : ''}`;
  });
  return `${told.join(' ')}${parts.length > 12 ? ' ...' : ''}`;
}

function printable(text: string): string {
  return text.replaceAll(/[^ -~]/g, '?');
}

function madeAtText({ madeAt }: ModelMark, now: number): string {
  return `asked at ${madeAt}, answered at ${now}`;
}

function storyOf(sector: Sector, request: string): string {
  const lines = sector.states.map(({ write, images }, index) => {
    const floor = index === sector.floor ? ' <- a crash goes back no further' : '';
    const seen = index === sector.seen && sector.seenAt !== Infinity ? ` <- seen at ${sector.seenAt}` : '';
    const end =
      write.answeredAt === Infinity ? 'not answered' : `${write.failed ? 'failed' : 'answered'} at ${write.answeredAt}`;
    const all = [...images].slice(0, 6).map(describe).join(' | ');
    return `    ${write.what}, asked at ${write.madeAt}, ${end}: ${all}${floor}${seen}`;
  });
  return [`  ${request}; it may hold, one after another:`, ...lines].join('\n');
}
