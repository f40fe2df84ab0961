/** `bucketdisk bench`: what it measures, what it leaves (nothing), and what it makes of the figures. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { adviceFor } from '../../../src/bench/advice.ts';
import { benchDisk, type DiskFigures } from '../../../src/bench/disk-bench.ts';
import { latenciesOf } from '../../../src/bench/latencies.ts';
import { benchStore, type StoreBenchOptions, type StoreFigure } from '../../../src/bench/store-bench.ts';
import { StorageError } from '../../../src/lib/errors.ts';
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import type {
  ListedObject,
  ListOptions,
  ObjectStore,
  PutOptions,
  PutResult,
} from '../../../src/object/object-store.ts';
import { tempDir } from '../../support/temp.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { FakeHost, runCommand } from '../cli/fake-host.ts';

const MIB = 2 ** 20;

/** Takes its time, by the clock it is given. */
class SlowStore extends MemoryObjectStore {
  readonly #clock: VirtualClock;
  constructor(clock: VirtualClock) {
    super();
    this.#clock = clock;
  }
  override async put(key: string, body: Buffer, options?: PutOptions): Promise<PutResult> {
    await this.#clock.sleep(40);
    return super.put(key, body, options);
  }
  override async get(key: string) {
    await this.#clock.sleep(20);
    return super.get(key);
  }
}

async function keys(store: ObjectStore): Promise<string[]> {
  const all: string[] = [];
  for await (const page of store.list('')) all.push(...page.map(({ key }) => key));
  return all;
}

const options = (clock: VirtualClock, changed: Partial<StoreBenchOptions> = {}): StoreBenchOptions => ({
  ...{ prefix: 'p/bench/', sizesBytes: [4096, 8192], concurrencies: [1, 4], durationMs: 8000, clock },
  ...{ signal: new AbortController().signal, onProgress: () => undefined },
  ...changed,
});

describe('the bucket', () => {
  it('is measured in each way there is, and left as it was', async () => {
    const clock = new VirtualClock();
    const store = new SlowStore(clock);
    const shares: number[] = [];
    const figures = await clock.run(benchStore(store, options(clock, { onProgress: (share) => shares.push(share) })));
    assert.equal(figures.length, 8);
    assert.equal(shares.at(-1), 1);
    for (const { operation, sizeBytes, concurrency, p50Ms, bytesPerSecond } of figures) {
      const expectedMs = operation === 'put' ? 40 : 20;
      assert.equal(p50Ms, expectedMs);
      assert.ok(Math.abs(bytesPerSecond / ((sizeBytes * concurrency * 1000) / expectedMs) - 1) < 0.05);
    }
    assert.deepEqual(await keys(store), []);
  });

  it('is left as it was also after an interrupt, and after a failure', async () => {
    const clock = new VirtualClock();
    const store = new SlowStore(clock);
    const stop = new AbortController();
    const work = benchStore(store, options(clock, { signal: stop.signal, onProgress: () => stop.abort() }));
    await assert.rejects(clock.run(work), (error) => error instanceof StorageError && error.code === 'CANCELLED');
    assert.deepEqual(await keys(store), []);
    let puts = 0;
    const failing = new (class extends MemoryObjectStore {
      override put(key: string, body: Buffer): Promise<PutResult> {
        if (++puts > 3) return Promise.reject(new StorageError('ACCESS_DENIED', 'no more'));
        return super.put(key, body);
      }
    })();
    await assert.rejects(benchStore(failing, options(clock)), /no more/);
    assert.deepEqual(await keys(failing), []);
  });

  it('says what is left where it is interrupted and the store does not answer any more', async () => {
    const clock = new VirtualClock();
    const stop = new AbortController();
    const silent = new (class extends SlowStore {
      override async *list(_prefix: string, { signal }: ListOptions = {}): AsyncGenerator<readonly ListedObject[]> {
        const { promise, reject } = Promise.withResolvers<never>();
        signal?.addEventListener('abort', () => reject(new StorageError('CANCELLED', 'cancelled')));
        yield await promise;
      }
    })(clock);
    const work = benchStore(silent, options(clock, { signal: stop.signal, onProgress: () => stop.abort() }));
    await assert.rejects(clock.run(work), { code: 'CANCELLED', message: /^interrupted, and .* delete it by hand$/ });
  });
});

describe('the disk', () => {
  it('is measured, and left as it was', async (t) => {
    const directory = await tempDir(t, 'bench');
    const shares: number[] = [];
    const figures = await benchDisk({
      ...{ directory, durationMs: 30, signal: new AbortController().signal },
      onProgress: (share) => shares.push(share),
    });
    assert.ok(figures.sync.operations >= 1 && figures.sync.p50Ms <= figures.sync.p99Ms);
    assert.ok(figures.writeBytesPerSecond > 0 && figures.readBytesPerSecond > 0);
    assert.deepEqual(await readdir(directory), []);
    await assert.rejects(
      benchDisk({ directory, durationMs: 30, signal: AbortSignal.abort(), onProgress: () => {} }),
      /interrupted/,
    );
    assert.deepEqual(await readdir(directory), []);
    const nowhere = { directory: `${directory}/missing`, durationMs: 30, signal: new AbortController().signal };
    await assert.rejects(benchDisk({ ...nowhere, onProgress: () => {} }), /cannot measure the disk/);
  });
});

describe('the advice', () => {
  const disk: DiskFigures = {
    sync: latenciesOf([0.5]),
    writeBytesPerSecond: 400 * MIB,
    readBytesPerSecond: 900 * MIB,
  };
  const put = (sizeBytes: number, concurrency: number, mibPerSecond: number, p50Ms: number): StoreFigure => ({
    ...{ operation: 'put', sizeBytes, concurrency, bytesPerSecond: mibPerSecond * MIB },
    ...{ operations: 10, p50Ms, p99Ms: p50Ms, maxMs: p50Ms },
  });

  it('prefers the smallest block that a larger one gains little over', () => {
    const store = [put(MIB / 4, 16, 20, 30), put(MIB, 1, 10, 45), put(MIB, 16, 90, 60), put(4 * MIB, 16, 100, 200)];
    const [block = '', local = '', s3 = '', log = ''] = adviceFor(store, disk, 1024 * MIB);
    assert.match(block, /^blockSize "1MiB" uploads 90 MiB\/s with 16 at once; larger ones gain little/);
    assert.match(local, /"local": a flush takes about 500 us/);
    assert.match(s3, /"s3": a flush takes at least 45 ms, which databases feel/);
    assert.match(log, /fills cache\.logSize \(1GiB\) in 3 s, and goes on at 100 MiB\/s/);
  });

  it('says nothing of what was not measured', () => {
    assert.deepEqual(adviceFor([], null, MIB), []);
    assert.equal(adviceFor([], disk, MIB).length, 1);
    assert.match(adviceFor([put(MIB, 1, 1000, 1)], disk, MIB).at(-1) ?? '', /as fast as the disk/);
  });

  it('has percentiles of what was measured', () => {
    const times = Array.from({ length: 100 }, (_, index) => 100 - index);
    assert.deepEqual(latenciesOf(times), { operations: 100, p50Ms: 51, p99Ms: 100, maxMs: 100 });
  });
});

describe('the verb', () => {
  it('measures both unless told which, and takes whole seconds', async () => {
    const asked: unknown[] = [];
    const actions = {
      async bench(
        _context: unknown,
        { store, cache, durationMs }: { store: boolean; cache: boolean; durationMs: number },
      ) {
        asked.push([store, cache, durationMs]);
        return { store: null, cache: null, advice: ['do this'] };
      },
    };
    const run = (words: string) => runCommand(words, new FakeHost({ actions }));
    assert.equal((await run('bench')).stdout, 'do this\n');
    await run('bench --store --seconds 5');
    await run('bench --cache --json');
    await run('bench --cache --store');
    assert.deepEqual(asked, [
      [true, true, 30_000],
      [true, false, 5000],
      [false, true, 30_000],
      [true, true, 30_000],
    ]);
    for (const seconds of ['0', 'soon', '1.5', '99999'])
      assert.equal((await run(`bench --seconds ${seconds}`)).exitCode, 2);
  });
});
