/** A wrong key is told at open, with the exit code that says so, and before anything is written. */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { exitCodeOf } from '../../../src/cli/exit-code.ts';
import { isStorageError } from '../../../src/lib/errors.ts';
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import type { ObjectStore } from '../../../src/object/object-store.ts';
import type { VolumeOptions } from '../../../src/volume/volume-options.ts';
import { type Bench, bench, blockOf, never, PASSWORD, RECORD, readBlock, recordIn, writeBlock } from './fixtures.ts';

const AES128 = { cipher: 'AES-128-CBC', password: PASSWORD, keyLengthBytes: null };
const AES256 = { ...AES128, cipher: 'AES-256-CBC' };

/** What opening it with other settings is refused with. */
const REFUSALS: readonly {
  readonly name: string;
  readonly made: VolumeOptions['encryption'];
  readonly opened: VolumeOptions['encryption'];
  readonly code: 'ACCESS_DENIED' | 'INVALID';
  readonly text: RegExp;
  /** Where there is no record, only a block to try. */
  readonly blockText?: RegExp;
}[] = [
  {
    name: 'a wrong password',
    made: AES128,
    opened: { ...AES128, password: 'battery staple' },
    code: 'ACCESS_DENIED',
    text: /the password is wrong/,
  },
  {
    name: 'no password',
    made: AES128,
    opened: null,
    code: 'ACCESS_DENIED',
    text: /is encrypted with AES-128-CBC: set volumes\.vol\.encrypt/,
  },
  {
    name: 'a password it has none for',
    made: null,
    opened: AES128,
    code: 'INVALID',
    text: /is not encrypted.*remove volumes\.vol\.encrypt/,
  },
  {
    name: 'another cipher',
    made: AES128,
    opened: AES256,
    code: 'INVALID',
    text: /encrypted with AES-128-CBC.*the configuration says AES-256-CBC/,
    blockText: /the password is wrong, or its cipher or key length/,
  },
  {
    name: 'another key length',
    made: { ...AES128, keyLengthBytes: 64 },
    opened: AES128,
    code: 'INVALID',
    text: /a key of 64 bytes.*and 16/,
    blockText: /the password is wrong, or its cipher or key length/,
  },
];

/** A volume with data in block 3. */
async function made(encryption: VolumeOptions['encryption'], bucket: ObjectStore): Promise<Bench> {
  const one = bench({ bucket });
  const volume = await one.open({ encryption });
  await writeBlock(volume, 3);
  await volume.close(never);
  one.store.operations.length = 0;
  return one;
}

describe('a volume of ours', () => {
  test('opens with its password, and stores nothing plain', async () => {
    const { store, open } = await made(AES256, new MemoryObjectStore());
    const record = await recordIn(store);
    assert.equal(record?.encryption?.cipher, 'AES-256-CBC');
    assert.equal(record?.encryption?.salt, 'memory/vol/');
    assert.equal(JSON.stringify(record).includes(PASSWORD), false);
    for (const key of await store.keys()) {
      assert.equal((await store.get(key))?.body.includes('block 3'), false, key);
    }
    const volume = await open({ encryption: AES256 });
    assert.deepEqual(await readBlock(volume, 3), blockOf(3));
    await volume.close(never);
  });

  for (const { name, made: first, opened, code, text } of REFUSALS) {
    test(`is refused with ${name}, also read-only, and nothing is written`, async () => {
      const { store, clock, open } = await made(first, new MemoryObjectStore());
      for (const readOnly of [false, true]) {
        await assert.rejects(open({ encryption: opened, readOnly }), (error) => {
          assert.ok(isStorageError(error, code), String(error));
          assert.match(error.message, text);
          assert.equal(error.message.includes('battery staple'), false);
          assert.equal(exitCodeOf(error), code === 'ACCESS_DENIED' ? 12 : 2);
          return true;
        });
      }
      assert.deepEqual(store.writes, []);
      assert.equal(clock.sleeping, 0);
    });
  }

  test('is refused already while it is empty', async () => {
    const { store, open } = bench();
    await (await open({ encryption: AES128 })).close(never);
    assert.equal((await store.keys()).length, 2);
    await assert.rejects(open({ encryption: { ...AES128, password: 'x' } }), { code: 'ACCESS_DENIED' });
    await assert.rejects(open({ encryption: null }), { code: 'ACCESS_DENIED' });
  });

  test('opens from a copy of the bucket under another name and prefix: the salt is in the record', async () => {
    const bucket = new MemoryObjectStore('first-name');
    await made(AES128, bucket);
    const copy = new MemoryObjectStore('second-name');
    for await (const page of bucket.list('')) {
      for (const { key } of page) {
        const object = await bucket.get(key);
        assert.ok(object);
        const { contentType, contentEncoding, metadata } = object;
        await copy.put(key.replace('vol/', 'moved/'), object.body, {
          headers: {
            metadata,
            ...(contentType === undefined ? {} : { contentType }),
            ...(contentEncoding === undefined ? {} : { contentEncoding }),
          },
        });
      }
    }
    const volume = await bench({ bucket: copy }).open({ encryption: AES128, prefix: 'moved/' });
    assert.deepEqual(await readBlock(volume, 3), blockOf(3));
    await writeBlock(volume, 4);
    assert.deepEqual(await readBlock(volume, 4), blockOf(4));
    await volume.close(never);
  });

  test('whose cipher nobody has is not created', async () => {
    const { store, open } = bench();
    await assert.rejects(open({ encryption: { ...AES128, cipher: 'ROT-13' } }), { code: 'INVALID' });
    await assert.rejects(open({ encryption: { ...AES128, keyLengthBytes: 8 } }), { code: 'INVALID' });
    assert.deepEqual(store.writes, []);
  });
});

describe('a volume of s3backer, which has no record', () => {
  for (const { name, made: first, opened, code, text, blockText } of REFUSALS) {
    test(`is refused with ${name}`, async () => {
      const { store, open } = await made(first, new MemoryObjectStore());
      await store.inner.delete([RECORD]);
      await assert.rejects(open({ encryption: opened }), (error) => {
        assert.ok(isStorageError(error, blockText === undefined ? code : 'ACCESS_DENIED'), String(error));
        assert.match(error.message, blockText ?? text);
        return true;
      });
      assert.deepEqual(store.writes, []);
    });
  }

  let adopted: Bench;
  before(async () => {
    adopted = await made(AES128, new MemoryObjectStore());
    await adopted.store.inner.delete([RECORD]);
  });

  test('is adopted with its password, and knows it from then on', async () => {
    const volume = await adopted.open({ encryption: AES128 });
    assert.deepEqual(await readBlock(volume, 3), blockOf(3));
    await writeBlock(volume, 3, Buffer.alloc(4096));
    await volume.close(never);
    await assert.rejects(adopted.open({ encryption: { ...AES128, password: 'x' } }), { code: 'ACCESS_DENIED' });
  });
});
