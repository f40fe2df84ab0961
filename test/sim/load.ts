/** The clients of a volume: they write, read, zero, trim and flush, all at once, and hold every answer against the model. */
import { isStorageError } from '../../src/lib/errors.ts';
import type { Random } from '../support/random.ts';
import { SECTOR_BYTES, sealSectors } from '../support/sectors.ts';
import type { Excuses, RequestKind } from './excuses.ts';
import type { Life } from './life.ts';
import type { Plan } from './plan.ts';
import type { SectorModel } from './sector-model.ts';
import type { Durability, SimVolume } from './subject.ts';
import type { Trace } from './trace.ts';

const PAGE_BYTES = 4096;

export interface LoadOptions {
  readonly life: Life;
  readonly volume: SimVolume;
  readonly model: SectorModel;
  readonly excuses: Excuses;
  readonly plan: Plan;
  readonly durability: Durability;
  readonly operations: number;
  readonly random: Random;
  readonly trace: Trace;
  /** Numbers the writes over all lives. */
  readonly nextWrite: () => number;
}

/** What a request came to; null where the life ended first. */
type Answer<T> = { readonly ok: true; readonly value: T } | { readonly ok: false } | null;

interface Range {
  readonly offset: number;
  readonly length: number;
}

export class Load {
  readonly #options: LoadOptions;
  readonly #random: Random;
  #left: number;
  /** Where many requests meet. */
  readonly #hotPage: number;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#random = options.random;
    this.#left = options.operations;
    this.#hotPage = this.#random.below(options.plan.sizeBytes / PAGE_BYTES);
  }

  /** Resolves when all has been asked for and answered; rejects where an answer is wrong. */
  async run(): Promise<void> {
    await Promise.all(Array.from({ length: this.#options.plan.clients }, () => this.#client()));
  }

  /** Reads all of the volume, nobody else being at it. */
  async readAll(): Promise<void> {
    const { plan } = this.#options;
    const step = 64 * PAGE_BYTES;
    for (let offset = 0; offset < plan.sizeBytes; offset += step) {
      await this.#read({ offset, length: Math.min(step, plan.sizeBytes - offset) });
    }
  }

  async #client(): Promise<void> {
    const { life } = this.#options;
    // Some clients never pause, so that many requests are made in one turn.
    const pauseMs = this.#random.pick([0, 1, 20, 200]);
    while (this.#left > 0 && !life.isDead) {
      const together = this.#random.chance(0.2) ? 2 + this.#random.below(5) : 1;
      await Promise.all(Array.from({ length: together }, () => this.#request()));
      if (pauseMs > 0 && this.#random.chance(0.7)) await life.clock.sleep(this.#random.below(pauseMs));
      if (this.#random.chance(0.02)) await life.clock.sleep(this.#random.below(20_000));
    }
  }

  async #request(): Promise<void> {
    this.#left--;
    const kind = this.#random.below(100);
    if (kind < 42) await this.#write(this.#pickRange(16));
    else if (kind < 70) await this.#read(this.#pickRange(24));
    else if (kind < 78) await this.#zero(this.#pickRange(this.#random.chance(0.1) ? 1000 : 24));
    else if (kind < 91) await this.#flush();
    else if (kind < 95) await this.#extents(this.#pickRange(64));
    else if (kind < 97) await this.#prefetch(this.#pickRange(64));
    else if (kind < 99) await this.#uploadAll();
    else this.#options.volume.status();
  }

  async #write({ offset, length }: Range): Promise<void> {
    const { volume, model, nextWrite } = this.#options;
    const number = nextWrite();
    const data = this.#random.chance(0.08) ? Buffer.alloc(length) : contentOf(number, offset, length);
    const fua = this.#random.chance(0.1);
    const write = model.beginWrite(`write ${number}`, offset, length, data);
    const what = `write ${number}${fua ? ' fua' : ''} ${offset}+${length}`;
    const answer = await this.#ask(what, fua ? 'durable write' : 'write', () => volume.write(offset, data, { fua }));
    // From here on the buffer is its owner's, who uses it for something else.
    data.fill(0xee);
    if (answer === null) return;
    model.endWrite(write, answer.ok, fua);
  }

  async #zero({ offset, length }: Range): Promise<void> {
    const { volume, model, nextWrite } = this.#options;
    const fua = this.#random.chance(0.1);
    const kind = fua ? 'durable write' : 'write';
    const number = nextWrite();
    const trims = this.#random.chance(0.5);
    const write = model.beginWrite(`${trims ? 'trim' : 'zero'} ${number}`, offset, length, null);
    const what = `${trims ? 'trim' : 'zero'} ${number}${fua ? ' fua' : ''} ${offset}+${length}`;
    const mayTrim = this.#random.chance(0.5);
    const answer = await this.#ask(what, kind, () =>
      trims ? volume.trim(offset, length, { fua }) : volume.zero(offset, length, { fua, mayTrim, fastOnly: false }),
    );
    if (answer === null) return;
    model.endWrite(write, answer.ok, fua);
  }

  async #read({ offset, length }: Range): Promise<void> {
    const { volume, model, life } = this.#options;
    const mark = model.mark();
    const target = this.#random.chance(0.4) ? Buffer.alloc(length, 0xdd) : null;
    const answer = await this.#ask(`read ${offset}+${length}`, 'read', () => {
      if (target !== null && volume.readInto?.(target, offset)) return target;
      return volume.read(offset, length);
    });
    if (answer === null || !answer.ok) return;
    const bytes = answer.value;
    if (bytes.length !== length) throw new Error(`a read of ${length} bytes returned ${bytes.length}`);
    model.read(mark, offset, bytes);
    if (this.#random.chance(0.3)) await this.#checkKept(bytes);
    if (life.isDead) return;
  }

  /** What was read is its reader's until it has been sent, which takes time. */
  async #checkKept(bytes: Buffer): Promise<void> {
    const copy = Buffer.from(bytes);
    await this.#options.life.clock.sleep(this.#random.below(50));
    if (!copy.equals(bytes)) throw new Error('the buffer of a read was used again while its reader had it');
  }

  async #flush(): Promise<void> {
    const { volume, model, durability } = this.#options;
    const mark = model.mark();
    const answer = await this.#ask('flush', 'flush', () => volume.flush());
    if (answer === null || !answer.ok) return;
    model.flushed(mark);
    if (durability === 's3') model.uploaded(mark);
  }

  async #extents({ offset, length }: Range): Promise<void> {
    const { volume, model } = this.#options;
    const mark = model.mark();
    const answer = await this.#ask(`extents ${offset}+${length}`, 'extents', () => volume.extents(offset, length));
    if (answer === null || !answer.ok) return;
    let at = offset;
    for (const extent of answer.value) {
      if (!(extent.length > 0)) throw new Error(`an extent of ${extent.length} bytes`);
      if (extent.zero) model.readZeros(mark, at, Math.min(extent.length, offset + length - at));
      at += extent.length;
    }
    if (at !== offset + length) throw new Error(`extents of ${offset}+${length} end at ${at}`);
  }

  async #prefetch({ offset, length }: Range): Promise<void> {
    await this.#ask(`prefetch ${offset}+${length}`, 'read', () => this.#options.volume.prefetch(offset, length));
  }

  async #uploadAll(): Promise<void> {
    const { volume, model } = this.#options;
    const mark = model.mark();
    const answer = await this.#ask('upload all', 'upload', () => volume.uploadAll(new AbortController().signal));
    if (answer === null || !answer.ok) return;
    model.flushed(mark);
    model.uploaded(mark);
  }

  /** Throws where the request fails for no reason the simulation has given it. */
  async #ask<T>(what: string, kind: RequestKind, call: () => T | Promise<T>): Promise<Answer<T>> {
    const { life, excuses, trace } = this.#options;
    if (life.isDead) return null;
    trace.line(`ask ${what}`);
    try {
      const called = call();
      const value = called instanceof Promise ? await called : called;
      if (life.isDead) return null;
      trace.line(`ok ${what}`);
      return { ok: true, value };
    } catch (error) {
      if (life.isDead) return null;
      trace.line(`failed ${what}: ${isStorageError(error) ? error.code : String(error)}`);
      if (excuses.admit(kind, error)) return { ok: false };
      throw new Error(`${what} failed although nothing was wrong: ${String(error)}`, { cause: error });
    }
  }

  /** Up to so many pages, of the alignment the plan has; often where other requests go too. */
  #pickRange(pagesMax: number): Range {
    const { sizeBytes, alignedOnly } = this.#options.plan;
    const unit = alignedOnly ? PAGE_BYTES : this.#random.pick([PAGE_BYTES, PAGE_BYTES, SECTOR_BYTES, 1]);
    const first = this.#random.chance(0.5) ? this.#hotPage * PAGE_BYTES : 0;
    const room = this.#random.chance(0.5) ? Math.min(sizeBytes - first, 16 * PAGE_BYTES) : sizeBytes - first;
    const offset = first + this.#random.below(room / unit) * unit;
    const longest = Math.min(sizeBytes - offset, pagesMax * PAGE_BYTES);
    const wanted = Math.ceil(this.#random.next() ** 3 * longest);
    const length = Math.min(Math.max(1, Math.ceil(wanted / unit)) * unit, sizeBytes - offset);
    return { offset, length };
  }
}

/** Says all over that it is of this write, and in every sector where it belongs. Sectors that are whole check themselves. */
function contentOf(number: number, offset: number, length: number): Buffer {
  const data = Buffer.allocUnsafe(length);
  for (let at = 0; at < length; ) {
    const sector = Math.floor((offset + at) / SECTOR_BYTES);
    const end = Math.min(length, (sector + 1) * SECTOR_BYTES - offset);
    data.fill(`${number}@${sector};`, at, end);
    at = end;
  }
  sealSectors(data.subarray((SECTOR_BYTES - (offset % SECTOR_BYTES)) % SECTOR_BYTES));
  return data;
}
