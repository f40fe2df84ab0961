/** Writes pages to the data file in the background: few at once, those of one slot in the order they came. */
import type { DiskFile } from '../../lib/disk.ts';
import { PAGE_BYTES } from '../page.ts';
import { LINE_BYTES } from './geometry.ts';

/** What is being written, and what waits, together. */
const PENDING_BYTES_MAX = 64 * 1024 * 1024;
/** More would keep the threads that write and sync the log waiting. */
const WRITES_MAX = 2;
/** Lines that lie one behind the other in memory and in the file are written at once: handing one over takes longer than writing it. */
const RUN_LINES_MAX = (1024 * 1024) / LINE_BYTES;

/** Consecutive pages of one line on their way to its slot. */
export interface PageWrite {
  readonly slot: number;
  /** The first of its pages within the line. */
  readonly from: number;
  readonly data: Buffer;
  /** The pages of the line that are to be there once this is written; those replaced meanwhile are not. */
  wanted: number;
  readonly ended: () => void;
}

export interface LineWriterOptions {
  readonly file: DiskFile;
  readonly onWritten: (write: PageWrite) => void;
  /** Nothing more is tried with what has been waiting meanwhile. */
  readonly onFailed: (error: unknown) => void;
  /** Nothing is on its way to the slot any more. */
  readonly onIdle: (slot: number) => void;
}

export class LineWriter {
  readonly #options: LineWriterOptions;
  readonly #slots = new Map<number, PageWrite[]>();
  #waiting: PageWrite[] = [];
  #nextWaiting = 0;
  /** Slots that the disk has writes for. */
  readonly #writing = new Set<number>();
  #underWay = 0;
  #pendingBytes = 0;
  #idle: PromiseWithResolvers<void> | null = null;

  constructor(options: LineWriterOptions) {
    this.#options = options;
  }

  hasRoomFor(bytes: number): boolean {
    return this.#pendingBytes + bytes <= PENDING_BYTES_MAX;
  }

  isBusy(slot: number): boolean {
    return this.#slots.has(slot);
  }

  add(write: PageWrite): void {
    const others = this.#slots.get(write.slot);
    if (others === undefined) this.#slots.set(write.slot, [write]);
    else others.push(write);
    this.#pendingBytes += write.data.length;
    this.#waiting.push(write);
  }

  /** Begins to write what was added. */
  start(): void {
    while (this.#underWay < WRITES_MAX && this.#nextWaiting < this.#waiting.length) {
      const write = this.#waiting[this.#nextWaiting] as PageWrite;
      if (this.#writing.has(write.slot)) break;
      if (write.wanted !== 0) void this.#write(this.#takeRun(write));
      else {
        this.#nextWaiting++;
        this.#end(write);
      }
    }
    if (this.#nextWaiting * 2 > this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#nextWaiting);
      this.#nextWaiting = 0;
    }
    if (this.#slots.size === 0) this.#idle?.resolve();
  }

  /** The pages are not to be there any more, although they may still be written. */
  cancel(slot: number, pages: number): void {
    for (const write of this.#slots.get(slot) ?? []) write.wanted &= ~pages;
  }

  cancelAll(): void {
    for (const writes of this.#slots.values()) for (const write of writes) write.wanted = 0;
  }

  /** Resolves once nothing is on its way. */
  async idle(): Promise<void> {
    while (this.#slots.size > 0) {
      this.#idle ??= Promise.withResolvers();
      await this.#idle.promise;
      this.#idle = null;
    }
  }

  /** The next that waits, which is `first`, and what follows it. */
  #takeRun(first: PageWrite): PageWrite[] {
    const run = [first];
    for (let last = first; ; ) {
      const next = this.#waiting[++this.#nextWaiting];
      if (next === undefined || run.length === RUN_LINES_MAX || this.#writing.has(next.slot)) return run;
      if (next.wanted === 0 || !follows(last, next)) return run;
      run.push(next);
      last = next;
    }
  }

  async #write(run: readonly PageWrite[]): Promise<void> {
    const { slot, from, data } = run[0] as PageWrite;
    for (const write of run) this.#writing.add(write.slot);
    this.#underWay++;
    try {
      const bytes = run.reduce((sum, write) => sum + write.data.length, 0);
      const all = Buffer.from(data.buffer, data.byteOffset, bytes);
      await this.#options.file.write(all, slot * LINE_BYTES + from * PAGE_BYTES);
      for (const write of run) this.#options.onWritten(write);
    } catch (error) {
      for (let at = this.#nextWaiting; at < this.#waiting.length; at++) (this.#waiting[at] as PageWrite).wanted = 0;
      this.#options.onFailed(error);
    }
    this.#underWay--;
    for (const write of run) {
      this.#writing.delete(write.slot);
      this.#end(write);
    }
    this.start();
  }

  #end(write: PageWrite): void {
    this.#pendingBytes -= write.data.length;
    const left = (this.#slots.get(write.slot) ?? []).filter((other) => other !== write);
    if (left.length > 0) {
      this.#slots.set(write.slot, left);
    } else {
      this.#slots.delete(write.slot);
      this.#options.onIdle(write.slot);
    }
    write.ended();
  }
}

/** Whether the one begins, in memory and in the file, where the other ends. */
function follows(before: PageWrite, { slot, from, data }: PageWrite): boolean {
  const endsTheLine = before.from * PAGE_BYTES + before.data.length === LINE_BYTES;
  const isNextSlot = slot === before.slot + 1 && from === 0 && endsTheLine;
  const { buffer, byteOffset, length } = before.data;
  return isNextSlot && data.buffer === buffer && data.byteOffset === byteOffset + length;
}
