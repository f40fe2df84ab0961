/** What a prefix holds, and what becomes of it: created, opened, adopted, refused; and what the refusal says. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hashBlockNumber, hex8 } from '../../../src/layout/blocks/block-keys.ts';
import { isStorageError } from '../../../src/lib/errors.ts';
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import { openVolume } from '../../../src/volume/open-volume.ts';
import type { VolumeOptions } from '../../../src/volume/volume-options.ts';
import { formatRecord } from '../../../src/volume/volume-record.ts';
import {
  BLOCK,
  bench,
  blockOf,
  KIB,
  LEASE,
  never,
  putS3backerBlock,
  RECORD,
  readBlock,
  recordIn,
  TOKEN,
  volumeOptions,
  writeBlock,
} from './fixtures.ts';
import { lostAnswer, unreachable } from './hooked-store.ts';

const SIZES = { 's3backer-blocksize': String(BLOCK), 's3backer-filesize': String(64 * BLOCK) };
const NO_SIZES: Partial<VolumeOptions> = { sizeBytes: null, blockSizeBytes: null };

function hashedKey(block: number): string {
  return `vol/${hex8(hashBlockNumber(block))}-${hex8(block)}`;
}

describe('creating', () => {
  test('on the first serve, in an empty place, with a size', async () => {
    const { store, clock, open } = bench();
    const volume = await open({ blockSizeBytes: null, sizeBytes: 8 * 1024 * KIB });
    const record = await recordIn(store);
    assert.equal(record?.sizeBytes, 8 * 1024 * KIB);
    assert.equal(record?.blockSizeBytes, 1024 * KIB, 'the default block size');
    assert.equal(record?.createdAt, clock.date().toISOString());
    assert.equal(record?.encryption, null);
    assert.deepEqual(volume.record, record);
    await volume.close(never);
    assert.deepEqual(await store.keys(), [LEASE, RECORD]);
  });

  test('leaves a lease that is released, and opens again with nothing configured', async () => {
    const { store, open } = bench();
    const first = await open();
    await writeBlock(first, 3);
    await first.close(never);
    const second = await bench({ bucket: store, instance: 'second' }).open(NO_SIZES, { create: null });
    assert.deepEqual(await readBlock(second, 3), blockOf(3));
    assert.equal(second.device.geometry.sizeBytes, 64 * BLOCK);
    assert.equal(second.record.volumeId, first.record.volumeId);
    await second.close(never);
  });

  for (const [why, options, create, code, text] of [
    ['without a size', { sizeBytes: null }, { force: false }, 'NOT_FOUND', /set a size to create one/],
    ['where it is not to be made', {}, null, 'NOT_FOUND', /there is no volume at memory:\/vol\//],
    ['read-only', { readOnly: true }, { force: false }, 'NOT_FOUND', /a read-only volume is not created/],
    ['with a size of half a block', { sizeBytes: BLOCK * 1.5 }, { force: false }, 'INVALID', /multiple of the block/],
    [
      'with more than 2^32 blocks',
      { sizeBytes: 2 ** 42, blockSizeBytes: 512 },
      { force: true },
      'INVALID',
      /use larger blocks/,
    ],
  ] as const) {
    test(`not ${why}, and nothing is written`, async () => {
      const { store, clock, open } = bench();
      await assert.rejects(open(options, { create }), (error) => {
        assert.ok(isStorageError(error, code), String(error));
        assert.match(error.message, text);
        return true;
      });
      assert.deepEqual(store.writes, []);
      assert.equal(clock.sleeping, 0);
    });
  }

  test('not where the place holds something else, unless forced', async () => {
    const { store, open } = bench();
    await store.put('vol/holiday.jpg', Buffer.from('x'));
    store.operations.length = 0;
    await assert.rejects(open(), { code: 'INVALID', message: /"vol\/holiday.jpg".*--force/ });
    assert.deepEqual(store.writes, []);
    const volume = await open({}, { create: { force: true } });
    await writeBlock(volume, 0);
    await volume.close(never);
    assert.ok(await store.head('vol/holiday.jpg'), 'what belongs to others stays');
    await (await open()).close(never);
  });

  test('keys that only look like blocks are something else', async () => {
    for (const key of ['vol/0000000', 'vol/0000000G', 'vol/000000001', 'vol/0000000A', `vol/00000000-${hex8(1)}`]) {
      const { store, open } = bench();
      await store.put(key, Buffer.from('x'));
      await assert.rejects(open(), { code: 'INVALID', message: new RegExp(key) });
    }
  });

  test('keys beside the prefix do not count', async () => {
    const { store, open } = bench();
    await store.put('vol2/holiday.jpg', Buffer.from('x'));
    await store.put('vo', Buffer.from('x'));
    await (await open()).close(never);
    assert.ok(await recordIn(store));
  });

  test('not over an existing one where it must be new', async () => {
    const { store, open } = bench();
    await (await open()).close(never);
    await assert.rejects(open({}, { mustBeNew: true, create: { force: true } }), {
      code: 'INVALID',
      message: /exists/,
    });
    const s3backer = bench();
    await putS3backerBlock(s3backer.store, 'vol/00000000', blockOf(0), SIZES);
    await assert.rejects(s3backer.open({}, { mustBeNew: true, create: { force: true } }), { code: 'INVALID' });
    assert.ok(await recordIn(store));
  });

  test('by two at once makes one volume, and one of them has it', async () => {
    for (const conditionalPuts of [true, false]) {
      const bucket = new MemoryObjectStore();
      const one = bench({ bucket, conditionalPuts });
      const two = bench({ bucket, conditionalPuts, clock: one.clock, instance: 'second' });
      const opened = await one.clock.run(Promise.allSettled([one.open(), two.open()]));
      const volumes = opened.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
      const refusals = opened.flatMap((result) => (result.status === 'rejected' ? [result.reason.code] : []));
      assert.equal(volumes.length, 1);
      assert.deepEqual(refusals, ['HELD']);
      assert.equal((await recordIn(one.store))?.volumeId, volumes[0]?.record.volumeId);
      await Promise.all(volumes.map((volume) => volume.close(never)));
      assert.equal(one.clock.sleeping, 0);
    }
  });

  test('a lost answer to the record is settled by looking again', async () => {
    const { store, open } = bench();
    let lost = false;
    store.before = async (operation) => {
      // As RetryingObjectStore: the first try took effect without an answer, the second meets it.
      if (operation.kind !== 'put' || operation.keys[0] !== RECORD || lost) return;
      lost = true;
      await store.inner.put(RECORD, operation.body ?? Buffer.alloc(0));
    };
    const volume = await open();
    assert.equal(lost, true);
    assert.equal((await recordIn(store))?.volumeId, volume.record.volumeId);
    await volume.close(never);
  });
});

describe('adopting a volume of s3backer', () => {
  test('that tells its sizes in block 0', async () => {
    const { store, log, open } = bench();
    await putS3backerBlock(store, 'vol/00000000', blockOf(0), SIZES);
    await putS3backerBlock(store, 'vol/00000005', blockOf(5));
    const volume = await open(NO_SIZES);
    assert.equal(volume.device.geometry.sizeBytes, 64 * BLOCK);
    assert.deepEqual(await readBlock(volume, 5), blockOf(5));
    assert.deepEqual(await readBlock(volume, 6), Buffer.alloc(BLOCK));
    assert.ok(log.messages('info').includes('adopted a volume made by s3backer'));
    await volume.close(never);
    assert.equal((await recordIn(store))?.blockSizeBytes, BLOCK);
  });

  test('with hashed keys, which is found out', async () => {
    const { store, open } = bench();
    await putS3backerBlock(store, hashedKey(0), blockOf(0), SIZES);
    await putS3backerBlock(store, hashedKey(5), blockOf(5));
    const volume = await open(NO_SIZES);
    assert.deepEqual(await readBlock(volume, 5), blockOf(5));
    await writeBlock(volume, 7);
    await volume.close(never);
    assert.ok(await store.head(hashedKey(7)));
    assert.equal((await recordIn(store))?.blockHashPrefix, true);
  });

  test('without block 0, once its sizes are given', async () => {
    const { store, open } = bench();
    await putS3backerBlock(store, 'vol/00000005', blockOf(5));
    for (const sizes of [NO_SIZES, { ...NO_SIZES, sizeBytes: 64 * BLOCK }, { ...NO_SIZES, blockSizeBytes: BLOCK }]) {
      await assert.rejects(open(sizes), { code: 'INVALID', message: /set its size and blockSize as it was made/ });
    }
    assert.equal(await recordIn(store), null);
    const volume = await open();
    assert.deepEqual(await readBlock(volume, 5), blockOf(5));
    await volume.close(never);
    assert.equal((await recordIn(store))?.sizeBytes, 64 * BLOCK);
  });

  test('with block 0, but without its metadata', async () => {
    for (const metadata of [
      {},
      { 's3backer-blocksize': String(BLOCK) },
      { ...SIZES, 's3backer-filesize': '0' },
      { ...SIZES, 's3backer-blocksize': 'x' },
    ]) {
      const { store, open } = bench();
      await putS3backerBlock(store, 'vol/00000000', blockOf(0), metadata);
      await assert.rejects(open(NO_SIZES), { code: 'INVALID', message: /none that tells its size/ });
      const volume = await open();
      assert.deepEqual(await readBlock(volume, 0), blockOf(0));
      await volume.close(never);
    }
  });

  test('is refused with other sizes than its own, and says which they are', async () => {
    const { store, open } = bench();
    await putS3backerBlock(store, 'vol/00000000', blockOf(0), SIZES);
    await assert.rejects(open({ sizeBytes: 32 * BLOCK }), { code: 'INVALID', message: /is 256KiB.*bucketdisk resize/ });
    await assert.rejects(open({ blockSizeBytes: 2 * BLOCK }), { code: 'INVALID', message: /blocks of 4KiB.*8KiB/ });
    assert.equal(await recordIn(store), null);
  });

  test('with a wrong block size that nothing tells is refused by trying a block', async () => {
    const { store, open } = bench();
    await putS3backerBlock(store, 'vol/00000005', blockOf(5));
    await assert.rejects(open({ blockSizeBytes: 2 * BLOCK }), {
      code: 'CORRUPT',
      message: /vol\/00000005 is not a block of 8KiB.*blockSize/,
    });
    assert.deepEqual(await store.keys(), ['vol/00000005']);
  });

  test('with both shapes of keys asks which one it is', async () => {
    const { store, open } = bench();
    await putS3backerBlock(store, 'vol/00000000', blockOf(0), SIZES);
    await putS3backerBlock(store, hashedKey(5), blockOf(5));
    await assert.rejects(open(), { code: 'INVALID', message: /blockHashPrefix/ });
    const volume = await open({ blockHashPrefix: false });
    assert.deepEqual(await readBlock(volume, 0), blockOf(0));
    await volume.close(never);
  });

  test('read-only leaves the bucket as it is', async () => {
    const { store, open } = bench();
    await putS3backerBlock(store, 'vol/00000000', blockOf(0), SIZES);
    store.operations.length = 0;
    const volume = await open({ ...NO_SIZES, readOnly: true });
    assert.deepEqual(await readBlock(volume, 0), blockOf(0));
    await volume.close(never);
    assert.deepEqual(store.writes, []);
  });
});

describe('opening one of ours', () => {
  test('is refused with another size or block size, and the text says what to do', async () => {
    const { store, clock, open } = bench();
    await (await open()).close(never);
    const before = store.writes.length;
    await assert.rejects(open({ sizeBytes: 128 * BLOCK }), {
      code: 'INVALID',
      message: /is 256KiB, but the configuration says 512KiB.*"bucketdisk resize vol 512KiB".*volumes\.vol\.size/,
    });
    await assert.rejects(open({ sizeBytes: 32 * BLOCK }), {
      code: 'INVALID',
      message: /says 128KiB\. Correct volumes\.vol\.size; to really make it smaller/,
    });
    await assert.rejects(open({ blockSizeBytes: 512 }), {
      code: 'INVALID',
      message: /blocks of 4KiB, but the configuration says 512.*cannot be changed: correct volumes\.vol\.blockSize/,
    });
    assert.equal(store.writes.length, before);
    assert.equal(clock.sleeping, 0);
  });

  test('follows block 0 where s3backer has changed the size since', async () => {
    const { store, open } = bench();
    const first = await open();
    await writeBlock(first, 0);
    await first.close(never);
    await putS3backerBlock(store, 'vol/00000000', blockOf(0), { ...SIZES, 's3backer-filesize': String(128 * BLOCK) });
    const second = await open(NO_SIZES);
    assert.equal(second.device.geometry.sizeBytes, 128 * BLOCK);
    await second.close(never);
    assert.equal((await recordIn(store))?.sizeBytes, 128 * BLOCK);
  });

  test('is refused where block 0 and record disagree on the block size', async () => {
    const { store, open } = bench();
    await (await open()).close(never);
    await putS3backerBlock(store, 'vol/00000000', blockOf(0), { ...SIZES, 's3backer-blocksize': '512' });
    await assert.rejects(open(), { code: 'CORRUPT', message: /block 0 says blocks of 512 bytes/ });
  });

  test('keeps its size when block 0 becomes zero and goes', async () => {
    const { store, open } = bench();
    const first = await open();
    await writeBlock(first, 0);
    await writeBlock(first, 0, Buffer.alloc(BLOCK));
    await first.close(never);
    assert.equal(await store.head('vol/00000000'), null);
    const second = await open(NO_SIZES);
    assert.equal(second.device.geometry.sizeBytes, 64 * BLOCK);
    await second.close(never);
  });

  test('read-only writes nothing at all, whatever the bucket holds', async () => {
    const { store, open } = bench();
    const first = await open();
    await writeBlock(first, 2);
    await first.close(never);
    // An interrupted resize, somebody's lease and somebody's token: none of it is a reader's to tidy up.
    await store.put(RECORD, formatRecord({ ...first.record, resizeToBytes: 128 * BLOCK }));
    await store.put(TOKEN, Buffer.from('other\n'), { headers: { metadata: { 's3backer-mount-token': '00001234' } } });
    store.operations.length = 0;
    const reader = bench({ bucket: store, instance: 'reader' });
    const environment = {
      ...reader.environment,
      conditionalPuts: () => assert.fail('a reader has nothing to try out'),
    };
    const volume = await openVolume(volumeOptions({ sizeBytes: null, readOnly: true, survey: true }), environment, {
      create: { force: true },
      takeOver: true,
      signal: never,
      onLost: () => assert.fail('a reader has nothing to lose'),
    });
    assert.deepEqual(await readBlock(volume, 2), blockOf(2));
    assert.equal(volume.device.geometry.readOnly, true);
    await assert.rejects(async () => writeBlock(volume, 2), { code: 'READ_ONLY' });
    await assert.rejects(volume.resize(128 * BLOCK, { force: true }), { code: 'READ_ONLY' });
    assert.equal(volume.confirmedAgoMs, null);
    await reader.clock.advance(600_000);
    await volume.close(never);
    assert.deepEqual(reader.store.writes, []);
    assert.equal(reader.clock.sleeping, 0);
  });

  test('a record that is damaged, or of a later version, is not touched', async () => {
    const { store, open } = bench();
    await (await open()).close(never);
    const sound = await recordIn(store);
    assert.ok(sound);
    for (const [body, code] of [
      ['{', 'CORRUPT'],
      ['null', 'CORRUPT'],
      ['7', 'CORRUPT'],
      ['{"format":"something else"}', 'CORRUPT'],
      [formatRecord({ ...sound, sizeBytes: BLOCK + 1 }), 'CORRUPT'],
      [formatRecord({ ...sound, blockSizeBytes: -4096 }), 'CORRUPT'],
      [formatRecord({ ...sound, resizeToBytes: 0 }), 'CORRUPT'],
      [formatRecord(sound).toString().replace('"version": 1', '"version": 2'), 'UNSUPPORTED'],
      [formatRecord(sound).toString().replace('"blocks"', '"log"'), 'UNSUPPORTED'],
    ] as const) {
      await store.inner.put(RECORD, Buffer.from(body));
      store.operations.length = 0;
      await assert.rejects(open(), (error) => {
        assert.ok(isStorageError(error, code), `${body}: ${error}`);
        assert.match(error.message, code === 'CORRUPT' ? /restore it, or delete it/ : /later version/);
        return true;
      });
      assert.deepEqual(store.writes, []);
    }
  });

  test('a half erased volume is not opened, by writers or readers', async () => {
    const { store, open } = bench();
    const volume = await open();
    await volume.close(never);
    await store.put(RECORD, formatRecord({ ...volume.record, erasing: true }));
    for (const readOnly of [false, true]) {
      await assert.rejects(open({ readOnly }), { code: 'INVALID', message: /half erased: run "bucketdisk erase vol"/ });
    }
  });

  test('a failure on the way leaves no claim and no timer', async () => {
    for (const fail of ['get', 'head', 'list'] as const) {
      const { store, clock, open } = bench();
      await (await open()).close(never);
      let taken = false;
      store.before = ({ kind, keys }) => {
        taken ||= kind === 'put' && keys[0] === LEASE;
        // Only the second look, under the lease; the claims themselves go well.
        if (taken && kind === fail && keys[0] !== LEASE && keys[0] !== TOKEN) throw unreachable();
      };
      await assert.rejects(open(), { code: 'UNAVAILABLE' });
      assert.equal(taken, true);
      store.before = () => {};
      assert.equal(JSON.parse(String((await store.get(LEASE))?.body)).released, true);
      assert.equal(await store.head(TOKEN), null);
      assert.equal(clock.sleeping, 0);
    }
  });

  test('a record whose fate is unknown leaves the lease to lapse', async () => {
    const { store, clock, open } = bench();
    store.after = ({ kind, keys }) => {
      if (kind === 'put' && keys[0] === RECORD) throw lostAnswer();
    };
    await assert.rejects(open(), { code: 'TIMEOUT' });
    assert.equal(JSON.parse(String((await store.get(LEASE))?.body)).released, false);
    assert.equal(clock.sleeping, 0);
    store.after = () => {};
    await (await open()).close(never);
  });
});

describe('a shared disk', () => {
  test('is opened by several at once, who remember nothing of blocks', async () => {
    const bucket = new MemoryObjectStore();
    const one = bench({ bucket });
    const two = bench({ bucket, instance: 'second', clock: one.clock });
    const [first, second] = [await one.open({ sharedDisk: true }), await two.open({ sharedDisk: true })];
    assert.equal(first.record.volumeId, second.record.volumeId);
    assert.deepEqual(await readBlock(second, 4), Buffer.alloc(BLOCK));
    await writeBlock(first, 4);
    assert.deepEqual(await readBlock(second, 4), blockOf(4));
    await one.clock.advance(300_000);
    await writeBlock(second, 4, blockOf(44));
    assert.deepEqual(await readBlock(first, 4), blockOf(44));
    await assert.rejects(first.resize(128 * BLOCK, { force: false }), { code: 'UNSUPPORTED' });
    await first.close(never);
    await writeBlock(second, 5);
    await second.close(never);
    assert.deepEqual([...one.lost, ...two.lost], []);
    assert.equal(await bucket.head(LEASE), null, 'there is no lease of a shared disk');
  });

  test('created by two at once is one volume', async () => {
    const bucket = new MemoryObjectStore();
    const benches = [bench({ bucket }), bench({ bucket, instance: 'second' })];
    const volumes = await Promise.all(benches.map(({ open }) => open({ sharedDisk: true })));
    assert.equal(volumes[0]?.record.volumeId, volumes[1]?.record.volumeId);
    await Promise.all(volumes.map((volume) => volume.close(never)));
  });
});
