/**
 * What each sector of a disk may hold, from what was asked of it and what it answered. Time is counted in events: a
 * request happens somewhere between being sent and being answered, and on one connection in the order of sending.
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
}

/** A write as one sector sees it. */
interface Mark {
  readonly write: WriteOperation;
  /** When it was known to have been carried out here: it was answered, flushed, or seen. */
  effectAt: number;
  /** When another one was seen after it. */
  replacedAt: number;
}

interface Sighting {
  readonly mark: Mark;
  readonly at: number;
}

/** Marks of one sector that are kept before those that can no longer be seen are dropped. */
const MARKS_MAX = 6;

export class DiskModel {
  readonly #marks: Mark[][];
  readonly #seen: (Sighting | undefined)[];
  readonly #reads = new Set<Operation>();
  /** Writes under way, by connection. */
  readonly #writing = new Map<number, Set<WriteOperation>>();
  #time = 0;
  #sequence = 0;
  /** Sectors compared. */
  checked = 0;

  constructor(sectors: number) {
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
    };
    this.#marks = Array.from({ length: sectors }, () => [{ write: origin, effectAt: 0, replacedAt: Infinity }]);
    this.#seen = new Array(sectors);
  }

  get sectors(): number {
    return this.#marks.length;
  }

  /** The number that the next write will have. */
  get nextSequence(): number {
    return this.#sequence + 1;
  }

  beginWrite(connection: number, firstSector: number, sectors: number, what: string, zeroes: boolean): WriteOperation {
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
    };
    for (let sector = firstSector; sector < firstSector + sectors; sector++) {
      const marks = this.#marksOf(sector);
      marks.push({ write, effectAt: Infinity, replacedAt: Infinity });
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
  }

  /** What is under way on the connection now has been carried out once a flush that is sent now is answered. */
  beginFlush(connection: number): readonly WriteOperation[] {
    this.#time++;
    return [...(this.#writing.get(connection) ?? [])];
  }

  endFlush(flushed: readonly WriteOperation[]): void {
    const at = ++this.#time;
    for (const write of flushed) if (write.doneAt === Infinity) this.#tookEffect(write, at);
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
      const settled = marks.findLast((mark) => mark.write.value === value && mark.replacedAt === Infinity);
      for (const mark of marks) if (mark !== settled) mark.replacedAt = Math.min(mark.replacedAt, this.#time);
      if (settled !== undefined) settled.effectAt = Math.min(settled.effectAt, this.#time);
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
      for (const mark of this.#marksOf(sector)) if (mark.write === write) mark.effectAt = Math.min(mark.effectAt, at);
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
        ({ write, effectAt, replacedAt }) =>
          `  ${write.what} ${write.value} (write ${write.sequence}) on ${write.connection}, sent ${write.sentAt}, done ${write.doneAt}, there by ${effectAt}, replaced by ${replacedAt}`,
      );
      throw new Error(
        `sector ${sector} holds ${value}, read on ${read.connection}, sent ${read.sentAt}, done ${now}; it may not, after\n${story.join('\n')}`,
      );
    }
    // Several zeroings look the same.
    if (possible.length > 1) return;
    mark.effectAt = Math.min(mark.effectAt, now);
    const before = this.#seen[sector];
    if (before !== undefined && before.mark !== mark && before.at < read.sentAt) before.mark.replacedAt = now;
    if (before === undefined || before.at < read.sentAt) this.#seen[sector] = { mark, at: now };
  }

  /** Drops what no read can see any more, whether under way or to come. */
  #prune(sector: number): void {
    let oldest: Operation | undefined;
    for (const read of this.#reads) if (oldest === undefined || read.sentAt < oldest.sentAt) oldest = read;
    const horizon: Operation = { connection: -2, firstSector: 0, sectors: 0, sentAt: oldest?.sentAt ?? this.#time + 1 };
    const marks = this.#marksOf(sector);
    this.#marks[sector] = marks.filter((mark) => !isOver(mark, marks, horizon));
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
      other !== mark &&
      (mark.effectAt < other.write.sentAt || sentBefore(mark.write, other.write)) &&
      (other.effectAt < read.sentAt || (!other.write.failed && sentBefore(other.write, read))),
  );
}
