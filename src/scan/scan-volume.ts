/** Looks a volume through: its keys in the bucket, its blocks' bytes, and what the local disk has of it. */
import type { CachedVolume } from '../cache/cached-volume.ts';
import { PAGE_BYTES } from '../cache/page.ts';
import { LINE_BYTES } from '../cache/read-cache/geometry.ts';
import type { BlockInspector, ListedKey } from '../layout/blocks/block-inspector.ts';
import { PRESENT } from '../layout/blocks/block-states.ts';
import type { Clock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';
import type { Volume } from '../volume/volume.ts';
import { volumeKeys } from '../volume/volume-keys.ts';
import { bytesOf } from './byte-reader.ts';
import { findFilesCommands, findFilesystem } from './filesystem.ts';
import { Findings } from './findings.ts';
import { Pace } from './pace.ts';
import { repairAll } from './repair.ts';
import type { ScanProgress, ScanReport } from './scan-report.ts';
import type { ScanState } from './scan-state.ts';

/** How far a rotation has come is written down so often, and at its end. */
const SAVE_EVERY_BLOCKS = 256;
/** Lines that are only looked at for oddities before others have a turn. */
const ODD_SLOTS = 512;

export interface ScanOptions {
  readonly deep: boolean;
  /** Of the stored blocks whose bytes are read, 0 to 1. */
  readonly share: number;
  readonly repair: boolean;
  /** Bytes a second of what is read; null: as fast as it goes. */
  readonly rateBytes: number | null;
}

export interface ScanContext {
  readonly volume: Volume;
  readonly by: 'appliance' | 'alone';
  readonly state: ScanState;
  /** Whether clients have much to do at present. */
  readonly isBusy: () => boolean;
  /** What its filesystem is on and where it is mounted, where that is known. */
  readonly mounted: { readonly device: string; readonly dir: string } | null;
  readonly onProgress: (progress: ScanProgress) => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/**
 * Rejects where it cannot be looked through, with CANCELLED when the signal aborts: what was read until then counts for the rotation. With FENCED
 * where another writer has the volume: what looks like damage may be what that one has done.
 */
export function scanVolume(options: ScanOptions, context: ScanContext): Promise<ScanReport> {
  return new Scan(options, context).run();
}

class Scan {
  readonly #options: ScanOptions;
  readonly #context: ScanContext;
  readonly #inspector: BlockInspector;
  readonly #findings = new Findings();
  readonly #pace: Pace;
  #keys = 0;
  #blocks = 0;
  #deepBlocks = 0;
  #deepBytes = 0;
  #cachedBytes = 0;
  #logBytes = 0;

  constructor(options: ScanOptions, context: ScanContext) {
    this.#options = options;
    this.#context = context;
    this.#inspector = context.volume.inspector;
    this.#pace = new Pace({ ...context, rateBytes: options.rateBytes });
  }

  async run(): Promise<ScanReport> {
    const { volume, clock, signal, log } = this.#context;
    const startedAt = clock.date();
    const startedAtMs = clock.now();
    await volume.whenOurs(this.#search(), signal);
    if (this.#options.repair) {
      const onDone = (done: number, total: number): void => this.#tell('repairing', done, total);
      const repairing = {
        volume,
        findings: this.#findings,
        pace: this.#pace,
        clock,
        signal,
        at: startedAt,
        log,
        onDone,
      };
      await volume.whenOurs(repairAll(repairing), signal);
    }
    return this.#report(startedAt, Math.round(clock.now() - startedAtMs));
  }

  async #search(): Promise<void> {
    const { volume, signal } = this.#context;
    await volume.surveyed(signal);
    await this.#list();
    if (volume.cached !== null) await this.#checkCache(volume.cached);
    if (this.#options.deep) await this.#read();
  }

  /** All keys, held against what is known of the blocks; and the blocks that are in no listing. */
  async #list(): Promise<void> {
    const { volume, signal } = this.#context;
    const own = volumeKeys(volume.options.prefix);
    const seen = this.#inspector.newSet();
    for await (const page of this.#inspector.list(signal)) {
      await this.#pace.step();
      for (const listed of page) {
        const { key, block } = listed;
        this.#keys++;
        if (block !== null && block < this.#inspector.blockCount) {
          this.#blocks++;
          if (block < seen.blockCount) seen.set(block, PRESENT);
          if (this.#inspector.isSuspect(block, listed)) await this.#look(block);
        } else if (block !== null) {
          this.#noteOrphan(listed, block);
        } else if (!key.startsWith(own.reserved) && key !== own.token) {
          this.#findings.add({
            kind: 'foreign',
            key,
            detail: `a key that is none of the volume's, ${listed.sizeBytes} bytes`,
          });
        }
      }
      this.#tell('listing', this.#keys, null);
    }
    for (let block = this.#inspector.nextUnseen(seen, 0); block < this.#inspector.blockCount; ) {
      await this.#look(block);
      this.#tell('checking', block, this.#inspector.blockCount);
      block = this.#inspector.nextUnseen(seen, block + 1);
    }
  }

  async #look(block: number): Promise<void> {
    await this.#pace.step();
    this.#note(block, await this.#inspector.look(block, { deep: false }, this.#context.signal));
  }

  /** The next share of the blocks, in the order of their keys, from where the last scan has ended. */
  async #read(): Promise<void> {
    const { state, signal } = this.#context;
    const wanted = Math.ceil(this.#blocks * Math.min(1, Math.max(0, this.#options.share)));
    let { cursor, round, checkedBlocks } = state.rotation;
    let sinceSaved = 0;
    const save = (): Promise<void> => state.save({ ...state.rotation, cursor, round, checkedBlocks });
    try {
      // Twice at most: from the cursor to the end, and from the beginning on.
      for (let turn = 0; turn < 2 && this.#deepBlocks < wanted; turn++) {
        for await (const page of this.#inspector.list(signal, cursor ?? undefined)) {
          for (const { key, block } of page) {
            if (this.#deepBlocks >= wanted) return;
            if (block !== null && block < this.#inspector.blockCount) {
              await this.#verify(block);
              checkedBlocks++;
            }
            cursor = key;
            if (++sinceSaved < SAVE_EVERY_BLOCKS) continue;
            sinceSaved = 0;
            await save();
          }
        }
        // Reached the end of the keys: whatever is left of this share is the beginning of the next round.
        cursor = null;
        round++;
        checkedBlocks = 0;
      }
    } finally {
      await save();
    }
  }

  async #verify(block: number): Promise<void> {
    await this.#pace.step();
    const { problem, bytes } = await this.#inspector.verify(block, this.#context.signal);
    this.#deepBlocks++;
    this.#deepBytes += bytes;
    this.#pace.charge(bytes);
    this.#note(block, problem);
    this.#tell('reading', this.#deepBlocks, Math.ceil(this.#blocks * this.#options.share));
  }

  async #checkCache({ check }: CachedVolume): Promise<void> {
    const { pages, damaged } = check.dirtyPages();
    for (const page of damaged) {
      this.#notePage('log-damaged', page, 'was damaged on the cache disk before it was uploaded');
    }
    const { deep, share } = this.#options;
    const { slot: firstSlot } = this.#context.state.rotation;
    const wanted = deep ? Math.ceil(check.slots * Math.min(1, Math.max(0, share))) : 0;
    const total = pages.length * PAGE_BYTES + check.slots * LINE_BYTES;
    for (const page of pages) {
      if (this.#logBytes % LINE_BYTES === 0) await this.#pace.step();
      this.#logBytes += PAGE_BYTES;
      this.#pace.charge(PAGE_BYTES);
      const reason = damaged.includes(page) ? null : check.checkDirtyPage(page);
      if (reason !== null) this.#notePage('log-damaged', page, reason);
      this.#tell('cache', this.#logBytes, total);
    }
    for (let step = 0; step < check.slots; step++) {
      const slot = (firstSlot + step) % check.slots;
      if (step % ODD_SLOTS === 0) await this.#pace.step();
      // Its turn to be read has come, or there is something about it.
      if (step >= wanted && !check.isOdd(slot)) continue;
      await this.#pace.step();
      const { checkedPages, rottenPages, lostPages } = check.checkSlot(slot);
      for (const page of rottenPages)
        this.#notePage('cache-rotten', page, 'the cached copy was damaged, and is dropped');
      for (const page of lostPages) this.#noteLost(page);
      this.#cachedBytes += checkedPages * PAGE_BYTES;
      this.#pace.charge(checkedPages * PAGE_BYTES);
      this.#tell('cache', this.#logBytes + step * LINE_BYTES, total);
    }
    const { state } = this.#context;
    if (wanted > 0) await state.save({ ...state.rotation, slot: (firstSlot + wanted) % check.slots });
  }

  /** One finding for a block, however many of its pages are cached. */
  #noteLost(page: number): void {
    const block = Math.floor((page * PAGE_BYTES) / this.#inspector.blockSizeBytes);
    if (this.#findings.has(block)) return;
    this.#findings.add({
      ...{ kind: 'lost', ...this.#where(block), block },
      detail: 'its object is gone, and cached bytes of it are here: somebody else has deleted it',
    });
  }

  #note(block: number, problem: Awaited<ReturnType<BlockInspector['look']>>): void {
    if (problem === null || this.#findings.has(block)) return;
    const { fault, detail, etag } = problem;
    this.#findings.add({ kind: fault, ...this.#where(block), block, detail, etag });
  }

  #notePage(kind: 'log-damaged' | 'cache-rotten', page: number, detail: string): void {
    const repair = kind === 'cache-rotten' ? 'repaired' : 'none';
    this.#findings.add({ kind, offset: page * PAGE_BYTES, length: PAGE_BYTES, detail, repair });
  }

  #noteOrphan({ key, sizeBytes }: ListedKey, block: number): void {
    const detail = `block ${block} is past the end of the volume, ${sizeBytes} bytes; growing the volume deletes it`;
    this.#findings.add({ kind: 'orphaned', key, detail });
  }

  #where(block: number): { key: string; offset: number; length: number } {
    const { blockSizeBytes } = this.#inspector;
    return { key: this.#inspector.keyOf(block), offset: block * blockSizeBytes, length: blockSizeBytes };
  }

  #tell(phase: ScanProgress['phase'], done: number, total: number | null): void {
    this.#context.onProgress({ phase, done, total, findings: this.#findings.count });
  }

  async #report(startedAt: Date, durationMs: number): Promise<ScanReport> {
    const { volume, by, mounted, state } = this.#context;
    const { deep, repair } = this.#options;
    const damaged = this.#findings.damagedRanges();
    // Only where somebody has to look for files: it reads the disk, and brings it into the cache.
    const filesystem = damaged.length === 0 ? null : await findFilesystem(bytesOf(volume.device));
    const { round, checkedBlocks } = state.rotation;
    return {
      ...{
        volume: volume.name,
        url: volume.options.url,
        startedAt: startedAt.toISOString(),
        durationMs,
        by,
        deep,
        repair,
      },
      sizeBytes: volume.record.sizeBytes,
      blockSizeBytes: volume.record.blockSizeBytes,
      checked: {
        ...{ keys: this.#keys, blocks: this.#blocks, deepBlocks: this.#deepBlocks, deepBytes: this.#deepBytes },
        ...{ cachedBytes: this.#cachedBytes, logBytes: this.#logBytes },
      },
      rotation: deep ? { round, checkedBlocks, storedBlocks: this.#blocks } : null,
      counts: this.#findings.counts(),
      damageLeft: this.#findings.damageLeft,
      repaired: this.#findings.repaired,
      findings: this.#findings.told(),
      ranges: damaged.map(({ offset, length }) => ({
        offset,
        length,
        findFiles: filesystem === null ? [] : findFilesCommands(filesystem, offset, length, mounted),
      })),
      filesystem:
        filesystem === null
          ? null
          : { type: filesystem.type, offset: filesystem.offset, blockSizeBytes: filesystem.blockSizeBytes },
    };
  }
}
