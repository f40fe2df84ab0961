/** Memory for bodies that two threads see: whole copies, used again only once it has been given back, and bounded whatever becomes of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { SharedBodies } from '../../../../src/object/thread/shared-bodies.ts';

const KIB = 1024;

test('a copy is whole, and of its own', () => {
  const bodies = new SharedBodies(1024 * KIB);
  const body = Buffer.alloc(100_001, 'body');
  const copy = bodies.copyOf(body) as Uint8Array;
  assert.ok(body.equals(copy));
  body.fill(0);
  assert.ok(Buffer.alloc(100_001, 'body').equals(copy));
  assert.equal(bodies.copyOf(Buffer.alloc(1000)), null, 'too small to be worth it');
});

test('memory is used again once it has been given back, and not before', () => {
  const bodies = new SharedBodies(1024 * KIB);
  const first = bodies.copyOf(Buffer.alloc(128 * KIB, 1)) as Uint8Array<SharedArrayBuffer>;
  const second = bodies.copyOf(Buffer.alloc(128 * KIB, 2)) as Uint8Array<SharedArrayBuffer>;
  assert.notEqual(first.buffer, second.buffer);
  bodies.giveBack(first);
  const third = bodies.copyOf(Buffer.alloc(100 * KIB, 3)) as Uint8Array;
  assert.equal(third.buffer, first.buffer);
  assert.equal(third.length, 100 * KIB, 'what is behind it is another body’s');
  assert.ok(Buffer.alloc(128 * KIB, 2).equals(second));
  const fourth = bodies.copyOf(Buffer.alloc(100 * KIB, 4)) as Uint8Array;
  assert.notEqual(fourth.buffer, first.buffer);
});

test('what is much too large for a body is left for others', () => {
  const bodies = new SharedBodies(1024 * KIB);
  const large = bodies.copyOf(Buffer.alloc(512 * KIB)) as Uint8Array<SharedArrayBuffer>;
  bodies.giveBack(large);
  assert.notEqual((bodies.copyOf(Buffer.alloc(64 * KIB)) as Uint8Array).buffer, large.buffer);
  assert.equal((bodies.copyOf(Buffer.alloc(256 * KIB)) as Uint8Array).buffer, large.buffer);
});

test('no more is made than may be, what was never given back included until it has been collected', async () => {
  const bodies = new SharedBodies(200 * KIB);
  const first = bodies.copyOf(Buffer.alloc(128 * KIB)) as Uint8Array<SharedArrayBuffer>;
  assert.equal(bodies.copyOf(Buffer.alloc(128 * KIB)), null, 'it is in use');
  bodies.giveBack(first);
  // Of a put that fails.
  assert.equal(bodies.copyOf(Buffer.alloc(128 * KIB))?.buffer, first.buffer);
  assert.equal(bodies.copyOf(Buffer.alloc(128 * KIB)), null, 'it may still be read from');
  const left = new SharedBodies(200 * KIB);
  (() => left.copyOf(Buffer.alloc(128 * KIB)))();
  assert.equal(left.copyOf(Buffer.alloc(128 * KIB)), null);
  assert.ok(await collectedUntil(() => left.copyOf(Buffer.alloc(128 * KIB)) !== null));
});

test('free memory of sizes that nobody wants any more gives way to others', async () => {
  const bodies = new SharedBodies(200 * KIB);
  (() => bodies.giveBack(bodies.copyOf(Buffer.alloc(128 * KIB)) as Uint8Array<SharedArrayBuffer>))();
  assert.equal(bodies.copyOf(Buffer.alloc(190 * KIB)), null);
  assert.ok(await collectedUntil(() => bodies.copyOf(Buffer.alloc(190 * KIB)) !== null));
});

/** Whether it is so once the heap has been collected, a few times at most. */
async function collectedUntil(isSo: () => boolean): Promise<boolean> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let round = 0; round < 50; round++) {
    collect();
    await setImmediate();
    if (isSo()) return true;
  }
  return false;
}
