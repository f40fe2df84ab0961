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

function drain(queue: ReplyQueue, batchBytes: number): { bytes: Buffer; heldBytes: number } {
  const pieces: Buffer[] = [];
  let heldBytes = 0;
  for (;;) {
    const batch = queue.nextBatch(batchBytes);
    if (batch.length === 0) return { bytes: Buffer.concat(pieces), heldBytes };
    pieces.push(...batch.map((piece) => Buffer.from(piece)));
    heldBytes += queue.written();
  }
}

test('what went in comes out, in order, in any batches; all that was held is told; all slabs come back', () => {
  const length = fc.oneof(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 40_000 }), fc.constant(300_000));
  const step = fc.record({ length, header: fc.boolean(), drainBytes: fc.option(fc.integer({ min: 1, max: 400_000 })) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const pool = new CountingPool(100);
      const queue = new ReplyQueue(pool);
      const expected: Buffer[] = [];
      const sent: Buffer[] = [];
      let held = 0;
      steps.forEach(({ length, header, drainBytes }, i) => {
        const data = Buffer.alloc(length, i + 1);
        if (header && length <= 200) {
          const at = queue.reserve(length);
          queue.slab.fill(i + 1, at, at + length);
        } else queue.append(data);
        queue.hold(length);
        expected.push(data);
        if (drainBytes === null) return;
        const drained = drain(queue, drainBytes);
        sent.push(drained.bytes);
        held += drained.heldBytes;
        assert.equal(queue.queuedBytes, 0);
      });
      const drained = drain(queue, 1_000_000);
      assert.ok(Buffer.concat([...sent, drained.bytes]).equals(Buffer.concat(expected)));
      assert.equal(held + drained.heldBytes, steps.reduce((sum, { length }) => sum + length, 0)); // biome-ignore format: one
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
