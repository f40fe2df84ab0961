/** What every ObjectStore must do, whatever it is made of: run on each implementation and each stack of wrappers. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, describe, it, type TestContext } from 'node:test';
import { type ErrorCode, StorageError } from '../../../src/lib/errors.ts';
import { compareKeys } from '../../../src/object/keys.ts';
import type { ListedObject, ObjectStore } from '../../../src/object/object-store.ts';
import { probeConditionalPuts } from '../../../src/object/probe.ts';

export interface StoreUnderTest {
  readonly store: ObjectStore;
  /** A store whose bucket does not exist, where the implementation can have one. */
  readonly missingBucket?: ObjectStore;
  /** Closes the stores and removes what they stood on. */
  readonly close: () => Promise<void>;
}

export interface SuiteOptions {
  /** Some gateways answer 500 to the losers of a race of If-Match puts instead of 412. */
  readonly losersMayBeUnavailable?: boolean;
}

/** Tells `error` apart by its code; anything but a StorageError is a failure of the test. */
export function rejectsWith(...codes: ErrorCode[]): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof StorageError, `not a StorageError: ${String(error)}`);
    assert.ok(codes.includes(error.code), `${error.code} where ${codes.join(' or ')} was expected: ${error.message}`);
    return true;
  };
}

export async function listAll(store: ObjectStore, prefix: string, startAfter?: string): Promise<ListedObject[]> {
  const all: ListedObject[] = [];
  for await (const page of store.list(prefix, startAfter === undefined ? {} : { startAfter })) {
    assert.ok(page.length <= 1000, 'a page has at most 1000 keys');
    all.push(...page);
  }
  return all;
}

export async function listKeys(store: ObjectStore, prefix: string, startAfter?: string): Promise<string[]> {
  return (await listAll(store, prefix, startAfter)).map((object) => object.key);
}

const AWKWARD_KEYS = [
  'a',
  'a/b',
  'a/b/',
  'a//b',
  'a/',
  '/a',
  '//',
  'A',
  'a b+c',
  'a%2fb',
  '%',
  '%%',
  '.hidden',
  '.bucketdisk/lock',
  'x=',
  'x+',
  'x+/y',
  'a!',
  'a-',
  'a0',
  'é',
  'e\u0301',
  '\u{1f600}',
  '\uffee',
  'it\'s (a) *test* & <more> "quotes"',
  '?query=1#fragment',
  'back\\slash',
  'long/'.padEnd(600, 'x'),
  'long/'.padEnd(600, 'é'.normalize('NFC')).slice(0, 400),
  'tail'.padEnd(1024, 'z'),
];

const DOT_KEYS = ['.', '..', '../escape', 'a/../b', 'a/./b', '../../etc/passwd', './'];

/** `open` returns null where the store is not to be had here, for a reason its caller has shown. */
export function objectStoreSuite(
  name: string,
  open: () => Promise<StoreUnderTest | null>,
  options: SuiteOptions = {},
): void {
  describe(`ObjectStore: ${name}`, () => {
    let under: StoreUnderTest | null = null;
    let store: ObjectStore;
    let tests = 0;
    before(async () => {
      under = await open();
      if (under !== null) store = under.store;
    });
    after(async () => {
      await under?.close();
    });
    const check = (title: string, test: (t: TestContext) => Promise<void> | void): void => {
      it(title, (t) => (under === null ? t.skip('this store is not to be had here') : test(t)));
    };
    /** A prefix of its own for each test. */
    const fresh = (): string => `t${++tests}-${randomBytes(3).toString('hex')}/`;

    check('says what it is, with no secrets', () => {
      assert.match(store.description, /^(s3|file|memory):/);
      assert.ok(store.bucket.length > 0);
    });

    check('returns what was put: body, headers, ETag', async () => {
      const key = `${fresh()}object`;
      const body = randomBytes(70_000);
      const headers = {
        contentType: 'application/x-s3backer-block',
        contentEncoding: 'deflate, encrypt-AES-128-CBC',
        metadata: { 's3backer-hmac': '"0123456789abcdef"', other: 'two words' },
      };
      const { etag } = await store.put(key, body, { headers });
      assert.ok(etag.length > 0 && !etag.includes('"'));
      const object = await store.get(key);
      assert.ok(object !== null);
      assert.ok(object.body.equals(body));
      assert.equal(object.key, key);
      assert.equal(object.etag, etag);
      assert.equal(object.sizeBytes, body.length);
      assert.equal(object.contentType, headers.contentType);
      assert.equal(object.contentEncoding, headers.contentEncoding);
      assert.deepEqual({ ...object.metadata }, headers.metadata);
      assert.ok(Math.abs((object.lastModified?.getTime() ?? 0) - Date.now()) < 60 * 60 * 1000);
      const info = await store.head(key);
      assert.ok(info !== null);
      assert.equal(info.etag, etag);
      assert.equal(info.sizeBytes, body.length);
      assert.equal(info.contentType, headers.contentType);
      assert.equal(info.contentEncoding, headers.contentEncoding);
      assert.deepEqual({ ...info.metadata }, headers.metadata);
      assert.ok(!('body' in info));
    });

    check('keeps empty bodies, and replaces body and headers together', async () => {
      const key = `${fresh()}object`;
      const first = await store.put(key, Buffer.from('first'), { headers: { metadata: { a: '1' } } });
      const second = await store.put(key, Buffer.alloc(0));
      assert.notEqual(first.etag, second.etag);
      const object = await store.get(key);
      assert.equal(object?.body.length, 0);
      assert.equal(object?.sizeBytes, 0);
      assert.deepEqual({ ...object?.metadata }, {});
      assert.equal((await store.head(key))?.etag, second.etag);
    });

    check('neither keeps the body it was given nor gives out its own', async () => {
      const key = `${fresh()}object`;
      const body = Buffer.from('0123456789');
      await store.put(key, body);
      body.fill(0);
      const read = await store.get(key);
      assert.equal(read?.body.toString(), '0123456789');
      read?.body.fill(0);
      assert.equal((await store.get(key))?.body.toString(), '0123456789');
    });

    check('answers null for a key that does not exist', async () => {
      const prefix = fresh();
      assert.equal(await store.get(`${prefix}nothing`), null);
      assert.equal(await store.get(`${prefix}nothing`, { range: { offset: 0, length: 1 } }), null);
      assert.equal(await store.head(`${prefix}nothing`), null);
      await store.put(`${prefix}deep/key`, Buffer.from('x'));
      assert.equal(await store.get(`${prefix}deep`), null);
      assert.equal(await store.head(`${prefix}deep/key/below`), null);
    });

    check('reads ranges exactly', async () => {
      const key = `${fresh()}object`;
      const body = randomBytes(10_000);
      const { etag } = await store.put(key, body, { headers: { metadata: { a: '1' } } });
      for (const [offset, length] of [
        [0, 1],
        [0, 10_000],
        [9_999, 1],
        [4_000, 4_100],
      ] as const) {
        const part = await store.get(key, { range: { offset, length } });
        assert.ok(part?.body.equals(body.subarray(offset, offset + length)), `${length} from ${offset}`);
        assert.equal(part?.sizeBytes, 10_000);
        assert.equal(part?.etag, etag);
        assert.deepEqual({ ...part?.metadata }, { a: '1' });
      }
    });

    check('refuses ranges that are not inside the object', async () => {
      const prefix = fresh();
      await store.put(`${prefix}ten`, Buffer.alloc(10));
      await store.put(`${prefix}none`, Buffer.alloc(0));
      for (const [key, offset, length] of [
        ['ten', 0, 11],
        ['ten', 5, 6],
        ['ten', 10, 1],
        ['ten', 100, 1],
        ['ten', 0, 0],
        ['ten', -1, 2],
        ['none', 0, 1],
      ] as const) {
        const range = { offset, length };
        await assert.rejects(store.get(prefix + key, { range }), rejectsWith('INVALID'), `${length} from ${offset}`);
      }
    });

    check('refuses keys and requests that no bucket takes', async () => {
      const body = Buffer.from('x');
      for (const key of ['', 'k'.repeat(1025), 'é'.repeat(513), '\ud800']) {
        await assert.rejects(store.put(key, body), rejectsWith('INVALID'));
        await assert.rejects(store.get(key), rejectsWith('INVALID'));
        await assert.rejects(store.head(key), rejectsWith('INVALID'));
        await assert.rejects(store.delete([key]), rejectsWith('INVALID'));
      }
      const prefix = fresh();
      await assert.rejects(
        store.put(`${prefix}both`, body, { ifMatch: 'a', ifNoneMatch: '*' }),
        rejectsWith('INVALID'),
      );
      await assert.rejects(
        store.delete(Array.from({ length: 1001 }, (_, i) => `${prefix}${i}`)),
        rejectsWith('INVALID'),
      );
      for (const metadata of [{ Upper: 'x' }, { 'a b': 'x' }, { a: 'é' }, { a: ' x' }, { a: 'x\ny' }]) {
        await assert.rejects(store.put(`${prefix}m`, body, { headers: { metadata } }), rejectsWith('INVALID'));
      }
      assert.deepEqual(await listKeys(store, prefix), []);
    });

    check('creates only where nothing is, with ifNoneMatch', async () => {
      const key = `${fresh()}object`;
      const { etag } = await store.put(key, Buffer.from('one'), { ifNoneMatch: '*' });
      await assert.rejects(store.put(key, Buffer.from('two'), { ifNoneMatch: '*' }), rejectsWith('CONFLICT'));
      const object = await store.get(key);
      assert.equal(object?.body.toString(), 'one');
      assert.equal(object?.etag, etag);
      await store.delete([key]);
      await store.put(key, Buffer.from('three'), { ifNoneMatch: '*' });
      assert.equal((await store.get(key))?.body.toString(), 'three');
    });

    check('replaces only the object named, with ifMatch', async () => {
      const key = `${fresh()}object`;
      await assert.rejects(
        store.put(key, Buffer.from('x'), { ifMatch: '0123456789abcdef0123456789abcdef' }),
        rejectsWith('CONFLICT'),
      );
      assert.equal(await store.get(key), null);
      const one = await store.put(key, Buffer.from('one'));
      const two = await store.put(key, Buffer.from('two'), { ifMatch: one.etag });
      await assert.rejects(store.put(key, Buffer.from('three'), { ifMatch: one.etag }), rejectsWith('CONFLICT'));
      assert.equal((await store.get(key))?.body.toString(), 'two');
      await store.put(key, Buffer.from('four'), { ifMatch: two.etag });
      assert.equal((await store.get(key))?.body.toString(), 'four');
    });

    check('lets one of many creators win', async () => {
      const key = `${fresh()}object`;
      const results = await Promise.allSettled(
        Array.from({ length: 16 }, (_, i) => store.put(key, Buffer.from(`creator ${i}`), { ifNoneMatch: '*' })),
      );
      const winners = results.flatMap((result, i) => (result.status === 'fulfilled' ? [i] : []));
      assert.equal(winners.length, 1);
      for (const result of results) {
        if (result.status === 'rejected') rejectsWith('CONFLICT', 'UNAVAILABLE')(result.reason);
      }
      assert.equal((await store.get(key))?.body.toString(), `creator ${winners[0]}`);
    });

    check('lets one of many replacers win', async () => {
      const key = `${fresh()}object`;
      const { etag } = await store.put(key, Buffer.from('start'));
      const results = await Promise.allSettled(
        Array.from({ length: 16 }, (_, i) => store.put(key, Buffer.from(`replacer ${i}`), { ifMatch: etag })),
      );
      const winners = results.flatMap((result, i) => (result.status === 'fulfilled' ? [`replacer ${i}`] : []));
      assert.equal(winners.length, 1);
      for (const result of results) {
        if (result.status === 'fulfilled') continue;
        rejectsWith(
          ...(options.losersMayBeUnavailable ? (['CONFLICT', 'UNAVAILABLE'] as const) : (['CONFLICT'] as const)),
        )(result.reason);
      }
      assert.equal((await store.get(key))?.body.toString(), winners[0]);
    });

    check('is found by the probe to honour both conditions, which leaves nothing behind', async () => {
      const prefix = fresh();
      assert.deepEqual(await probeConditionalPuts(store, prefix), { ifNoneMatch: true, ifMatch: true });
      assert.deepEqual(await listKeys(store, prefix), []);
    });

    check('reads its own writes and deletes at once', async () => {
      const key = `${fresh()}object`;
      for (let i = 0; i < 5; i++) {
        await store.put(key, Buffer.from(String(i)));
        assert.equal((await store.get(key))?.body.toString(), String(i));
        assert.deepEqual(await listKeys(store, key), [key]);
        await store.delete([key]);
        assert.equal(await store.get(key), null);
        assert.equal(await store.head(key), null);
        assert.deepEqual(await listKeys(store, key), []);
      }
    });

    check('deletes what is named and nothing else; what is absent counts as deleted', async () => {
      const prefix = fresh();
      for (const name of ['a', 'b', 'c', 'd']) await store.put(prefix + name, Buffer.from(name));
      await store.delete([]);
      await store.delete([`${prefix}a`]);
      await store.delete([`${prefix}a`]);
      await store.delete([`${prefix}b`, `${prefix}nothing`, `${prefix}c`, `${prefix}b`]);
      assert.deepEqual(await listKeys(store, prefix), [`${prefix}d`]);
    });

    check('takes every key a bucket takes, and lists them in the order of their bytes', async () => {
      const prefix = fresh();
      const keys = [...AWKWARD_KEYS, ...DOT_KEYS]
        .map((key) => prefix + key)
        .filter((key) => Buffer.byteLength(key) <= 1024);
      const body = (key: string): Buffer => createHash('sha256').update(key).digest();
      await Promise.all(keys.map((key) => store.put(key, body(key))));
      const expected = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      assert.deepEqual(await listKeys(store, prefix), expected);
      for (const key of keys) {
        assert.ok((await store.get(key))?.body.equals(body(key)), key);
        assert.ok((await store.get(key, { range: { offset: 1, length: 2 } }))?.body.equals(body(key).subarray(1, 3)));
        assert.equal((await store.head(key))?.sizeBytes, 32, key);
      }
      for (const startAfter of expected) {
        const after = expected.filter((key) => compareKeys(key, startAfter) > 0);
        assert.deepEqual(await listKeys(store, prefix, startAfter), after, `after ${startAfter}`);
      }
      await store.delete(keys.slice(0, 1));
      await store.delete(keys.slice(1));
      assert.deepEqual(await listKeys(store, prefix), []);
    });

    check('lists by any prefix, in the middle of a name too', async () => {
      const prefix = fresh();
      const keys = ['vol', 'vol/', 'vol/00', 'vol/01', 'vol/1/x', 'vol2/00', 'wol'].map((key) => prefix + key);
      for (const key of keys) await store.put(key, Buffer.from(key));
      for (const part of ['', 'v', 'vol', 'vol/', 'vol/0', 'vol/01', 'vol/1', 'vol/1/', 'vol2', 'w', 'x', 'vol/01/']) {
        const expected = keys.filter((key) => key.startsWith(prefix + part));
        assert.deepEqual(await listKeys(store, prefix + part), expected, `prefix ${part}`);
      }
      assert.deepEqual(await listKeys(store, `${prefix}vol/`, `${prefix}aaa`), keys.slice(1, 5));
      assert.deepEqual(await listKeys(store, `${prefix}vol/`, `${prefix}zzz`), []);
    });

    check('lists sizes and ETags', async () => {
      const prefix = fresh();
      const one = await store.put(`${prefix}one`, Buffer.alloc(1));
      const two = await store.put(`${prefix}two`, Buffer.alloc(20_000));
      const listed = await listAll(store, prefix);
      assert.deepEqual(
        listed.map(({ key, sizeBytes, etag }) => ({ key, sizeBytes, etag })),
        [
          { key: `${prefix}one`, sizeBytes: 1, etag: one.etag },
          { key: `${prefix}two`, sizeBytes: 20_000, etag: two.etag },
        ],
      );
      // Of whole seconds where the protocol has no more.
      for (const { key, lastModified } of listed) {
        const head = await store.head(key);
        const toSecond = (date: Date | undefined): number => Math.floor((date?.getTime() ?? 0) / 1000);
        assert.ok(lastModified !== undefined && toSecond(lastModified) > 0);
        assert.equal(toSecond(lastModified), toSecond(head?.lastModified));
      }
    });

    check('lists in pages, which a consumer may leave', async () => {
      const prefix = fresh();
      const count = 1234;
      const keys = Array.from({ length: count }, (_, i) => `${prefix}${i.toString(16).padStart(8, '0')}`);
      for (let i = 0; i < count; i += 16) {
        await Promise.all(keys.slice(i, i + 16).map((key) => store.put(key, Buffer.from('x'))));
      }
      assert.deepEqual(await listKeys(store, prefix), keys);
      assert.deepEqual(await listKeys(store, prefix, keys[100]), keys.slice(101));
      let pages = 0;
      for await (const page of store.list(prefix)) {
        pages += 1;
        assert.equal(page[0]?.key, keys[0]);
        break;
      }
      assert.equal(pages, 1);
      for (let i = 0; i < count; i += 1000) await store.delete(keys.slice(i, i + 1000));
      assert.deepEqual(await listKeys(store, prefix), []);
    });

    check('makes no write that is called off at the last moment', async () => {
      const [kept, never, other] = [`${fresh()}kept`, `${fresh()}never`, `${fresh()}other`];
      await store.put(kept, Buffer.from('x'));
      let asked = 0;
      const mayStart = (): boolean => {
        asked += 1;
        return false;
      };
      await assert.rejects(store.put(never, Buffer.from('y'), { mayStart }), rejectsWith('CANCELLED'));
      await assert.rejects(store.put(kept, Buffer.from('y'), { mayStart }), rejectsWith('CANCELLED'));
      await assert.rejects(store.delete([kept], { mayStart }), rejectsWith('CANCELLED'));
      await assert.rejects(store.delete([kept, other], { mayStart }), rejectsWith('CANCELLED'));
      assert.equal(asked, 4);
      assert.equal(await store.get(never), null);
      assert.equal((await store.get(kept))?.body.toString(), 'x');
      await store.put(never, Buffer.from('y'), { mayStart: () => true });
      await store.delete([kept, other], { mayStart: () => true });
      assert.equal(await store.get(kept), null);
      assert.equal((await store.get(never))?.body.toString(), 'y');
    });

    check('does nothing for a signal that has aborted', async () => {
      const key = `${fresh()}object`;
      const signal = AbortSignal.abort();
      await assert.rejects(store.put(key, Buffer.from('x'), { signal }), rejectsWith('CANCELLED'));
      assert.equal(await store.get(key), null);
      await store.put(key, Buffer.from('x'));
      await assert.rejects(store.get(key, { signal }), rejectsWith('CANCELLED'));
      await assert.rejects(store.head(key, { signal }), rejectsWith('CANCELLED'));
      await assert.rejects(store.delete([key], { signal }), rejectsWith('CANCELLED'));
      await assert.rejects(async () => {
        for await (const _ of store.list(key, { signal })) assert.fail('a page was delivered');
      }, rejectsWith('CANCELLED'));
      assert.equal((await store.get(key))?.body.toString(), 'x');
    });

    check('tells a missing bucket from a missing key', async (t: TestContext) => {
      const missing = under?.missingBucket;
      if (missing === undefined) {
        t.skip('this store always has its bucket');
        return;
      }
      await assert.rejects(missing.get('key'), rejectsWith('NOT_FOUND'));
      await assert.rejects(missing.get('key', { range: { offset: 0, length: 1 } }), rejectsWith('NOT_FOUND'));
      await assert.rejects(missing.head('key'), rejectsWith('NOT_FOUND'));
      await assert.rejects(missing.put('key', Buffer.from('x')), rejectsWith('NOT_FOUND'));
      await assert.rejects(missing.put('key', Buffer.from('x'), { ifMatch: 'abc' }), rejectsWith('NOT_FOUND'));
      await assert.rejects(missing.delete(['key']), rejectsWith('NOT_FOUND'));
      await assert.rejects(missing.delete(['one', 'two']), rejectsWith('NOT_FOUND'));
      await assert.rejects(listKeys(missing, ''), rejectsWith('NOT_FOUND'));
    });
  });
}
