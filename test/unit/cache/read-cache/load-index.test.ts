/** Reading the index back: large ones, ones that end in the middle, and lines that have moved. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BatchWriter } from '../../../../src/cache/read-cache/batch-file.ts';
import { Bitmap } from '../../../../src/cache/read-cache/bitmap.ts';
import { EvictionQueues } from '../../../../src/cache/read-cache/eviction-queues.ts';
import { type ChainPoint, END, HEAD } from '../../../../src/cache/read-cache/index-batch.ts';
import { headWords, type LoadedIndex, loadIndex } from '../../../../src/cache/read-cache/load-index.ts';
import { SlotTable } from '../../../../src/cache/read-cache/slot-table.ts';
import type { SimDisk } from '../../../support/sim-disk.ts';
import { DIRECTORY, newDisk } from './fixtures.ts';

const SLOTS = 5000;
const IDENTITY = 'volume-1';

function newTable(slots = SLOTS): { table: SlotTable; queues: EvictionQueues } {
  const table = new SlotTable(slots, { mark() {} });
  return { table, queues: new EvictionQueues({ slots, lineAt: (slot) => table.lineAt(slot), isBusy: () => false }) };
}

function put(table: SlotTable, slot: number, line: number, pages: readonly number[]): void {
  if (table.isUsed(slot)) table.release(slot);
  table.assign(slot, line);
  for (const page of pages) table.setPage(slot, page, line * 16 + page);
}

async function writeSnapshot(disk: SimDisk, { table, queues }: ReturnType<typeof newTable>): Promise<ChainPoint> {
  const file = disk.open(`${DIRECTORY}/index`);
  const writer = new BatchWriter(file, { epoch: 2 ** 33 + 1, number: 0, checksum: 0 });
  await writer.write(HEAD, headWords(IDENTITY, table.slots, 1));
  await writer.writeAll(table, queues);
  await writer.write(END, []);
  file.close();
  return writer.point;
}

async function load(disk: SimDisk, into: SlotTable): Promise<LoadedIndex> {
  const files = [disk.open(`${DIRECTORY}/index`), disk.open(`${DIRECTORY}/journal`)] as const;
  const loaded = await loadIndex(...files, IDENTITY, into);
  for (const file of files) file.close();
  return loaded;
}

describe('loadIndex', () => {
  it('gives back what was written, over many batches', async () => {
    const disk = await newDisk();
    const before = newTable();
    for (let slot = 0; slot < SLOTS; slot += 1 + (slot % 3))
      put(before.table, slot, 2 ** 36 + slot * 7, [0, slot % 16]);
    await writeSnapshot(disk, before);
    const { table } = newTable();
    const loaded = await load(disk, table);
    assert.ok(loaded.kind === 'loaded' && loaded.isClean);
    assert.equal(table.pages, before.table.pages);
    for (let slot = 0; slot < SLOTS; slot++) {
      assert.equal(table.lineAt(slot), before.table.lineAt(slot));
      assert.equal(table.maskAt(slot), before.table.maskAt(slot));
      if (table.isUsed(slot)) assert.equal(table.checksumAt(slot, slot % 16), before.table.checksumAt(slot, slot % 16));
    }
  });

  it('of a line that has moved, the later place holds, also where that is all the journal has to say', async () => {
    for (const [to, slots] of [
      [3, SLOTS],
      [4000, 100],
    ] as const) {
      const disk = await newDisk();
      const before = newTable();
      put(before.table, 50, 777, [1, 2]);
      const point = await writeSnapshot(disk, before);
      const after = newTable();
      put(after.table, to, 777, [2]);
      const journal = disk.open(`${DIRECTORY}/journal`);
      const changed = new Bitmap(SLOTS);
      changed.add(to);
      await new BatchWriter(journal, point).writeMarked(changed, after.table, after.queues);
      journal.close();
      const { table } = newTable(slots);
      const loaded = await load(disk, table);
      assert.ok(loaded.kind === 'loaded' && !loaded.isClean);
      assert.equal(table.isUsed(50), false);
      assert.equal(table.pages, to < slots ? 1 : 0);
      assert.equal(table.find(777), to < slots ? to : -1);
    }
  });

  it('a snapshot that is cut off anywhere is damaged', async () => {
    const disk = await newDisk();
    const before = newTable();
    for (let slot = 0; slot < SLOTS; slot++) put(before.table, slot, slot, [0]);
    await writeSnapshot(disk, before);
    const file = disk.open(`${DIRECTORY}/index`);
    for (let share = 0.95; share >= 0; share -= 0.19) {
      file.truncate(Math.floor((file.sizeBytes() / 4) * share) * 4);
      assert.equal((await load(disk, newTable().table)).kind, 'damaged');
    }
    file.close();
  });
});
