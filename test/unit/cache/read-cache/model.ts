/**
 * What a read cache may return, by a model that knows for each page how old that may be; and the disk below, which fails and
 * loses power as it is told to. An insert and an invalidation are a new version of the page each.
 */
import assert from 'node:assert/strict';
import { PAGE_BYTES } from '../../../../src/cache/page.ts';
import type { InsertKind, ReadCache } from '../../../../src/cache/read-cache/read-cache.ts';
import type { DiskFaults, SimDisk } from '../../../support/sim-disk.ts';
import { settle, VirtualClock } from '../../../support/virtual-clock.ts';
import { DIRECTORY, newDisk, newUnevenDisk, openCache, pages } from './fixtures.ts';

export const PAGES = 192;
/** Page numbers are of more than 32 bits. */
const FIRST_PAGE = 2 ** 40;

export type Step =
  | { readonly do: 'insert'; readonly first: number; readonly count: number; readonly kind: InsertKind }
  | { readonly do: 'invalidate' | 'read'; readonly first: number; readonly count: number }
  | { readonly do: 'wait'; readonly turns: number }
  | { readonly do: 'checkpoint' | 'clear' | 'pass' }
  | { readonly do: 'crash' | 'kill' | 'close'; readonly lines: number; readonly isSame: boolean }
  | { readonly do: 'fail'; readonly faults: DiskFaults }
  | { readonly do: 'fill'; readonly roomBytes: number }
  | { readonly do: 'rot'; readonly file: 'lines' | 'index' | 'index.journal'; readonly share: number };

const SOUND: DiskFaults = { read: 0, write: 0, sync: 0, names: 0 };

export class ModelledCache {
  readonly #clock = new VirtualClock();
  #disk: SimDisk;
  #cache: ReadCache | null = null;
  #life = 0;
  #identity = 0;
  #version = 0;
  /** The oldest version that may be returned now, the newest, and the oldest that may be returned after a crash. */
  readonly #oldest = new Float64Array(PAGES);
  readonly #newest = new Float64Array(PAGES);
  readonly #durable = new Float64Array(PAGES);
  /** Pages returned in a later life than that in which they came. */
  survivors = 0;
  #inserted = new Set<string>();

  private constructor(disk: SimDisk) {
    this.#disk = disk;
  }

  static async start(seed: number, lines: number): Promise<ModelledCache> {
    const model = new ModelledCache(await (seed % 2 === 0 ? newDisk(seed) : newUnevenDisk(seed)));
    // Nothing has been inserted: version 0 of a page is nobody's.
    for (let page = 0; page < PAGES; page++) model.#oldest[page] = model.#newest[page] = model.#durable[page] = 1;
    model.#version = 1;
    await model.#open(lines);
    return model;
  }

  async take(step: Step): Promise<void> {
    const cache = this.#cache;
    if (cache === null) throw new Error('there is no cache');
    switch (step.do) {
      case 'insert':
        return this.#insert(cache, step.first, step.count, step.kind);
      case 'invalidate':
        this.#renew(step.first, step.count);
        return cache.invalidate(FIRST_PAGE + step.first, FIRST_PAGE + Math.min(PAGES, step.first + step.count));
      case 'clear':
        this.#renew(0, PAGES);
        return cache.clear();
      case 'read':
        return this.#read(cache, step.first, step.count);
      case 'wait':
        return settle(step.turns);
      case 'pass':
        return this.#clock.advance(10_000);
      case 'checkpoint':
        return this.#checkpoint(cache);
      case 'crash':
      case 'kill':
        this.#cutOff(step.do);
        this.#oldest.set(this.#durable);
        return this.#reopen(step.lines, step.isSame);
      case 'close':
        await this.#close(cache);
        return this.#reopen(step.lines, step.isSame);
      case 'fail':
        this.#disk.faults = step.faults;
        return;
      case 'fill':
        this.#disk.capacityBytes = step.roomBytes === Infinity ? Infinity : this.#disk.usedBytes + step.roomBytes;
        return;
      case 'rot':
        return this.#rot(step.file, step.share);
    }
  }

  /** Everything, page by page, as it is after a last crash too. */
  async finish(): Promise<void> {
    await this.take({ do: 'read', first: 0, count: PAGES });
    await this.take({ do: 'crash', lines: 6, isSame: true });
    await this.take({ do: 'read', first: 0, count: PAGES });
  }

  #insert(cache: ReadCache, first: number, wantedCount: number, kind: InsertKind): void {
    const count = Math.min(wantedCount, PAGES - first);
    this.#renew(first, count);
    for (let page = first; page < first + count; page++) this.#inserted.add(`${page}:${this.#version}:${this.#life}`);
    void cache.insert(FIRST_PAGE + first, pages(FIRST_PAGE + first, count, this.#version), kind);
  }

  #renew(first: number, count: number): void {
    const version = ++this.#version;
    this.#oldest.fill(version, first, first + count);
    this.#newest.fill(version, first, first + count);
  }

  #read(cache: ReadCache, first: number, count: number): void {
    const target = Buffer.alloc(PAGES * PAGE_BYTES);
    const end = Math.min(PAGES, first + count);
    for (let page = first; page < end; ) {
      const there = cache.lookup(FIRST_PAGE + page, FIRST_PAGE + end);
      const good = there === 0 ? 0 : cache.read(FIRST_PAGE + page, there, target, 0, true);
      for (let index = 0; index < good; index++) this.#check(page + index, target, index);
      page += Math.max(1, good);
    }
  }

  #check(page: number, target: Buffer, index: number): void {
    const bytes = target.subarray(index * PAGE_BYTES, (index + 1) * PAGE_BYTES);
    const version = bytes.readUInt32LE(8);
    const oldest = this.#oldest[page] as number;
    const newest = this.#newest[page] as number;
    assert.ok(bytes.equals(pages(FIRST_PAGE + page, 1, version)), `page ${page} has bytes that were never its own`);
    assert.ok(version >= oldest, `page ${page} is of version ${version}, and must be of ${oldest} or later`);
    assert.ok(version <= newest, `page ${page} is of version ${version}, after ${newest}`);
    if (!this.#inserted.has(`${page}:${version}:${this.#life}`)) this.survivors++;
  }

  #checkpoint(cache: ReadCache): void {
    const covered = this.#oldest.slice();
    const life = this.#life;
    cache.checkpoint().then(
      () => {
        if (life === this.#life) raise(this.#durable, covered);
      },
      () => {},
    );
  }

  /** What was wrong with the disk still is when the next process opens it. */
  #cutOff(how: 'crash' | 'kill'): void {
    const { faults } = this.#disk;
    this.#disk = how === 'crash' ? this.#disk.crash() : this.#disk.kill();
    this.#disk.faults = faults;
  }

  async #close(cache: ReadCache): Promise<void> {
    const covered = this.#oldest.slice();
    try {
      await cache.close();
      raise(this.#durable, covered);
    } catch {
      // What is on the disk is that of the last checkpoint.
    }
    this.#oldest.set(this.#durable);
  }

  async #reopen(lines: number, isSame: boolean): Promise<void> {
    this.#life++;
    this.#cache = null;
    if (!isSame) {
      this.#identity++;
      this.#renew(0, PAGES);
      this.#durable.set(this.#oldest);
    }
    await this.#open(lines);
    this.#disk.faults = SOUND;
    this.#disk.capacityBytes = Infinity;
  }

  async #open(lines: number): Promise<void> {
    for (let attempt = 0; this.#cache === null; attempt++) {
      try {
        this.#cache = await openCache(this.#disk, { lines, identity: `volume-${this.#identity}`, clock: this.#clock });
      } catch (error) {
        assert.ok((error as { code?: string }).code === 'UNAVAILABLE', String(error));
        if (attempt > 5) this.#disk.faults = SOUND;
      }
    }
  }

  #rot(name: string, share: number): void {
    const path = `${DIRECTORY}/${name}`;
    const file = this.#disk.files.find((one) => one.path === path);
    if (file !== undefined && file.sizeBytes > 0) this.#disk.flipBit(path, Math.floor(file.sizeBytes * share));
  }
}

function raise(target: Float64Array, to: Float64Array): void {
  for (let at = 0; at < target.length; at++) target[at] = Math.max(target[at] as number, to[at] as number);
}
