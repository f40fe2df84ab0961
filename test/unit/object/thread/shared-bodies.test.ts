/** Memory for bodies that two threads see: whole copies, used again only once it has been given back, and not kept without bound. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
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

test('no more is kept than may be', () => {
  const bodies = new SharedBodies(200 * KIB);
  const copies = [1, 2].map((fill) => bodies.copyOf(Buffer.alloc(128 * KIB, fill)) as Uint8Array<SharedArrayBuffer>);
  for (const copy of copies) bodies.giveBack(copy);
  const again = [3, 4].map((fill) => (bodies.copyOf(Buffer.alloc(128 * KIB, fill)) as Uint8Array).buffer);
  assert.equal(again.filter((buffer) => copies.some((copy) => copy.buffer === buffer)).length, 1);
});
