/**
 * What each sector of a disk may hold, from what was asked of it and what it answered. Time is counted in events: a
 * request happens somewhere between being sent and being answered, and on one connection in the order of sending. After a
 * crash a sector holds what it held at the last flush that was answered, or anything that was written later.
 */

/** A request under way, and after. */
export interface Operation {
  readonly connection: number;
  readonly firstSector: number;
  readonly sectors: number;
  readonly sentAt: number;
}

export interface WriteOperation extends Operation {
  readonly sequence: number;
  /** What its sectors hold afterwards: its sequence, or 0 where it zeroes. */
  readonly value: number;
  readonly what: string;
  /** Infinity: not answered, or with an error. It may have been carried out all the same, wholly or in part. */
  doneAt: number;
  /** It was answered with an error. */
  failed: boolean;
  /** It, or something later in each of its sectors, is there after a crash. */
  durable: boolean;
  /** Where it asks for itself and everything before it to be durable: what that is besides itself. */
  readonly covers: Covered | null;
}

/** What a flush makes durable, as far as was known when it was sent. */
export interface Covered {
  /** Sent on the connection of the flush before it, and not answered yet. */
  readonly underWay: readonly WriteOperation[];
  /** Answered, on whatever connection. */
  readonly answered: readonly WriteOperation[];
}

/** A write as one sector sees it. */
interface Mark {
  readonly write: WriteOperation;
  /** When it was known to have been carried out here: it was answered, flushed, or seen. */
  effectAt: number;
  /** The same, but forgotten in a crash that it may not have survived. */
  thereBy: number;
  /** It was found here after a crash. */
  kept: boolean;
  /** When another one was seen after it. */
  replacedAt: number;
}

interface Sighting {
  readonly mark: Mark;
  readonly at: number;
}

/** Marks of one sector that are kept before those that can no longer be seen are dropped. */
const MARKS_MAX = 6;

export interface DiskModelOptions {
  /** False: a write that was answered survives a crash only once a flush after it was answered, or where it asks for that itself. */
  readonly answeredIsDurable?: boolean;
}

export class DiskModel {
  readonly #answeredIsDurable: boolean;
  readonly #marks: Mark[][];
  readonly #seen: (Sighting | undefined)[];
  readonly #reads = new Set<Operation>();
  /** Writes under way, by connection. */
  readonly #writing = new Map<number, Set<WriteOperation>>();
  /** Answered, and not durable yet. */
  readonly #volatile = new Set<WriteOperation>();
  /** Nothing was asked since a crash. */
  #crashed = false;
  #time = 0;
  #sequence = 0;
  /** Sectors compared. */
  checked = 0;

  constructor(sectors: number, { answeredIsDurable = true }: DiskModelOptions = {}) {
    this.#answeredIsDurable = answeredIsDurable;
    const origin: WriteOperation = {
      connection: -1,
      firstSector: 0,
      sectors,
      sentAt: 0,
      sequence: 0,
      value: 0,
      what: 'the new disk',
      doneAt: 0,
      failed: false,
      durable: true,
      covers: null,
    };
    this.#marks = Array.from({ length: sectors }, () => [newMark(origin, 0)]);
    this.#seen = new Array(sectors);
  }

  get sectors(): number {
    return this.#marks.length;
  }

  /** The number that the next write will have. */
  get nextSequence(): number {
    return this.#sequence + 1;
  }

  beginWrite(
    connection: number,
    firstSector: number,
    sectors: number,
    what: string,
    options: { readonly zeroes: boolean; readonly fua?: boolean },
  ): WriteOperation {
    this.#crashed = false;
    const { zeroes, fua = false } = options;
    const covers = fua && !this.#answeredIsDurable ? this.beginFlush(connection) : null;
    const sequence = ++this.#sequence;
    const write: WriteOperation = {
      connection,
      firstSector,
      sectors,
      sentAt: ++this.#time,
      sequence,
      value: zeroes ? 0 : sequence,
      what,
      doneAt: Infinity,
      failed: false,
      durable: false,
      covers,
    };
    for (let sector = firstSector; sector < firstSector + sectors; sector++) {
      const marks = this.#marksOf(sector);
      marks.push(newMark(write, Infinity));
      if (marks.length > MARKS_MAX) this.#prune(sector);
    }
    const underWay = this.#writing.get(connection) ?? new Set();
    this.#writing.set(connection, underWay.add(write));
    return write;
  }

  /** It was answered. With an error it may have been carried out or not, and nobody waits for it any more. */
  endWrite(write: WriteOperation, ok: boolean): void {
    this.#writing.get(write.connection)?.delete(write);
    write.failed = !ok;
    if (!ok) return;
    write.doneAt = ++this.#time;
    this.#tookEffect(write, write.doneAt);
    if (write.covers !== null) this.endFlush(write.covers);
    if (write.covers !== null || this.#answeredIsDurable) write.durable = true;
    if (!write.durable) this.#volatile.add(write);
  }

  /** What is under way on the connection now has been carried out once a flush that is sent now is answered. */
  beginFlush(connection: number): Covered {
    this.#time++;
    return { underWay: [...(this.#writing.get(connection) ?? [])], answered: [...this.#volatile] };
  }

  endFlush({ underWay, answered }: Covered): void {
    const at = ++this.#time;
    for (const write of underWay) if (write.doneAt === Infinity) this.#tookEffect(write, at);
    for (const write of [...underWay, ...answered]) {
      if (write.failed) continue;
      write.durable = true;
      this.#volatile.delete(write);
    }
  }

  /** Whoever served the disk has died: what was not durable may be there or not. Nothing may be under way. */
  crash(): void {
    this.#crashed = true;
    this.#volatile.clear();
    this.#seen.fill(undefined);
    for (let sector = 0; sector < this.#marks.length; sector++) {
      this.#prune(sector);
      for (const mark of this.#marksOf(sector)) {
        mark.replacedAt = Infinity;
        mark.thereBy = survives(mark) ? mark.effectAt : Infinity;
      }
    }
  }

  /** Writes that were answered and would not survive a crash for certain. */
  get volatileWrites(): number {
    return this.#volatile.size;
  }

  beginRead(connection: number, firstSector: number, sectors: number): Operation {
    const read: Operation = { connection, firstSector, sectors, sentAt: ++this.#time };
    this.#reads.add(read);
    return read;
  }

  /** It will not be answered. */
  giveUpRead(read: Operation): void {
    this.#reads.delete(read);
  }

  /** `valueIn` tells what the answer says of a sector; undefined: nothing. Throws where that cannot be. */
  endRead(read: Operation, valueIn: (sector: number) => number | undefined): void {
    this.#reads.delete(read);
    const now = ++this.#time;
    for (let sector = read.firstSector; sector < read.firstSector + read.sectors; sector++) {
      const value = valueIn(sector);
      if (value === undefined) continue;
      this.checked++;
      this.#see(read, sector, value, now);
    }
  }

  /** Ends a read that was sent when nothing could be carried out any more: what it has found is what is there. */
  settle(read: Operation, valueIn: (sector: number) => number): void {
    this.endRead(read, valueIn);
    for (let sector = read.firstSector; sector < read.firstSector + read.sectors; sector++) {
      const value = valueIn(sector);
      const marks = this.#marksOf(sector);
      // Of several zeroings that look the same, not one that was certainly written over.
      const settled = marks.findLast(
        (mark) => mark.write.value === value && mark.replacedAt === Infinity && !isOver(mark, marks, read),
      );
      if (this.#crashed && settled !== undefined) {
        // What came back is on the disk for good, and nothing else will ever come back.
        Object.assign(settled, { kept: true, effectAt: Math.min(settled.effectAt, this.#time), thereBy: this.#time });
        this.#marks[sector] = [settled];
        this.#seen[sector] = undefined;
        continue;
      }
      for (const mark of marks) if (mark !== settled) mark.replacedAt = Math.min(mark.replacedAt, this.#time);
      if (settled !== undefined) tookEffectBy(settled, this.#time);
      this.#seen[sector] = undefined;
      this.#prune(sector);
    }
  }

  #marksOf(sector: number): Mark[] {
    const marks = this.#marks[sector];
    if (marks === undefined) throw new Error(`there is no sector ${sector}`);
    return marks;
  }

  #tookEffect(write: WriteOperation, at: number): void {
    for (let sector = write.firstSector; sector < write.firstSector + write.sectors; sector++) {
      for (const mark of this.#marksOf(sector)) if (mark.write === write) tookEffectBy(mark, at);
    }
  }

  #see(read: Operation, sector: number, value: number, now: number): void {
    const marks = this.#marksOf(sector);
    const possible = marks.filter(
      (mark) => mark.write.value === value && !sentBefore(read, mark.write) && !isOver(mark, marks, read),
    );
    const [mark] = possible;
    if (mark === undefined) {
      const story = marks.map(
        ({ write, effectAt, thereBy, replacedAt, kept }) =>
          `  ${write.what} ${write.value} (write ${write.sequence}) on ${write.connection}, sent ${write.sentAt}, done ${write.doneAt}, carried out by ${effectAt}, there by ${thereBy}, replaced by ${replacedAt}${write.durable ? ', durable' : ''}${kept ? ', kept' : ''}`,
      );
      throw new Error(
        `sector ${sector} holds ${value}, read on ${read.connection}, sent ${read.sentAt}, done ${now}; it may not, after\n${story.join('\n')}`,
      );
    }
    // Several zeroings look the same.
    if (possible.length > 1) return;
    tookEffectBy(mark, now);
    const before = this.#seen[sector];
    if (before !== undefined && before.mark !== mark && before.at < read.sentAt) before.mark.replacedAt = now;
    if (before === undefined || before.at < read.sentAt) this.#seen[sector] = { mark, at: now };
  }

  /** Drops what no read can see any more, whether under way or to come, or after a crash. */
  #prune(sector: number): void {
    let oldest: Operation | undefined;
    for (const read of this.#reads) if (oldest === undefined || read.sentAt < oldest.sentAt) oldest = read;
    const horizon: Operation = { connection: -2, firstSector: 0, sectors: 0, sentAt: oldest?.sentAt ?? this.#time + 1 };
    const marks = this.#marksOf(sector);
    if (this.#answeredIsDurable) {
      this.#marks[sector] = marks.filter((mark) => !isOver(mark, marks, horizon));
      return;
    }
    const lasting = marks.filter(survives);
    const isGone = (mark: Mark): boolean =>
      lasting.some((other) => isAfter(other, mark)) && isOver(mark, lasting, horizon);
    this.#marks[sector] = marks.filter((mark) => !isGone(mark));
  }
}

/** On one connection, requests that overlap are carried out in the order they were sent. */
function sentBefore(first: Operation, second: Operation): boolean {
  return first.connection === second.connection && first.sentAt < second.sentAt;
}

/** Whether another write has certainly come between the mark's and the read. */
function isOver(mark: Mark, marks: readonly Mark[], read: Operation): boolean {
  if (mark.replacedAt < read.sentAt) return true;
  return marks.some(
    (other) =>
      isAfter(other, mark) && (other.thereBy < read.sentAt || (!other.write.failed && sentBefore(other.write, read))),
  );
}

/** Whether `later` has certainly been carried out after the other one. */
function isAfter(later: Mark, mark: Mark): boolean {
  return later !== mark && (mark.effectAt < later.write.sentAt || sentBefore(mark.write, later.write));
}

function survives(mark: Mark): boolean {
  return mark.kept || mark.write.durable;
}

function newMark(write: WriteOperation, effectAt: number): Mark {
  return { write, effectAt, thereBy: effectAt, kept: false, replacedAt: Infinity };
}

function tookEffectBy(mark: Mark, at: number): void {
  mark.effectAt = Math.min(mark.effectAt, at);
  mark.thereBy = Math.min(mark.thereBy, at);
}
