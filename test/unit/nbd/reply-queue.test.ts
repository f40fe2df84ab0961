/** The outgoing queue: the same bytes in the same order, whatever the sizes, and slabs that come back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ReplyQueue, SlabPool } from '../../../src/nbd/reply-queue.ts';

class CountingPool extends SlabPool {
  out = 0;

  override take(): Buffer {
    this.out++;
    return super.take();
  }

  override give(slab: Buffer): void {
    this.out--;
    slab.fill(0xee);
    super.give(slab);
  }
}

/** Sends what a queue holds, a write at a time; what is written is looked at only when the write is done. */
class Sender {
  readonly #queue: ReplyQueue;
  readonly sent: Buffer[] = [];
  heldBytes = 0;
  #underWay: Buffer[] = [];

  constructor(queue: ReplyQueue) {
    this.#queue = queue;
  }

  begin(batchBytes: number): void {
    if (this.#underWay.length === 0) this.#underWay = this.#queue.nextBatch(batchBytes);
  }

  /** False where nothing was under way. */
  finish(): boolean {
    if (this.#underWay.length === 0) return false;
    this.sent.push(...this.#underWay.map((piece) => Buffer.from(piece)));
    this.#underWay = [];
    this.heldBytes += this.#queue.written();
    return true;
  }
}

test('what went in comes out, in order, in any batches; all that was held is told; all slabs come back', () => {
  const length = fc.oneof(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 40_000 }), fc.constant(300_000));
  const add = fc.record({ queue: fc.nat(1), length });
  const send = fc.record({ queue: fc.nat(1), begin: fc.integer({ min: 1, max: 400_000 }) });
  const finish = fc.record({ queue: fc.nat(1), finish: fc.constant(true) });
  fc.assert(
    fc.property(fc.array(fc.oneof(add, send, finish), { maxLength: 60 }), (steps) => {
      const pool = new CountingPool(100);
      const queues = [0, 1].map(() => {
        const queue = new ReplyQueue(pool);
        return { queue, sender: new Sender(queue), added: [] as Buffer[] };
      });
      steps.forEach((step, i) => {
        const { queue, sender, added } = queues[step.queue] ?? assert.fail();
        if ('begin' in step) sender.begin(step.begin);
        else if ('finish' in step) sender.finish();
        else {
          const data = Buffer.alloc(step.length, i + 1);
          if (step.length <= 200) {
            const at = queue.reserve(step.length);
            queue.slab.fill(i + 1, at, at + step.length);
          } else queue.append(data);
          queue.hold(step.length);
          added.push(data);
        }
      });
      for (const { queue, sender, added } of queues) {
        do sender.begin(1_000_000);
        while (sender.finish());
        const expected = Buffer.concat(added);
        assert.ok(Buffer.concat(sender.sent).equals(expected));
        assert.equal(sender.heldBytes, expected.length);
        assert.equal(queue.queuedBytes, 0);
      }
      assert.equal(pool.out, 0);
    }),
    { numRuns: 100 },
  );
});

test('small replies of a turn are one piece; a large payload is sent from where it is', () => {
  const queue = new ReplyQueue(new SlabPool(4));
  for (let i = 0; i < 10; i++) queue.append(Buffer.alloc(4096, i));
  assert.equal(queue.nextBatch(1_000_000).length, 1);
  queue.written();
  const payload = Buffer.alloc(100_000);
  queue.append(Buffer.alloc(28));
  queue.append(payload);
  queue.append(Buffer.alloc(28));
  const pieces = queue.nextBatch(1_000_000);
  assert.equal(pieces.length, 3);
  assert.equal(pieces[1], payload);
});

test('bytes in the write under way are still queued, and are told once it is written', () => {
  const queue = new ReplyQueue(new SlabPool(4));
  queue.append(Buffer.alloc(100));
  queue.hold(70);
  queue.nextBatch(1000);
  queue.append(Buffer.alloc(50));
  queue.hold(5);
  assert.equal(queue.queuedBytes, 150);
  assert.equal(queue.written(), 70);
  assert.equal(queue.queuedBytes, 50);
  queue.nextBatch(1000);
  assert.equal(queue.discard(), 5);
  assert.equal(queue.queuedBytes, 0);
});

test('what was lent is given back once, as it was lent, whenever the connection closes', () => {
  const length = fc.oneof(fc.integer({ min: 1, max: 40_000 }), fc.constant(300_000));
  const step = fc.oneof(
    fc.record({ length }),
    fc.record({ begin: fc.integer({ min: 1, max: 400_000 }) }),
    fc.constant(null),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const lent = new Set<Buffer>();
      const queue = new ReplyQueue(new CountingPool(100), (buffer) => assert.ok(lent.delete(buffer)));
      const sender = new Sender(queue);
      for (const step of steps) {
        if (step === null) sender.finish();
        else if ('begin' in step) sender.begin(step.begin);
        else {
          const data = Buffer.alloc(step.length);
          lent.add(data);
          queue.append(data, true);
        }
      }
      queue.discard();
      assert.equal(lent.size, 0);
      queue.discard();
    }),
  );
});
