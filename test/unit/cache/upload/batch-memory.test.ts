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

test('no more is kept than two batches have, and nothing once it is released', () => {
  const memory = new BatchMemory(BLOCK);
  const taken = Array.from({ length: 70 }, () => memory.take(BLOCK));
  memory.giveBack(taken);
  const known = new Set(taken);
  const again = Array.from({ length: 70 }, () => memory.take(BLOCK));
  assert.equal(again.filter((buffer) => known.has(buffer)).length, 64);
  memory.giveBack(again);
  memory.release();
  assert.ok(!new Set([...taken, ...again]).has(memory.take(BLOCK)));
});
