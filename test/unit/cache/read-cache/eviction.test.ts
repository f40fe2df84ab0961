/** What has to go and what stays: a working set outlives scans, and one that is new gets its place. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EvictionQueues } from '../../../../src/cache/read-cache/eviction-queues.ts';
import { SlotTable } from '../../../../src/cache/read-cache/slot-table.ts';
import { Random } from '../../../support/random.ts';

const SLOTS = 1000;

/** Lines and slots as the cache has them, without the bytes. */
class Lines {
  readonly busy = new Set<number>();
  readonly table = new SlotTable(SLOTS, { mark() {} });
  readonly queues = new EvictionQueues({
    slots: SLOTS,
    lineAt: (slot) => this.table.lineAt(slot),
    isBusy: (slot) => this.busy.has(slot),
  });

  /** True where the line was there. */
  get(line: number, counts = true): boolean {
    const found = this.table.find(line);
    if (found >= 0) {
      if (counts) this.queues.use(found);
      return true;
    }
    let slot = this.table.freeSlot();
    if (slot < 0) {
      slot = this.queues.evict();
      this.table.release(slot);
    }
    this.table.assign(slot, line);
    this.queues.add(slot, line, counts);
    return false;
  }

  /** The share of `draws` random reads of lines [0, count) that were hits. */
  hitShare(count: number, draws: number, random: Random): number {
    let hits = 0;
    for (let draw = 0; draw < draws; draw++) if (this.get(random.below(count))) hits++;
    return hits / draws;
  }
}

describe('S3-FIFO', () => {
  it('a working set of most of the cache outlives a scan of 50 times its size', () => {
    const lines = new Lines();
    const random = new Random(1);
    lines.hitShare(800, 8000, random);
    for (let line = 0; line < 50 * SLOTS; line++) {
      lines.get(1_000_000 + line, false);
      if (line % 10 === 0) lines.get(random.below(800));
    }
    assert.ok(lines.hitShare(800, 4000, random) > 0.99);
  });

  it('and one that stands still meanwhile, but for what is on probation', () => {
    const lines = new Lines();
    lines.hitShare(800, 8000, new Random(2));
    for (let line = 0; line < 50 * SLOTS; line++) lines.get(1_000_000 + line, false);
    assert.ok(lines.hitShare(800, 4000, new Random(3)) > 0.95);
  });

  it('a new working set takes the place of the old one', () => {
    const lines = new Lines();
    const random = new Random(4);
    lines.hitShare(800, 8000, random);
    const share = (): number => {
      let hits = 0;
      for (let draw = 0; draw < 4000; draw++) if (lines.get(5000 + random.below(800))) hits++;
      return hits / 4000;
    };
    const first = share();
    share();
    const last = share();
    assert.ok(last > 0.99, `${first}, then ${last}`);
  });

  it('hits more often than a plain queue where few lines are read often', () => {
    const lines = new Lines();
    const random = new Random(5);
    const plain: number[] = [];
    const inPlain = new Set<number>();
    let hits = 0;
    let plainHits = 0;
    for (let draw = 0; draw < 60_000; draw++) {
      const line = Math.floor(20_000 ** random.next());
      if (lines.get(line)) hits++;
      if (inPlain.has(line)) {
        plainHits++;
        continue;
      }
      inPlain.add(line);
      plain.push(line);
      if (plain.length > SLOTS) inPlain.delete(plain.shift() as number);
    }
    assert.ok(hits > plainHits * 1.02, `${hits} and ${plainHits}`);
  });

  it('what is busy stays, and where everything is, nothing goes', () => {
    const lines = new Lines();
    for (let line = 0; line < SLOTS; line++) lines.get(line);
    for (let slot = 0; slot < SLOTS; slot++) if (slot !== 77) lines.busy.add(slot);
    // Looking for one is bounded, so it may take several times.
    let evicted = -1;
    for (let turn = 0; turn < 10 && evicted < 0; turn++) evicted = lines.queues.evict();
    assert.equal(evicted, 77);
    assert.equal(lines.queues.evict(), -1);
  });

  it('lines move into free slots in their order', () => {
    const lines = new Lines();
    for (let line = 0; line < SLOTS; line++) lines.get(line);
    for (let line = 0; line < SLOTS; line++) assert.equal(lines.table.find(line), line);
  });
});

describe('the table of slots', () => {
  it('finds what a plain map finds, whatever comes and goes', () => {
    const random = new Random(6);
    const table = new SlotTable(64, { mark() {} });
    const map = new Map<number, number>();
    for (let step = 0; step < 20_000; step++) {
      const line = random.below(100) * (random.chance(0.5) ? 1 : 2 ** 32);
      const slot = table.find(line);
      assert.equal(slot, map.get(line) ?? -1);
      if (slot >= 0) {
        table.release(slot);
        map.delete(line);
        continue;
      }
      const free = table.freeSlot();
      assert.equal(free < 0, map.size === 64);
      if (free < 0) continue;
      table.assign(free, line);
      map.set(line, free);
    }
    assert.equal(table.usedSlots, map.size);
  });
});
