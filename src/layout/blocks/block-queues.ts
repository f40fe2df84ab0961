/**
 * Orders what is asked of each block: one request at a time, in the order made, with neighbours in the queue merged into
 * one. Different blocks run in parallel; how many at once is for the worker to limit.
 */
import { copyPart } from '../../lib/copy-part.ts';

/** A part of one block: `data` from `start`, or `length` zeros. */
export interface Patch {
  readonly start: number;
  readonly length: number;
  readonly data: Buffer | null;
}

/** Does the work on one block; but for peeks, never called again for a block before it has settled. */
export interface BlockWorker {
  /** Bytes [start, end) of the block. */
  readBlock(block: number, start: number, end: number): Promise<Buffer>;
  /** The same beside writes of the block; null where only a read can tell, once they have ended. */
  peekBlock(block: number, start: number, end: number): Promise<Buffer | null>;
  /** Applies the patches in order; when it settles the block is stored. */
  writeBlock(block: number, patches: readonly Patch[]): Promise<void>;
}

interface ReadWaiter {
  readonly start: number;
  readonly end: number;
  readonly resolve: (bytes: Buffer) => void;
  readonly reject: (error: unknown) => void;
}

interface WriteWaiter {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

interface ReadJob {
  readonly kind: 'read';
  /** The span of all that is waited for. */
  start: number;
  end: number;
  readonly waiters: ReadWaiter[];
  started: boolean;
}

interface WriteJob {
  readonly kind: 'write';
  readonly patches: Patch[];
  readonly waiters: WriteWaiter[];
  /** The peeks under way when it was made, which it is not done beside. */
  readonly peeks: readonly Promise<void>[];
  started: boolean;
  /** A peek was made beside it: what is written later is not part of it. */
  peeked: boolean;
}

interface LookJob {
  readonly kind: 'look';
  /** Resolves with how to answer. */
  readonly work: () => Promise<() => void>;
  started: boolean;
}

type Job = ReadJob | WriteJob | LookJob;

interface Queue {
  readonly block: number;
  readonly jobs: Job[];
}

/**
 * The queue of a block is bounded by its callers, each of which waits. Writes that wait behind another become one write
 * (and one PUT) of all their patches; reads that wait become one read of the span they cover.
 */
export class BlockQueues {
  readonly #worker: BlockWorker;
  readonly #joinRunning: boolean;
  readonly #queues = new Map<number, Queue>();
  /** The ends of the peeks under way beside writes, by block. They never reject. */
  readonly #peeks = new Map<number, Set<Promise<void>>>();
  readonly #idleWaiters: (() => void)[] = [];

  /** `joinRunning`: a read may take the answer of one under way; not where others write the blocks, who may be done by now. */
  constructor(worker: BlockWorker, joinRunning: boolean) {
    this.#worker = worker;
    this.#joinRunning = joinRunning;
  }

  /** Whether anything is queued or under way for the block. */
  isBusy(block: number): boolean {
    return this.#queues.has(block);
  }

  /** The busy blocks of [first, end), in no order. */
  busyBlocks(first: number, end: number): number[] {
    const blocks: number[] = [];
    for (const block of this.#queues.keys()) if (block >= first && block < end) blocks.push(block);
    return blocks;
  }

  /** The blocks of [first, end) that a write is queued or under way for, in no order. */
  writtenBlocks(first: number, end: number): number[] {
    const blocks: number[] = [];
    for (const block of this.#queues.keys()) {
      if (block >= first && block < end && this.#lastWrite(block) !== undefined) blocks.push(block);
    }
    return blocks;
  }

  read(block: number, start: number, end: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const waiter: ReadWaiter = { start, end, resolve, reject };
      const last = this.#queues.get(block)?.jobs.at(-1);
      if (last?.kind === 'read' && !last.started) {
        last.start = Math.min(last.start, start);
        last.end = Math.max(last.end, end);
        last.waiters.push(waiter);
      } else if (last?.kind === 'read' && this.#joinRunning && last.start <= start && end <= last.end) {
        last.waiters.push(waiter);
      } else {
        this.#add(block, { kind: 'read', start, end, waiters: [waiter], started: false });
      }
    });
  }

  /**
   * Waits for no write, where the worker can tell beside those made before it: of what they change it has the bytes before them or
   * after them. Writes made later wait for it, as for a read.
   */
  async peek(block: number, start: number, end: number): Promise<Buffer> {
    const last = this.#lastWrite(block);
    // Where nothing is being written, in turn: others can join it.
    if (last === undefined) return this.read(block, start, end);
    last.peeked = true;
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    const peeks = this.#peeks.get(block) ?? new Set();
    this.#peeks.set(block, peeks);
    peeks.add(ended);
    try {
      const bytes = await this.#worker.peekBlock(block, start, end);
      if (bytes !== null) return bytes;
      // Not in turn: that would be behind the writes made since, which wait for us.
      await this.#ended(block, last);
      return await this.#worker.readBlock(block, start, end);
    } finally {
      peeks.delete(ended);
      if (peeks.size === 0) this.#peeks.delete(block);
      resolve();
      this.#noteIdle();
    }
  }

  write(block: number, patch: Patch): Promise<void> {
    return this.#write(block, [patch]);
  }

  /** Stores the block again as it is, where it is stored at all. */
  rewrite(block: number): Promise<void> {
    return this.#write(block, []);
  }

  /** Runs `work` in its turn, with nothing else of the block under way. */
  look<T>(block: number, work: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const answered = async (): Promise<() => void> => {
        try {
          const value = await work();
          return () => resolve(value);
        } catch (error) {
          return () => reject(error);
        }
      };
      this.#add(block, { kind: 'look', work: answered, started: false });
    });
  }

  /** Resolves once everything that has been asked for of blocks from `first` on has ended. Never rejects. */
  async endedFrom(first: number): Promise<void> {
    const peeks = [...this.#peeks].flatMap(([block, ends]) => (block >= first ? [...ends] : []));
    await Promise.all([this.#passed(this.busyBlocks(first, Number.MAX_SAFE_INTEGER)), ...peeks]);
  }

  /** The same of writes alone. */
  writtenFrom(first: number): Promise<void> {
    return this.#passed(this.writtenBlocks(first, Number.MAX_SAFE_INTEGER));
  }

  /** Resolves once nothing is queued or under way. */
  idle(): Promise<void> {
    if (this.#isIdle) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  /** Resolves once what is in the queues of the blocks now has ended. */
  async #passed(blocks: readonly number[]): Promise<void> {
    await Promise.all(blocks.map((block) => this.look(block, async () => {})));
  }

  get #isIdle(): boolean {
    return this.#queues.size === 0 && this.#peeks.size === 0;
  }

  #noteIdle(): void {
    if (this.#isIdle) for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }

  #lastWrite(block: number): WriteJob | undefined {
    return this.#queues.get(block)?.jobs.findLast((job) => job.kind === 'write');
  }

  /** Resolves once the write is done or has failed. */
  async #ended(block: number, job: WriteJob): Promise<void> {
    if (!this.#queues.get(block)?.jobs.includes(job)) return;
    await new Promise<void>((resolve) => job.waiters.push({ resolve, reject: () => resolve() }));
  }

  #write(block: number, patches: Patch[]): Promise<void> {
    return new Promise((resolve, reject) => {
      const last = this.#queues.get(block)?.jobs.at(-1);
      if (last?.kind === 'write' && !last.started && !last.peeked) {
        last.patches.push(...patches);
        last.waiters.push({ resolve, reject });
      } else {
        const peeks = [...(this.#peeks.get(block) ?? [])];
        const waiters = [{ resolve, reject }];
        this.#add(block, { kind: 'write', patches, waiters, peeks, started: false, peeked: false });
      }
    });
  }

  #add(block: number, job: Job): void {
    const queue = this.#queues.get(block);
    if (queue !== undefined) {
      queue.jobs.push(job);
      return;
    }
    const fresh: Queue = { block, jobs: [job] };
    this.#queues.set(block, fresh);
    void this.#run(fresh);
  }

  /** Runs the queue until it is empty. Never rejects: errors go to those who wait. */
  async #run(queue: Queue): Promise<void> {
    // Requests made in the same turn join the first job before it starts.
    await Promise.resolve();
    for (let job = queue.jobs[0]; job !== undefined; job = queue.jobs[0]) {
      job.started = true;
      if (job.kind === 'write' && job.peeks.length > 0) await Promise.all(job.peeks);
      const settle = await this.#perform(queue.block, job);
      // In one turn: taken off the queue, so that nobody can join it any more, then everybody who did is answered.
      queue.jobs.shift();
      if (queue.jobs.length === 0) this.#queues.delete(queue.block);
      settle();
    }
    this.#noteIdle();
  }

  /** Does the job and returns how to answer all who wait for it by then. */
  #perform(block: number, job: Job): Promise<() => void> {
    if (job.kind === 'look') return job.work();
    return job.kind === 'read' ? this.#read(block, job) : this.#store(block, job);
  }

  async #read(block: number, job: ReadJob): Promise<() => void> {
    const { start, end, waiters } = job;
    try {
      const bytes = await this.#worker.readBlock(block, start, end);
      return () => {
        for (const waiter of waiters) waiter.resolve(copyPart(bytes, waiter.start - start, waiter.end - start));
      };
    } catch (error) {
      return () => {
        for (const waiter of waiters) waiter.reject(error);
      };
    }
  }

  async #store(block: number, job: WriteJob): Promise<() => void> {
    const { waiters } = job;
    try {
      await this.#worker.writeBlock(block, job.patches);
      return () => {
        for (const waiter of waiters) waiter.resolve();
      };
    } catch (error) {
      return () => {
        for (const waiter of waiters) waiter.reject(error);
      };
    }
  }
}
