/** The device's contract without a cache, over each variant of the blocks layout; and what it owes its fence. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { StorageError } from '../../../src/lib/errors.ts';
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import type { ObjectStore } from '../../../src/object/object-store.ts';
import { type Fence, openFence, type WriteFence } from '../../../src/volume/fence.ts';
import { FencedObjectStore } from '../../../src/volume/fenced-object-store.ts';
import { WriteThroughDevice } from '../../../src/volume/write-through-device.ts';
import { Barrier, HookedObjectStore } from '../layout/hooked-store.ts';
import { type BlocksVariant, openBlocks, PLAIN, VARIANTS } from '../layout/variants.ts';
import { rejectsWith } from '../object-store/suite.ts';
import { blockDeviceSuite, DEVICE_BYTES } from './suite.ts';

function deviceOn(
  store: ObjectStore,
  variant: BlocksVariant,
  { readOnly = false, fence = openFence }: { readOnly?: boolean; fence?: Fence } = {},
): WriteThroughDevice {
  const layout = openBlocks(store, variant, DEVICE_BYTES);
  return new WriteThroughDevice({ layout, fence, readOnly });
}

for (const [name, variant] of Object.entries(VARIANTS)) {
  blockDeviceSuite(`write-through, ${name}`, async () => {
    const store = new MemoryObjectStore();
    return {
      device: deviceOn(store, variant),
      durable: (offset, length) => openBlocks(store, variant, DEVICE_BYTES).read(offset, length),
      readOnly: async () => deviceOn(store, { ...variant, exclusive: false }, { readOnly: true }),
      close: () => store.close(),
    };
  });
}

/** A fence that the test lowers and raises. */
class HandFence implements WriteFence {
  valid = true;
  lost: StorageError | null = null;
  readonly lapse = new AbortController().signal;
  #decided = Promise.withResolvers<void>();

  permitted(): Promise<void> {
    return this.#decided.promise;
  }

  noteUnsettled(): void {}

  lower(): void {
    this.valid = false;
    this.#decided = Promise.withResolvers<void>();
  }

  raise(): void {
    this.valid = true;
    this.#decided.resolve();
  }

  lose(): void {
    this.lost = new StorageError('FENCED', 'another writer has it');
    this.#decided.reject(this.lost);
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A device whose new owner, of whom it does not know yet, has trimmed the block that it had written. */
async function takenAndTrimmed(): Promise<{ fence: HandFence; store: MemoryObjectStore; device: WriteThroughDevice }> {
  const fence = new HandFence();
  const store = new MemoryObjectStore();
  const device = deviceOn(new FencedObjectStore(store, fence), PLAIN, { fence });
  await device.write(0, Buffer.alloc(4096, 1), { fua: false });
  await store.delete(['vol/00000000']);
  fence.lower();
  return { fence, store, device };
}

describe('write-through device', () => {
  test('a flush fails where a write under way fails', async () => {
    const store = new HookedObjectStore(new MemoryObjectStore());
    const barrier = new Barrier();
    store.before = async ({ op }) => {
      if (op !== 'put') return;
      await barrier.wait();
      throw new StorageError('TIMEOUT', 'no answer');
    };
    const device = deviceOn(store, PLAIN);
    const written = assert.rejects(device.write(0, Buffer.alloc(4096, 1), { fua: false }), rejectsWith('TIMEOUT'));
    const flushed = assert.rejects(device.flush(), rejectsWith('TIMEOUT'));
    barrier.open();
    await Promise.all([written, flushed]);
    await device.flush();
  });

  test("nothing is answered while the volume may be another writer's", async () => {
    const fence = new HandFence();
    const store = new MemoryObjectStore();
    const device = deviceOn(new FencedObjectStore(store, fence), PLAIN, { fence });
    await device.write(0, Buffer.alloc(4096, 1), { fua: false });
    fence.lower();
    const answers: string[] = [];
    const note = (name: string) => (): void => {
      answers.push(name);
    };
    const all = [
      device.read(0, 1).then(note('read')),
      device.write(0, Buffer.alloc(4096, 2), { fua: false }).then(note('write')),
      device.extents(0, 1).then(note('extents')),
      device.flush().then(note('flush')),
    ];
    for (let i = 0; i < 20; i++) await turn();
    assert.deepEqual(answers, []);
    assert.equal((await store.get('vol/00000000'))?.body[0], 1);
    fence.raise();
    await Promise.all(all);
    assert.equal(answers.length, 4);
    await device.close();
  });

  test('once the volume is lost everything says so, whatever else is wrong', async () => {
    const { fence, store, device } = await takenAndTrimmed();
    const fenced = rejectsWith('FENCED');
    const all = [
      assert.rejects(device.read(0, 1), fenced),
      assert.rejects(device.write(4096, Buffer.alloc(4096, 2), { fua: false }), fenced),
      assert.rejects(device.trim(0, 4096, { fua: false }), fenced),
      assert.rejects(device.extents(0, 1), fenced),
      assert.rejects(device.flush(), fenced),
    ];
    fence.lose();
    await Promise.all(all);
    await device.close();
    assert.equal(await store.head('vol/00000001'), null);
  });

  test('a flush tells no more of a write than the write does', async () => {
    const { fence, device } = await takenAndTrimmed();
    let answers = 0;
    const all = [device.write(0, Buffer.alloc(512, 2), { fua: false }), device.flush()].map((request) =>
      assert.rejects(
        request.finally(() => answers++),
        rejectsWith('FENCED'),
      ),
    );
    for (let i = 0; i < 20; i++) await turn();
    assert.equal(answers, 0);
    fence.lose();
    await Promise.all(all);
    await device.close();
  });

  test('that the bucket does not answer is told while nobody can say whose the volume is', async () => {
    const fence = new HandFence();
    const store = new HookedObjectStore(new MemoryObjectStore());
    store.before = () => Promise.reject(new StorageError('UNAVAILABLE', 'the bucket is away'));
    const device = deviceOn(store, PLAIN, { fence });
    fence.lower();
    await assert.rejects(device.read(0, 4096), rejectsWith('UNAVAILABLE'));
    fence.lost = new StorageError('FENCED', 'another writer has it');
    await assert.rejects(device.read(0, 4096), rejectsWith('FENCED'));
    await device.close();
  });

  test('after the volume has shrunk, clients that remember its old size reach nothing beyond', async () => {
    const store = new MemoryObjectStore();
    const layout = openBlocks(store, PLAIN, DEVICE_BYTES);
    const device = new WriteThroughDevice({ layout, fence: openFence, readOnly: false });
    await layout.cutOff(4096, new AbortController().signal);
    assert.equal(device.geometry.sizeBytes, 4096);
    await assert.rejects(device.write(4096, Buffer.alloc(4096, 1), { fua: false }), rejectsWith('NO_SPACE'));
    assert.equal(await store.head('vol/00000001'), null);
  });
});
