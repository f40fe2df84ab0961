/** What a thread adds to a bucket: permission that is asked for across it, its end, and bodies that stay the caller's. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { isStorageError } from '../../../../src/lib/errors.ts';
import { ThreadedObjectStore } from '../../../../src/object/thread/threaded-object-store.ts';
import { s3OptionsFor } from '../../../conformance/object-store/s3-options.ts';
import { onEnd } from '../../../support/cleanup.ts';
import * as faults from '../../../support/s3-server/faults.ts';
import { type S3Server, startS3Server } from '../../../support/s3-server/s3-server.ts';

const ENDING_THREAD = new URL('./ending-thread.ts', import.meta.url);
const MORTAL_THREAD = new URL('./mortal-thread.ts', import.meta.url);
const NOWHERE = { endpoint: 'http://127.0.0.1:9', region: 'r', accessKeyId: 'a', secretAccessKey: 's' };

async function openStore(t: TestContext, code?: URL): Promise<{ store: ThreadedObjectStore; server: S3Server }> {
  const server = await startS3Server({ buckets: ['bucket'] });
  const { url: endpoint, region, accessKeyId, secretAccessKey } = server;
  const store = await ThreadedObjectStore.open(
    s3OptionsFor({ endpoint, region, accessKeyId, secretAccessKey }, 'bucket'),
    code,
  );
  onEnd(t, async () => {
    await store.close();
    await server.close();
  });
  return { store, server };
}

function standStill(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

test('a permission that has grown old on its way is asked for again', async (t) => {
  const { store, server } = await openStore(t);
  let asked = 0;
  const mayStart = (): boolean => {
    // As if the process had been stopped right after it had looked.
    if (++asked === 1) standStill(300);
    return asked < 3;
  };
  await store.put('a', Buffer.from('a'), { mayStart });
  assert.equal(asked, 2);
  assert.equal(server.bucket('bucket').get('a')?.body.toString(), 'a');
  let askedAgain = 0;
  const denied = (): boolean => {
    if (++askedAgain === 1) standStill(300);
    return askedAgain === 1;
  };
  await assert.rejects(store.put('b', Buffer.from('b'), { mayStart: denied }), { code: 'CANCELLED' });
  assert.equal(server.bucket('bucket').get('b'), undefined);
});

test('a body is not taken from the caller, and is what it was when the put was made', async (t) => {
  const { store, server } = await openStore(t);
  const body = Buffer.alloc(100_000, 'body');
  const putting = store.put('a', body.subarray(10, 90_000));
  await putting;
  assert.ok(body.equals(Buffer.alloc(100_000, 'body')));
  assert.ok(server.bucket('bucket').get('a')?.body.equals(body.subarray(10, 90_000)));
  const read = await store.get('a');
  assert.ok(read?.body.equals(body.subarray(10, 90_000)));
});

test('a body in shared memory is sent from there, and that may be used again once the put has ended', async (t) => {
  const { store, server } = await openStore(t);
  const memory = Buffer.from(new SharedArrayBuffer(200_000));
  const body = memory.subarray(10, 190_000);
  for (const [key, tag] of [
    ['a', 1],
    ['b', 2],
  ] as const) {
    body.fill(tag);
    await store.put(key, body);
  }
  assert.ok(server.bucket('bucket').get('a')?.body.equals(Buffer.alloc(body.length, 1)));
  assert.ok(server.bucket('bucket').get('b')?.body.equals(Buffer.alloc(body.length, 2)));
});

test('memory that is used again once a put has failed does not change what arrives of it', async (t) => {
  const { store, server } = await openStore(t);
  const body = Buffer.from(new SharedArrayBuffer(4 * 1024 * 1024));
  for (let round = 1; round <= 20; round++) {
    body.fill(round);
    const controller = new AbortController();
    const putting = store.put(String(round), body, { signal: controller.signal });
    // Anywhere between its hashing and its answer.
    await delay(round);
    controller.abort();
    await putting.catch(() => {});
    body.fill(0xff);
    const arrived = server.bucket('bucket').get(String(round))?.body;
    assert.ok(arrived === undefined || arrived.equals(Buffer.alloc(body.length, round)), `round ${round}`);
  }
});

test('bodies beside others that fail, are given up or come late: each object has its own', async (t) => {
  const { store, server } = await openStore(t);
  const names = Array.from({ length: 12 }, (_, index) => String(index));
  for (let round = 1; round <= 8; round++) {
    server.faults.clear();
    server.faults.add(faults.status(503), { key: /1$/ });
    server.faults.add(faults.lostAnswer(), { key: /2$/ });
    server.faults.add(faults.late(20), { key: /[03]$/ });
    const bodyOf = (name: string): Buffer => Buffer.alloc(100_000 + Number(name) * 1000, `${round} ${name} `);
    const results = await Promise.allSettled(
      names.map((name) => {
        const signal = name === '3' ? AbortSignal.timeout(10) : undefined;
        return store.put(name, bodyOf(name), signal === undefined ? {} : { signal });
      }),
    );
    for (const [index, { status }] of results.entries()) {
      const name = String(index);
      assert.equal(status, /[12]$|^3$/.test(name) ? 'rejected' : 'fulfilled', name);
      if (status === 'fulfilled') assert.ok(server.bucket('bucket').get(name)?.body.equals(bodyOf(name)), name);
    }
  }
});

test('options that cannot be used are refused at once', async () => {
  const options = { ...s3OptionsFor(NOWHERE, 'bucket'), caFile: '/nowhere/ca.pem' };
  await assert.rejects(ThreadedObjectStore.open(options), (error) => {
    assert.ok(isStorageError(error, 'INVALID'));
    assert.match(error.message, /store\.caFile/);
    return true;
  });
});

test('errors keep their code, words and cause', async (t) => {
  const { store } = await openStore(t);
  await assert.rejects(store.get('a', { range: { offset: 0, length: 0 } }), { code: 'INVALID' });
  const gone = await ThreadedObjectStore.open(s3OptionsFor(NOWHERE, 'bucket'));
  onEnd(t, () => gone.close());
  await assert.rejects(gone.get('a'), (error) => {
    assert.ok(isStorageError(error, 'UNAVAILABLE'));
    assert.equal(error.retryable, true);
    assert.ok(error.cause instanceof Error);
    return true;
  });
});

test('where the thread ends, those who wait are told that it may have happened, and the next gets a new one', async (t) => {
  const store = await ThreadedObjectStore.open(s3OptionsFor(NOWHERE, 'bucket'), ENDING_THREAD);
  onEnd(t, () => store.close());
  const waiting = store.get('wait');
  waiting.catch(() => {});
  await assert.rejects(store.get('end'), (error) => {
    assert.ok(isStorageError(error, 'UNAVAILABLE'));
    assert.match(String((error.cause as Error).message), /it ends/);
    return true;
  });
  await assert.rejects(waiting, { code: 'UNAVAILABLE' });
  assert.equal(await store.get('a'), null);
});

test('a listing whose thread has ended between two pages does not look as if it had come to its end', async (t) => {
  const { store, server } = await openStore(t, MORTAL_THREAD);
  for (let index = 0; index < 1500; index++) server.bucket('bucket').put(String(index).padStart(4, '0'), 'x');
  const pages = store.list('')[Symbol.asyncIterator]();
  assert.equal((await pages.next()).value.length, 1000);
  await assert.rejects(store.get('end'), { code: 'UNAVAILABLE' });
  await assert.rejects(pages.next(), { code: 'UNAVAILABLE', retryable: true });
  const rest: string[] = [];
  for await (const page of store.list('', { startAfter: '0999' })) rest.push(...page.map(({ key }) => key));
  assert.equal(rest.length, 500);
});
