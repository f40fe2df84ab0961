/** The fence around a store: what waits, what is cut off, what goes on, and what never comes. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { StorageError } from '../../../src/lib/errors.ts';
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import type { WriteFence } from '../../../src/volume/fence.ts';
import { FencedObjectStore } from '../../../src/volume/fenced-object-store.ts';
import { settle } from '../../support/virtual-clock.ts';
import { HookedStore, lostAnswer } from './hooked-store.ts';

/** A fence that is opened and closed by hand. */
class HandFence implements WriteFence {
  valid = true;
  lost: StorageError | null = null;
  unsettled = 0;
  #lapse = new AbortController();
  #waiters: PromiseWithResolvers<void>[] = [];

  get lapse(): AbortSignal {
    return this.#lapse.signal;
  }

  permitted(): Promise<void> {
    if (this.lost !== null) return Promise.reject(this.lost);
    if (this.valid) return Promise.resolve();
    const waiter = Promise.withResolvers<void>();
    this.#waiters.push(waiter);
    return waiter.promise;
  }

  noteUnsettled(): void {
    this.unsettled += 1;
  }

  shut(): void {
    this.valid = false;
    this.#lapse.abort(new StorageError('CANCELLED', 'the lease lapsed'));
  }

  open(): void {
    this.valid = true;
    this.#lapse = new AbortController();
    for (const waiter of this.#waiters.splice(0)) waiter.resolve();
  }

  lose(): void {
    this.lost = new StorageError('FENCED', 'another writer has it');
    this.shut();
    for (const waiter of this.#waiters.splice(0)) waiter.reject(this.lost);
  }
}

function setup() {
  const store = new HookedStore(new MemoryObjectStore());
  const fence = new HandFence();
  return { store, fence, fenced: new FencedObjectStore(store, fence) };
}

const BODY = Buffer.from('body');

describe('while it is ours', () => {
  test('writes pass with their options, and reads with theirs', async () => {
    const { store, fenced } = setup();
    const { etag } = await fenced.put('k', BODY, { headers: { contentType: 'a/b' } });
    await assert.rejects(fenced.put('k', BODY, { ifNoneMatch: '*' }), { code: 'CONFLICT' });
    await fenced.put('k', BODY, { ifMatch: etag });
    assert.equal((await fenced.get('k', { range: { offset: 1, length: 2 } }))?.body.toString(), 'od');
    assert.equal((await fenced.head('k'))?.sizeBytes, 4);
    const keys: string[] = [];
    for await (const page of fenced.list('')) keys.push(...page.map(({ key }) => key));
    assert.deepEqual(keys, ['k']);
    await fenced.delete(['k']);
    assert.equal(await store.head('k'), null);
  });

  test('errors pass as they are, and are not tried again', async () => {
    const { store, fenced, fence } = setup();
    store.after = () => {
      throw lostAnswer();
    };
    await assert.rejects(fenced.put('k', BODY), { code: 'TIMEOUT' });
    assert.equal(store.writes.length, 1);
    assert.equal(fence.unsettled, 1, 'it may still arrive');
    store.after = () => {
      throw new StorageError('ACCESS_DENIED', 'no');
    };
    await assert.rejects(fenced.delete(['k']), { code: 'ACCESS_DENIED' });
    assert.equal(fence.unsettled, 1, 'a refusal is an answer');
  });
});

describe('while it has lapsed', () => {
  test('a write waits, sends nothing, and is made once the volume is known to be ours', async () => {
    const { store, fence, fenced } = setup();
    fence.shut();
    const writing = Promise.all([fenced.put('k', BODY), fenced.delete(['other'])]);
    await settle();
    assert.equal(store.writes.length, 0);
    fence.open();
    await writing;
    assert.equal(store.writes.length, 2);
    assert.equal((await store.get('k'))?.body.toString(), 'body');
  });

  test('a write under way is cut off and made again', async () => {
    const { store, fence, fenced } = setup();
    store.before = () => new Promise(() => {});
    const writing = fenced.put('k', BODY);
    await settle();
    assert.equal(store.writes.length, 1);
    fence.shut();
    await settle();
    assert.equal(fence.unsettled, 1, 'what was cut off may still arrive');
    assert.equal(store.writes.length, 1, 'it must not be sent again yet');
    store.before = () => {};
    fence.open();
    await writing;
    assert.equal(store.writes.length, 2);
  });

  test('one that lapses twice is cut off twice', async () => {
    const { store, fence, fenced } = setup();
    store.before = () => new Promise(() => {});
    const writing = fenced.put('k', BODY);
    for (let lapse = 0; lapse < 2; lapse++) {
      await settle();
      fence.shut();
      await settle();
      fence.open();
    }
    await settle();
    assert.equal(store.writes.length, 3);
    fence.lose();
    await assert.rejects(writing, { code: 'FENCED' });
  });

  test('reads pass', async () => {
    const { fence, fenced } = setup();
    fence.shut();
    assert.equal(await fenced.get('k'), null);
    assert.equal(await fenced.head('k'), null);
  });

  test('the caller may give up waiting, and what it gave up is never sent', async () => {
    const { store, fence, fenced } = setup();
    fence.shut();
    const caller = new AbortController();
    const writing = assert.rejects(fenced.put('k', BODY, { signal: caller.signal }), { code: 'CANCELLED' });
    await settle();
    caller.abort();
    await writing;
    fence.open();
    await settle();
    assert.equal(store.writes.length, 0);
  });
});

describe('once it is lost', () => {
  test('those who wait and those who come are told FENCED, and nothing is sent', async () => {
    const { store, fence, fenced } = setup();
    fence.shut();
    const waiting = assert.rejects(fenced.put('k', BODY), { code: 'FENCED' });
    await settle();
    fence.lose();
    await waiting;
    await assert.rejects(fenced.put('k', BODY), { code: 'FENCED' });
    await assert.rejects(fenced.delete(['k']), { code: 'FENCED' });
    assert.equal(store.writes.length, 0);
  });

  test('what is under way ends with FENCED, also where the caller has a signal of its own', async () => {
    for (const options of [{}, { signal: new AbortController().signal }]) {
      const { store, fence, fenced } = setup();
      store.before = () => new Promise(() => {});
      const writing = assert.rejects(fenced.put('k', BODY, options), { code: 'FENCED' });
      await settle();
      fence.lose();
      await writing;
    }
  });

  test('a caller that gives up meanwhile is told that, not FENCED', async () => {
    const { store, fenced } = setup();
    store.before = () => new Promise(() => {});
    const caller = new AbortController();
    const writing = assert.rejects(fenced.put('k', BODY, { signal: caller.signal }), { code: 'CANCELLED' });
    await settle();
    caller.abort();
    await writing;
  });
});
