/** The doctor's checks of a bucket, on stores that go wrong in the ways they are for. Nothing of them stays behind. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  type BucketInput,
  checkConditionalPuts,
  checkObjects,
  checkReachable,
} from '../../../src/doctor/checks/bucket.ts';
import { StorageError } from '../../../src/lib/errors.ts';
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import type { ObjectStore, PutOptions, PutResult } from '../../../src/object/object-store.ts';

const signal = new AbortController().signal;
const input = (store: ObjectStore): BucketInput => ({
  store,
  reserved: 'media/bucketdisk-',
  written: true,
  leased: true,
});

async function keys(store: ObjectStore): Promise<string[]> {
  const all: string[] = [];
  for await (const page of store.list('')) all.push(...page.map(({ key }) => key));
  return all;
}

/** Fails in the methods named, as a service that refuses them does. */
function refusing(method: 'get' | 'put' | 'delete' | 'list'): MemoryObjectStore {
  const store = new MemoryObjectStore();
  const refusal = new StorageError('ACCESS_DENIED', 'not allowed');
  const refuse = (): Promise<never> => Promise.reject(refusal);
  async function* refuseToList(): AsyncGenerator<never> {
    yield await refuse();
  }
  Object.assign(store, { [method]: method === 'list' ? refuseToList : refuse });
  return store;
}

class UnconditionalStore extends MemoryObjectStore {
  override put(key: string, body: Buffer, { headers }: PutOptions = {}): Promise<PutResult> {
    return super.put(key, body, headers === undefined ? {} : { headers });
  }
}

describe('a bucket', () => {
  it('that is sound passes, and nothing stays in it', async () => {
    const store = new MemoryObjectStore();
    assert.equal((await checkReachable(input(store), signal)).state, 'ok');
    assert.equal((await checkObjects(input(store), signal)).state, 'ok');
    assert.equal((await checkConditionalPuts(input(store), signal)).state, 'ok');
    assert.deepEqual(await keys(store), []);
  });

  it('that ignores conditions is told of', async () => {
    const store = new UnconditionalStore();
    const { state, message, remedy } = await checkConditionalPuts(input(store), signal);
    assert.equal(state, 'warn');
    assert.match(message, /ignores If-None-Match and If-Match/);
    assert.match(remedy ?? '', /only one appliance/);
    assert.deepEqual(await keys(store), []);
  });

  it('that refuses something is told of by what it refuses', async () => {
    const reach = await checkReachable(input(refusing('list')), signal);
    assert.equal(reach.state, 'fail');
    assert.match(reach.message, /not allowed/);
    for (const [method, message] of [
      ['put', /cannot be written/],
      ['get', /cannot be read/],
      ['delete', /cannot be deleted/],
    ] as const) {
      const result = await checkObjects(input(refusing(method)), signal);
      assert.equal(result.state, 'fail', method);
      assert.match(result.message, message);
      assert.match(result.remedy ?? '', /s3:DeleteObject/);
    }
  });

  it('that loses what was written is named as what it is', async () => {
    const store = new MemoryObjectStore();
    Object.assign(store, { get: async () => null });
    const { state, remedy } = await checkObjects(input(store), signal);
    assert.equal(state, 'fail');
    assert.match(remedy ?? '', /do not use this service/);
  });

  it('that is only read is not written to', async () => {
    const store = refusing('put');
    const readOnly = { ...input(store), written: false, leased: false };
    assert.equal((await checkObjects(readOnly, signal)).state, 'ok');
    assert.equal((await checkConditionalPuts(readOnly, signal)).state, 'ok');
  });
});
