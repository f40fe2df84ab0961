/** Damage that clients meet is in the log, with the key of the block, once: whoever asks gets no more than an I/O error. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DamageLog } from '../../../../src/layout/blocks/damage-log.ts';
import { StorageError } from '../../../../src/lib/errors.ts';
import { MemoryObjectStore } from '../../../../src/object/memory.ts';
import { openBlocks, PLAIN, VARIANTS } from '../../../conformance/layout/variants.ts';
import { rejectsWith } from '../../../conformance/object-store/suite.ts';
import { LogBook } from '../../volume/fixtures.ts';

const BLOCK = PLAIN.blockSizeBytes;
const KEY = 'vol/00000001';

test('a block that is gone is told once, however often it is asked for, and again when that happens again', async () => {
  const store = new MemoryObjectStore();
  const log = new LogBook();
  const layout = openBlocks(store, PLAIN, 4 * BLOCK, { log });
  const write = (tag: number): Promise<void> =>
    layout.commit({ extents: [{ offset: BLOCK, data: Buffer.alloc(BLOCK, tag) }] });
  for (let times = 1; times <= 2; times++) {
    await write(times);
    await store.delete([KEY]);
    for (let reads = 0; reads < 3; reads++) await assert.rejects(layout.read(BLOCK, 512), rejectsWith('CORRUPT'));
    await assert.rejects(layout.peek(BLOCK, BLOCK), rejectsWith('CORRUPT'));
    const errors = log.lines.filter(({ level }) => level === 'error');
    assert.equal(errors.length, times);
    assert.match(String(errors.at(-1)?.fields.error), new RegExp(KEY));
    assert.equal(errors.at(-1)?.fields.block, 1);
  }
  await layout.close();
});

test('so is one whose object is damaged', async () => {
  const store = new MemoryObjectStore();
  const log = new LogBook();
  await store.put(KEY, Buffer.from('no zstd'), { headers: { contentEncoding: 'zstd' } });
  const layout = openBlocks(store, VARIANTS.zstd ?? PLAIN, 4 * 8192, { log });
  await assert.rejects(layout.read(8192, 8192), rejectsWith('CORRUPT'));
  assert.match(String(log.lines[0]?.fields.error), new RegExp(KEY));
  await layout.close();
});

test('other failures are told elsewhere, and of very many blocks no more is said', () => {
  const log = new LogBook();
  const damage = new DamageLog(log);
  damage.failed(1, new StorageError('UNAVAILABLE', 'the bucket is away'));
  damage.failed(1, new Error('a mistake'));
  assert.equal(log.lines.length, 0);
  for (let block = 0; block < 3000; block++) damage.failed(block, new StorageError('CORRUPT', 'gone'));
  assert.equal(log.lines.length, 1000);
});
