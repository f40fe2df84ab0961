/** The order of what is asked of each block, with a worker that does each job when the test says so. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BlockQueues, type BlockWorker, type Patch } from '../../../../src/layout/blocks/block-queues.ts';

interface Job {
  readonly name: string;
  finish(bytes?: Buffer): void;
  fail(error: Error): void;
}

class HandWorker implements BlockWorker {
  /** Jobs under way. */
  readonly jobs: Job[] = [];
  readonly log: string[] = [];

  readBlock(block: number, start: number, end: number): Promise<Buffer> {
    return this.#begin(`read ${block} ${start}-${end}`, () =>
      Buffer.from(Array.from({ length: end - start }, (_, i) => start + i)),
    );
  }

  peekBlock(block: number, start: number, end: number): Promise<Buffer | null> {
    return this.#begin(`peek ${block} ${start}-${end}`, () => Buffer.alloc(end - start, 9));
  }

  async writeBlock(block: number, patches: readonly Patch[]): Promise<void> {
    await this.#begin(
      `write ${block} ${patches.map(({ start, length }) => `${start}+${length}`).join(' ')}`.trim(),
      () => Buffer.alloc(0),
    );
  }

  /** The only job under way. */
  get job(): Job {
    const [job] = this.jobs;
    assert.ok(job !== undefined && this.jobs.length === 1, `${this.jobs.length} jobs under way`);
    return job;
  }

  #begin(name: string, answer: () => Buffer): Promise<Buffer> {
    this.log.push(name);
    return new Promise((resolve, reject) => {
      const end = (): void => {
        this.jobs.splice(this.jobs.indexOf(job), 1);
      };
      const job: Job = {
        name,
        finish: (bytes = answer()) => {
          end();
          resolve(bytes);
        },
        fail: (error) => {
          end();
          reject(error);
        },
      };
      this.jobs.push(job);
    });
  }
}

function setUp(joinRunning = true): { worker: HandWorker; queues: BlockQueues } {
  const worker = new HandWorker();
  return { worker, queues: new BlockQueues(worker, joinRunning) };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const part = (start: number, length: number): Patch => ({ start, length, data: Buffer.alloc(length, start) });

/** Runs jobs to their ends as they come. */
async function finishAll(worker: HandWorker, queues: BlockQueues): Promise<void> {
  const idle = queues.idle();
  for (await turn(); worker.jobs.length > 0; await turn()) for (const job of [...worker.jobs]) job.finish();
  await idle;
}

describe('block queues', () => {
  test('a block has one job at a time, in the order made; other blocks go on beside it', async () => {
    const { worker, queues } = setUp();
    void queues.write(1, part(0, 4));
    await turn();
    void queues.read(1, 0, 4);
    void queues.write(1, part(4, 4));
    void queues.read(1, 4, 8);
    void queues.read(2, 0, 1);
    await turn();
    assert.deepEqual(worker.log, ['write 1 0+4', 'read 2 0-1']);
    await finishAll(worker, queues);
    assert.deepEqual(worker.log, ['write 1 0+4', 'read 2 0-1', 'read 1 0-4', 'write 1 4+4', 'read 1 4-8']);
  });

  test('writes made in one turn, or behind a job, become one write of all their patches', async () => {
    const { worker, queues } = setUp();
    const first = [queues.write(1, part(0, 1)), queues.write(1, part(1, 1))];
    await turn();
    const second = [queues.write(1, part(2, 1)), queues.write(1, part(2, 1)), queues.rewrite(1)];
    await turn();
    assert.deepEqual(worker.log, ['write 1 0+1 1+1']);
    await finishAll(worker, queues);
    await Promise.all([...first, ...second]);
    assert.deepEqual(worker.log, ['write 1 0+1 1+1', 'write 1 2+1 2+1']);
  });

  test('reads that wait become one read of what they span, and each gets its bytes', async () => {
    const { worker, queues } = setUp();
    void queues.write(1, part(0, 1));
    const reads = [queues.read(1, 8, 12), queues.read(1, 2, 3), queues.read(1, 10, 14)];
    await finishAll(worker, queues);
    assert.deepEqual(worker.log, ['write 1 0+1', 'read 1 2-14']);
    assert.deepEqual(
      (await Promise.all(reads)).map((bytes) => [...bytes]),
      [[8, 9, 10, 11], [2], [10, 11, 12, 13]],
    );
  });

  test('a small part does not hold the whole that was read', async () => {
    const { worker, queues } = setUp();
    const [whole, small] = [queues.read(1, 0, 20_000), queues.read(1, 5, 10)];
    await turn();
    const fetched = Buffer.alloc(20_000, 3);
    worker.job.finish(fetched);
    assert.equal(await whole, fetched);
    assert.notEqual((await small).buffer, fetched.buffer);
  });

  test('a peek does not wait for the writes made before it, and those made after it wait for the peek', async () => {
    const { worker, queues } = setUp();
    const jobNamed = (name: string): Job => {
      const job = worker.jobs.find((one) => one.name === name);
      assert.ok(job !== undefined, `${name} is not under way`);
      return job;
    };
    void queues.write(1, part(0, 4));
    await turn();
    void queues.write(1, part(4, 4));
    const first = queues.peek(1, 0, 8);
    await turn();
    assert.deepEqual(worker.log, ['write 1 0+4', 'peek 1 0-8']);
    // The second write was made before the peek, and is done beside it; the third one is not a part of it.
    void queues.write(1, part(2, 2));
    jobNamed('write 1 0+4').finish();
    await turn();
    const second = queues.peek(1, 2, 4);
    await turn();
    assert.deepEqual(worker.log.slice(2), ['write 1 4+4', 'peek 1 2-4']);
    jobNamed('write 1 4+4').finish();
    await turn();
    assert.deepEqual(worker.log.slice(4), [], 'the third write waits for the first peek');
    jobNamed('peek 1 0-8').finish();
    assert.equal((await first)[0], 9);
    await turn();
    assert.deepEqual(worker.log.slice(4), ['write 1 2+2'], 'and not for the second one');
    let isIdle = false;
    void queues.idle().then(() => {
      isIdle = true;
    });
    jobNamed('write 1 2+2').finish();
    await turn();
    assert.equal(isIdle, false);
    jobNamed('peek 1 2-4').fail(new Error('no'));
    await assert.rejects(second, /no/);
    await turn();
    assert.equal(isIdle, true);
  });

  test('a peek is a read where nothing is written, or where only a read can tell', async () => {
    const { worker, queues } = setUp();
    const alone = queues.peek(1, 0, 4);
    await finishAll(worker, queues);
    assert.deepEqual([...(await alone)], [0, 1, 2, 3]);
    void queues.write(1, part(0, 4));
    await turn();
    worker.peekBlock = async () => null;
    const behind = queues.peek(1, 2, 4);
    await finishAll(worker, queues);
    assert.deepEqual([...(await behind)], [2, 3]);
    assert.deepEqual(worker.log, ['read 1 0-4', 'write 1 0+4', 'read 1 2-4']);
  });

  test('a peek that only a read can answer reads before the writes that were made since', async () => {
    for (const isLate of [false, true]) {
      const { worker, queues } = setUp();
      const told = Promise.withResolvers<null>();
      worker.peekBlock = () => told.promise;
      void queues.write(1, part(0, 4));
      await turn();
      void queues.write(1, part(4, 4));
      const peeked = queues.peek(1, 2, 4);
      void queues.write(1, part(2, 2));
      // Told while the writes made before it are under way, or after them.
      if (!isLate) told.resolve(null);
      await turn();
      worker.job.finish();
      await turn();
      worker.job.finish();
      await turn();
      if (isLate) told.resolve(null);
      await turn();
      assert.deepEqual(worker.log, ['write 1 0+4', 'write 1 4+4', 'read 1 2-4']);
      await finishAll(worker, queues);
      assert.deepEqual([...(await peeked)], [2, 3]);
      assert.deepEqual(worker.log.slice(3), ['write 1 2+2']);
    }
  });

  test('a read joins one under way that has its bytes, unless that may be out of date', async () => {
    for (const joinRunning of [true, false]) {
      const { worker, queues } = setUp(joinRunning);
      const first = queues.read(1, 0, 16);
      await turn();
      const inside = queues.read(1, 4, 8);
      await turn();
      worker.job.finish();
      await first;
      await finishAll(worker, queues);
      assert.deepEqual([...(await inside)], [4, 5, 6, 7]);
      assert.deepEqual(worker.log, joinRunning ? ['read 1 0-16'] : ['read 1 0-16', 'read 1 4-8']);
    }
  });

  test('a read does not join one under way that lacks a byte of it, nor one with a write behind it', async () => {
    const { worker, queues } = setUp();
    void queues.read(1, 0, 16);
    await turn();
    void queues.read(1, 8, 17);
    await finishAll(worker, queues);
    void queues.read(2, 0, 16);
    await turn();
    void queues.write(2, part(0, 1));
    void queues.read(2, 0, 16);
    await finishAll(worker, queues);
    assert.deepEqual(worker.log, ['read 1 0-16', 'read 1 8-17', 'read 2 0-16', 'write 2 0+1', 'read 2 0-16']);
  });

  test('a read that joins at the very moment a job ends is answered', async () => {
    // Steps through every microtask between the end of the job and its answer.
    for (let delay = 0; delay < 12; delay++) {
      const { worker, queues } = setUp();
      const first = queues.read(1, 0, 8);
      await turn();
      worker.job.finish();
      for (let i = 0; i < delay; i++) await Promise.resolve();
      const late = queues.read(1, 2, 4);
      await finishAll(worker, queues);
      assert.deepEqual([...(await late)], [2, 3], `after ${delay} microtasks`);
      assert.equal((await first).length, 8);
    }
  });

  test('a write made at the very moment a write ends is not lost in it', async () => {
    for (let delay = 0; delay < 12; delay++) {
      const { worker, queues } = setUp();
      const first = queues.write(1, part(0, 1));
      await turn();
      worker.job.finish();
      for (let i = 0; i < delay; i++) await Promise.resolve();
      const late = queues.write(1, part(5, 1));
      await finishAll(worker, queues);
      await Promise.all([first, late]);
      assert.deepEqual(worker.log, ['write 1 0+1', 'write 1 5+1'], `after ${delay} microtasks`);
    }
  });

  test('an error reaches all who wait for the job, and the queue goes on', async () => {
    const { worker, queues } = setUp();
    const writes = [queues.write(1, part(0, 1)), queues.write(1, part(1, 1))];
    const reads = [queues.read(1, 0, 1), queues.read(1, 1, 2)];
    const last = queues.write(1, part(2, 1));
    const settled = Promise.allSettled([...writes, ...reads, last]);
    await turn();
    worker.job.fail(new Error('no put'));
    await turn();
    worker.job.fail(new Error('no get'));
    await finishAll(worker, queues);
    assert.deepEqual(
      (await settled).map((result) => (result.status === 'rejected' ? String(result.reason) : result.status)),
      ['Error: no put', 'Error: no put', 'Error: no get', 'Error: no get', 'fulfilled'],
    );
  });

  test('what is busy is told apart by range and by kind, and is idle in the end', async () => {
    const { worker, queues } = setUp();
    void queues.write(3, part(0, 1));
    void queues.read(5, 0, 1);
    void queues.read(3, 0, 1);
    void queues.write(9, part(0, 1));
    assert.equal(queues.isBusy(3), true);
    assert.equal(queues.isBusy(4), false);
    assert.deepEqual(queues.busyBlocks(3, 9).sort(), [3, 5]);
    assert.deepEqual(queues.writtenBlocks(3, 9), [3]);
    assert.deepEqual(queues.writtenBlocks(4, 10), [9]);
    let idle = false;
    const waiting = queues.idle().then(() => {
      idle = true;
    });
    await turn();
    assert.equal(idle, false);
    await finishAll(worker, queues);
    await waiting;
    assert.deepEqual(queues.busyBlocks(0, 100), []);
    await queues.idle();
  });
});
