/** Memory for batches: whole blocks are used again, shared with whoever sends them; all else is the collector's. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BatchMemory } from '../../../../src/cache/upload/batch-memory.ts';

const BLOCK = 1024 * 1024;

test('what is given back is taken again, once, and what is not is never seen again', () => {
  const memory = new BatchMemory(BLOCK);
  const taken = [memory.take(BLOCK), memory.take(BLOCK)];
  assert.notEqual(taken[0], taken[1]);
  for (const buffer of taken) assert.ok(buffer.buffer instanceof SharedArrayBuffer);
  memory.giveBack(taken);
  const again = [memory.take(BLOCK), memory.take(BLOCK), memory.take(BLOCK)];
  assert.equal(new Set([...taken, ...again]).size, 3);
  memory.giveBackAll();
});

test('of other lengths nothing is kept, nor of small blocks', () => {
  for (const [blockBytes, length] of [
    [BLOCK, BLOCK - 4096],
    [4096, 4096],
  ] as const) {
    const memory = new BatchMemory(blockBytes);
    const first = memory.take(length);
    assert.equal(first.length, length);
    memory.giveBack([first]);
    assert.notEqual(memory.take(length), first);
  }
});

test('no more is shared than two batches have, over all volumes, and all of it can be given back at once', () => {
  const [one, other] = [new BatchMemory(BLOCK), new BatchMemory(BLOCK)];
  const taken = Array.from({ length: 40 }, () => [one.take(BLOCK), other.take(BLOCK)]).flat();
  const shared = new Set(taken.filter(({ buffer }) => buffer instanceof SharedArrayBuffer));
  assert.equal(shared.size, 64);
  one.giveBackAll();
  // Not even of this volume: nobody gives twice what somebody else may have by now.
  one.giveBack(taken);
  const again = Array.from({ length: 40 }, () => other.take(BLOCK));
  assert.equal(again.filter((buffer) => shared.has(buffer)).length, 32);
  other.giveBackAll();
  const rest = Array.from({ length: 70 }, () => one.take(BLOCK));
  assert.equal(new Set(rest).size, 70);
  assert.equal(rest.filter((buffer) => shared.has(buffer)).length, 64);
  one.giveBackAll();
});
