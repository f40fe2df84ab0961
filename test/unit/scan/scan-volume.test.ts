/** Volumes damaged in every way there is, and what a scan makes of them. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { FindingKind } from '../../../src/scan/scan-report.ts';
import { ScanState } from '../../../src/scan/scan-state.ts';
import type { Volume } from '../../../src/volume/volume.ts';
import type { VolumeOptions } from '../../../src/volume/volume-options.ts';
import { Random } from '../../support/random.ts';
import {
  blockKey,
  CACHE_DIRECTORY,
  finish,
  kill,
  type Machine,
  machine,
  read,
  stored,
  upload,
  write,
} from '../cache/volume/fixtures.ts';
import { BLOCK, bench, blockOf, LEASE, PASSWORD, PREFIX, TOKEN } from '../volume/fixtures.ts';
import { beginScan, DEEP, found, keysBelow, only, REPAIR, SHALLOW, scan, tamper } from './fixtures.ts';

const ENCRYPTION = { cipher: 'AES-256-CBC', password: PASSWORD, keyLengthBytes: null };
const KINDS: readonly [string, Partial<VolumeOptions>][] = [
  ['plain', {}],
  ['hashed keys', { blockHashPrefix: true }],
  ['zstd', { compress: 'zstd' }],
  ['deflate and encrypted', { compress: 'deflate', encryption: ENCRYPTION }],
];

/** Blocks 1 to 8 are in the bucket, and cached. */
async function filled(overrides: Partial<VolumeOptions> = {}): Promise<{ one: Machine; volume: Volume }> {
  const one = machine();
  const volume = await one.open(overrides);
  for (let block = 1; block <= 8; block++) await write(one, volume, block, blockOf(block));
  await upload(one, volume);
  return { one, volume };
}

/** The same, opened again after a crash: what should be in the bucket is known by its listing and the cache. */
async function reopened(overrides: Partial<VolumeOptions> = {}, meanwhile?: (one: Machine) => Promise<void>) {
  const { one } = await filled(overrides);
  kill(one);
  await meanwhile?.(one);
  const volume = await one.open(overrides);
  await one.bench.clock.advance(1000);
  return { one, volume };
}

describe('a volume as it should be', () => {
  for (const [kind, overrides] of KINDS) {
    test(`has nothing wrong: ${kind}`, async () => {
      for (const { one, volume } of [await filled(overrides), await reopened(overrides)]) {
        await write(one, volume, 20, blockOf(20));
        const report = await scan(one, volume, DEEP);
        assert.deepEqual(report.findings, []);
        const { keys: _keys, cachedBytes, ...checked } = report.checked;
        assert.deepEqual(checked, { blocks: 8, deepBlocks: 8, deepBytes: checked.deepBytes, logBytes: BLOCK });
        assert.ok(cachedBytes >= 8 * BLOCK);
        assert.deepEqual([report.damageLeft, report.repaired, report.filesystem], [0, 0, null]);
        await finish(one, volume);
      }
    });
  }

  test('has the shape that scripts rely on', async () => {
    const { one, volume } = await filled();
    const report = await scan(one, volume, SHALLOW);
    assert.deepEqual(JSON.parse(JSON.stringify(report)), {
      volume: 'vol',
      url: 'memory:/vol/',
      startedAt: report.startedAt,
      durationMs: report.durationMs,
      by: 'appliance',
      deep: false,
      repair: false,
      sizeBytes: 64 * BLOCK,
      blockSizeBytes: BLOCK,
      checked: { keys: 11, blocks: 8, deepBlocks: 0, deepBytes: 0, cachedBytes: 0, logBytes: 0 },
      rotation: null,
      counts: {
        ...{ missing: 0, unexpected: 0, changed: 0, 'wrong-size': 0, corrupt: 0, undecryptable: 0 },
        ...{ unreadable: 0, lost: 0 },
        ...{ 'log-damaged': 0, 'cache-rotten': 0, orphaned: 0, foreign: 0 },
      },
      damageLeft: 0,
      repaired: 0,
      findings: [],
      ranges: [],
      filesystem: null,
    });
  });
});

describe('damage in the bucket', () => {
  const flip = (body: Buffer): Buffer => {
    const copy = Buffer.from(body);
    copy[copy.length >> 1] = (copy[copy.length >> 1] ?? 0) ^ 1;
    return copy;
  };

  test('an object that is gone is found without reading, and put back from the cache', async () => {
    const { one, volume } = await filled();
    await one.bench.store.inner.delete([blockKey(3)]);
    const finding = only(await scan(one, volume, SHALLOW), 'missing');
    assert.deepEqual(
      { ...finding, detail: '' },
      {
        ...{ kind: 'missing', damage: true, key: blockKey(3), offset: 3 * BLOCK, length: BLOCK, detail: '' },
        ...{ repair: 'none', quarantineKey: null },
      },
    );
    const report = await scan(one, volume, REPAIR);
    assert.deepEqual([found(report), report.damageLeft, report.repaired], [['missing repaired'], 0, 1]);
    assert.deepEqual(await stored(one, 3), blockOf(3));
    assert.deepEqual((await scan(one, volume, DEEP)).findings, []);
  });

  test('one that has become another is found by its ETag; it is kept, and replaced', async () => {
    const { one, volume } = await filled();
    await tamper(one, 3, () => blockOf(99));
    assert.equal(only(await scan(one, volume, SHALLOW), 'changed').offset, 3 * BLOCK);
    const finding = only(await scan(one, volume, REPAIR), 'changed');
    assert.equal(finding.repair, 'repaired');
    assert.deepEqual(await stored(one, 3), blockOf(3));
    assert.match(finding.quarantineKey ?? '', /^vol\/bucketdisk-quarantine\/\d{8}T\d{6}Z\/00000003$/);
    const kept = await one.bench.store.inner.get(finding.quarantineKey ?? '');
    assert.deepEqual(kept?.body, blockOf(99));
    // It is none of the volume's own keys that would be told of as foreign.
    assert.deepEqual((await scan(one, volume, DEEP)).findings, []);
  });

  test('one where there should be none is moved away', async () => {
    const { one, volume } = await filled();
    await one.bench.store.inner.put(blockKey(40), blockOf(40));
    assert.equal(only(await scan(one, volume, SHALLOW), 'unexpected').offset, 40 * BLOCK);
    const finding = only(await scan(one, volume, REPAIR), 'unexpected');
    assert.equal(finding.repair, 'repaired');
    assert.equal(await stored(one, 40), null);
    assert.deepEqual((await one.bench.store.inner.get(finding.quarantineKey ?? ''))?.body, blockOf(40));
    assert.deepEqual(await read(one, volume, 40), Buffer.alloc(BLOCK));
  });

  test('of the wrong size: cut short, and blown up', async () => {
    const cut = await reopened({}, (one) => tamper(one, 3, (body) => body.subarray(0, 1000)));
    assert.match(only(await scan(cut.one, cut.volume, SHALLOW), 'wrong-size').detail, /1000 bytes/);
    const grown = await reopened({ compress: 'zstd' }, (one) => tamper(one, 3, () => Buffer.alloc(2 * BLOCK)));
    assert.equal(only(await scan(grown.one, grown.volume, SHALLOW), 'wrong-size').offset, 3 * BLOCK);
    const empty = await reopened({ compress: 'zstd' }, (one) => tamper(one, 3, () => Buffer.alloc(0)));
    assert.equal(only(await scan(empty.one, empty.volume, REPAIR), 'wrong-size').repair, 'repaired');
    assert.deepEqual((await scan(empty.one, empty.volume, DEEP)).findings, []);
  });

  const inside: readonly [FindingKind, Partial<VolumeOptions>][] = [
    ['corrupt', { compress: 'zstd' }],
    ['corrupt', { compress: 'deflate' }],
    ['undecryptable', { compress: 'zstd', encryption: ENCRYPTION }],
  ];
  for (const [kind, overrides] of inside) {
    test(`a bit that has turned is only found by reading: ${kind}, ${overrides.compress}`, async () => {
      const { one, volume } = await reopened(overrides, (one) => tamper(one, 3, flip));
      assert.deepEqual((await scan(one, volume, SHALLOW)).findings, []);
      assert.equal(only(await scan(one, volume, DEEP), kind).offset, 3 * BLOCK);
      assert.equal(only(await scan(one, volume, REPAIR), kind).repair, 'repaired');
      assert.deepEqual((await scan(one, volume, DEEP)).findings, []);
      assert.deepEqual(await read(one, volume, 3), blockOf(3));
    });
  }

  test('an encrypted volume with an object that is not, or of another block', async () => {
    const overrides = { compress: 'deflate', encryption: ENCRYPTION } as const;
    const plain = await reopened(overrides, async (one) => {
      await one.bench.store.inner.put(blockKey(3), blockOf(3));
    });
    assert.equal(only(await scan(plain.one, plain.volume, DEEP), 'undecryptable').offset, 3 * BLOCK);
    const moved = await reopened(overrides, async (one) => {
      const other = await one.bench.store.inner.get(blockKey(4));
      await tamper(one, 3, () => other?.body ?? Buffer.alloc(0), other?.metadata);
    });
    assert.equal(only(await scan(moved.one, moved.volume, DEEP), 'undecryptable').offset, 3 * BLOCK);
  });

  test('what was deleted while nobody looked is told by the cache, and put back', async () => {
    const { one, volume } = await reopened({}, (one) => one.bench.store.inner.delete([blockKey(3), blockKey(4)]));
    const report = await scan(one, volume, SHALLOW);
    assert.deepEqual(found(report), ['lost none', 'lost none']);
    assert.deepEqual(
      report.ranges.map(({ offset, length }) => [offset, length]),
      [[3 * BLOCK, 2 * BLOCK]],
    );
    assert.deepEqual(found(await scan(one, volume, REPAIR)), ['lost repaired', 'lost repaired']);
    assert.deepEqual(await stored(one, 4), blockOf(4));
    assert.deepEqual((await scan(one, volume, DEEP)).findings, []);
  });

  test('what the cache does not have stays as it is', async () => {
    const blocks = { blockSizeBytes: 4 * BLOCK };
    const one = machine();
    const volume = await one.open(blocks);
    await write(one, volume, 4, blockOf(4));
    await upload(one, volume);
    await tamper(one, 1, (body) => Buffer.concat([body.subarray(0, 4 * BLOCK - 1), Buffer.of(7)]));
    const finding = only(await scan(one, volume, REPAIR), 'changed');
    assert.deepEqual([finding.repair, finding.quarantineKey], ['impossible', null]);
    assert.equal((await stored(one, 1))?.at(-1), 7);
    // Once somebody has written the rest of it, it is repaired.
    for (let page = 5; page < 8; page++) await write(one, volume, page, blockOf(page));
    const again = await scan(one, volume, REPAIR);
    assert.deepEqual([found(again), again.damageLeft], [['changed repaired'], 0]);
    assert.deepEqual((await stored(one, 1))?.subarray(0, BLOCK), blockOf(4));
  });

  test('without a cache it is told of, and left', async () => {
    const one = machine();
    const volume = await one.bench.clock.run(one.bench.open({ survey: true }));
    await volume.device.write(3 * BLOCK, blockOf(3), { fua: true });
    await one.bench.store.inner.delete([blockKey(3)]);
    const report = await scan(one, volume, REPAIR);
    assert.deepEqual([found(report), report.damageLeft], [['missing impossible'], 1]);
  });
});

describe('keys that are none of the volume', () => {
  test('are told of, whatever they look like, and left alone', async () => {
    const { one, volume } = await filled();
    const hostile = [
      ...['0000000A', '00000003-00000003', '0000003', '000000030', '00000003/', 'sub/00000003', 's3backer-mounted2'],
      ...['\u001b[2J\u001b[31mboo', 'a\nb', '../../etc/passwd', 'x'.repeat(900), '%00', '\uffff', '__proto__'],
    ];
    for (const name of hostile) await one.bench.store.inner.put(PREFIX + name, Buffer.from('?'));
    await one.bench.store.inner.put(`${PREFIX}bucketdisk-of-a-later-version`, Buffer.from('{}'));
    await one.bench.store.inner.put('volume-next-door/00000001', Buffer.from('?'));
    await one.bench.store.inner.put(blockKey(64), blockOf(64));
    await one.bench.store.inner.put(blockKey(0xffffffff), blockOf(1));
    const report = await scan(one, volume, REPAIR);
    assert.deepEqual([report.counts.foreign, report.counts.orphaned, report.damageLeft], [hostile.length, 2, 0]);
    assert.deepEqual(
      report.findings
        .filter(({ kind }) => kind === 'foreign')
        .map(({ key }) => key)
        .sort(),
      hostile.map((name) => PREFIX + name).sort(),
    );
    assert.ok(report.findings.every(({ repair, damage }) => repair === 'none' && !damage));
    for (const name of hostile) assert.notEqual(await one.bench.store.inner.head(PREFIX + name), null);
    assert.notEqual(await one.bench.store.inner.head(blockKey(64)), null);
  });

  test('are counted, however many there are, and the first thousand are told', async () => {
    const { one, volume } = await filled();
    for (let number = 0; number < 2500; number++) await one.bench.store.inner.put(`${PREFIX}x${number}`, Buffer.of(1));
    const report = await scan(one, volume, SHALLOW);
    assert.equal(report.counts.foreign, 2500);
    assert.equal(report.findings.length, 1000);
  });
});

describe('damage on the local disk', () => {
  test('cached pages that have rotted are dropped and fetched again', async () => {
    const { one, volume } = await filled();
    const path = `${CACHE_DIRECTORY}/lines`;
    const { sizeBytes = 0 } = one.disk.files.find((file) => file.path === path) ?? {};
    assert.ok(sizeBytes > 0, one.disk.files.map((file) => file.path).join(' '));
    // Wherever the pages of the line lie: 8 of them are there.
    for (let at = 100; at < sizeBytes; at += BLOCK) {
      try {
        one.disk.flipBit(path, at);
      } catch {}
    }
    const report = await scan(one, volume, DEEP);
    assert.equal(report.counts['cache-rotten'], 8);
    assert.equal(report.damageLeft, 0);
    for (let block = 1; block <= 8; block++) assert.deepEqual(await read(one, volume, block), blockOf(block));
    assert.deepEqual((await scan(one, volume, DEEP)).findings, []);
  });

  test('writes that are not uploaded and have rotted are named by their bytes', async () => {
    const one = machine();
    const volume = await one.open();
    for (let block = 1; block <= 8; block++) await write(one, volume, block, blockOf(block));
    const log = one.disk.files.filter(({ path }) => path.includes('/log/') && !path.endsWith('head'));
    assert.deepEqual((await scan(one, volume, SHALLOW)).findings, []);
    kill(one);
    const again = await one.open();
    assert.equal((await scan(one, again, SHALLOW)).checked.logBytes, 8 * BLOCK);
    for (const { path, sizeBytes } of log) {
      const file = one.disk.open(path);
      const bytes = Buffer.alloc(sizeBytes);
      file.readSync(bytes, 0);
      file.close();
      const at = bytes.indexOf(blockOf(5));
      if (at >= 0) one.disk.flipBit(path, at + 100);
    }
    const finding = only(await scan(one, again, REPAIR), 'log-damaged');
    assert.deepEqual([finding.offset, finding.length, finding.repair], [5 * BLOCK, BLOCK, 'none']);
    // Writing it again is what ends that.
    await write(one, again, 5, blockOf(55));
    assert.deepEqual((await scan(one, again, SHALLOW)).findings, []);
  });
});

describe('a share of the blocks at a time', () => {
  test('goes round and round, and is remembered', async () => {
    const { one, volume } = await filled();
    const reads = new Map<string, number>();
    one.bench.store.before = ({ kind, keys: [key = ''] }) => {
      if (kind === 'get' && /[0-9a-f]{8}$/.test(key)) reads.set(key, (reads.get(key) ?? 0) + 1);
    };
    const third = { ...DEEP, share: 0.34 };
    const rotations: unknown[] = [];
    for (let run = 0; run < 8; run++) {
      // Anew each time, as after a restart.
      const state = new ScanState(one.disk, '/cache/volumes/scans', 'vol', 'id', one.bench.log);
      const { rotation } = await scan(one, volume, third, { state });
      rotations.push([rotation?.round, rotation?.checkedBlocks]);
    }
    assert.deepEqual(rotations, [
      [1, 3],
      [1, 6],
      [2, 1],
      [2, 4],
      [2, 7],
      [3, 2],
      [3, 5],
      [3, 8],
    ]);
    assert.deepEqual([...reads.values()], Array(8).fill(3));
    const other = new ScanState(one.disk, '/cache/volumes/scans', 'vol', 'another', one.bench.log);
    assert.equal(other.rotation.round, 1);
  });

  test('that is cancelled goes on where it was', async () => {
    const { one, volume } = await filled();
    const state = new ScanState(one.disk, '/cache/volumes/scans', 'vol', 'id', one.bench.log);
    const stop = new AbortController();
    let reads = 0;
    one.bench.store.before = ({ kind }) => {
      if (kind === 'get' && ++reads === 4) stop.abort();
    };
    await assert.rejects(scan(one, volume, DEEP, { state, signal: stop.signal }), { code: 'CANCELLED' });
    assert.equal(state.rotation.checkedBlocks, 3);
    const report = await scan(one, volume, { ...DEEP, share: 0.5 }, { state });
    assert.deepEqual([report.rotation?.round, report.rotation?.checkedBlocks], [1, 7]);
  });

  test('is no faster than it may be, and waits for those who are in a hurry', async () => {
    const { one, volume } = await filled();
    const { clock } = one.bench;
    const startMs = clock.now();
    const report = await scan(one, volume, { ...DEEP, rateBytes: BLOCK });
    const seconds = (report.checked.deepBytes + report.checked.cachedBytes) / BLOCK;
    assert.ok(clock.now() - startMs >= (seconds - 3) * 1000, `${clock.now() - startMs} ms`);
    const busyMs = clock.now();
    await scan(one, volume, DEEP, { isBusy: () => true });
    assert.ok(clock.now() - busyMs >= 8 * 2000, 'a step a while, and yet to its end');
  });
});

describe('another writer', () => {
  /** Another has the volume, and has trimmed block 3; we cannot ask whose it is before `answer`. */
  async function overtaken() {
    const { one, volume } = await filled();
    const { store, clock } = one.bench;
    const answered = Promise.withResolvers<void>();
    store.before = ({ keys: [key] }) => (key === LEASE || key === TOKEN ? answered.promise : undefined);
    const other = machine({ bucket: store.inner, clock, instance: 'other' });
    const taken = await other.open({}, { takeOver: true });
    await clock.run(Promise.resolve(taken.device.trim(3 * BLOCK, BLOCK, { fua: false })));
    await upload(other, taken);
    assert.equal(await stored(other, 3), null);
    assert.equal(volume.lost, null);
    return { one, volume, answer: answered.resolve, end: () => finish(other, taken) };
  }

  for (const options of [SHALLOW, REPAIR]) {
    test(`that has the volume does no damage${options.repair ? ', and nothing of it is repaired' : ''}`, async () => {
      const { one, volume, answer, end } = await overtaken();
      const scanning = assert.rejects(scan(one, volume, options), { code: 'FENCED' });
      await one.bench.clock.advance(5000);
      assert.equal(volume.cached?.status().dirtyBytes, 0);
      answer();
      await scanning;
      assert.equal(volume.cached?.status().dirtyBytes, 0);
      await end();
    });
  }

  test('whom nobody knows of yet keeps no scan from being cancelled', async () => {
    const { one, volume, answer, end } = await overtaken();
    const cancel = new AbortController();
    const scanning = assert.rejects(scan(one, volume, SHALLOW, { signal: cancel.signal }), { code: 'CANCELLED' });
    await one.bench.clock.advance(5000);
    cancel.abort();
    await scanning;
    answer();
    await end();
  });
});

test('whoever does not hold the volume only reads, and compares with nothing', async () => {
  const { one } = await filled();
  await one.bench.store.inner.delete([blockKey(3)]);
  await tamper(one, 4, (body) => body.subarray(0, 100));
  await one.bench.store.inner.put(`${PREFIX}foreign`, Buffer.of(1));
  const writesBefore = one.bench.store.writes.length;
  const reader = bench({ bucket: one.bench.store.inner, clock: one.bench.clock, instance: 'reader' });
  const alone = await one.bench.clock.run(reader.open({ readOnly: true, survey: true }, { create: null }));
  const report = await scan(one, alone, DEEP, { by: 'alone' });
  assert.deepEqual(found(report), ['wrong-size none', 'foreign none']);
  await assert.rejects(scan(one, alone, REPAIR), { code: 'READ_ONLY' });
  assert.equal(reader.store.writes.length, 0);
  assert.equal(one.bench.store.writes.length, writesBefore);
});

test('while it is written to, in every way and for long, nothing is taken for damage, and repairs harm nothing', async () => {
  for (let seed = 1; seed <= 3; seed++) {
    const random = new Random(seed);
    const one = machine({ seed, latencyMs: () => random.below(4) });
    const { clock, store } = one.bench;
    const compress = random.pick(['none', 'zstd'] as const);
    const volume = await one.open(
      { compress, sizeBytes: 256 * BLOCK },
      { cache: { triggers: { ageMs: 30, dirtyBytesMax: 16 * BLOCK }, cacheSizeBytes: 512 * 1024 } },
    );
    store.before = () => clock.sleep(1 + random.below(20));
    store.after = () => clock.sleep(1 + random.below(20));
    const expected = new Map<number, Buffer>();
    let writing = true;
    const writer = async (): Promise<void> => {
      for (let step = 0; step < 250; step++) {
        const block = random.below(256);
        const data = random.below(4) === 0 ? Buffer.alloc(BLOCK) : blockOf(random.below(1000));
        expected.set(block, data);
        if (data[0] === 0) await volume.device.trim(block * BLOCK, BLOCK, { fua: false });
        else await volume.device.write(block * BLOCK, data, { fua: false });
        if (random.below(8) === 0) await volume.device.flush();
        await clock.sleep(1 + random.below(10));
      }
      writing = false;
    };
    const scanner = async (): Promise<number> => {
      let scans = 0;
      for (; writing; scans++) {
        const report = await beginScan(one, volume, random.pick([SHALLOW, DEEP, REPAIR]));
        assert.deepEqual(report.findings, [], `seed ${seed}`);
      }
      return scans;
    };
    const [, scans] = await clock.run(Promise.all([writer(), scanner()]), 1e8);
    assert.ok(scans > 2, `${scans} scans`);
    store.before = () => {};
    store.after = () => {};
    await clock.run(Promise.resolve(volume.cached?.uploadAll(new AbortController().signal)));
    for (const [block, data] of expected) assert.deepEqual(await read(one, volume, block), data, `block ${block}`);
    assert.deepEqual((await scan(one, volume, DEEP)).findings, []);
    await finish(one, volume);
  }
});

test('a block that is damaged and written to at the same time ends with what was written', async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = new Random(seed);
    const { one, volume } = await filled();
    const { clock, store } = one.bench;
    await tamper(one, 3, () => blockOf(99));
    store.before = () => clock.sleep(1 + random.below(20));
    store.after = () => clock.sleep(1 + random.below(20));
    const repairing = beginScan(one, volume, REPAIR);
    let last = blockOf(3);
    const writing = (async () => {
      for (let step = 0; step < 10; step++) {
        await clock.sleep(1 + random.below(40));
        last = blockOf(100 + step);
        await volume.device.write(3 * BLOCK, last, { fua: false });
        if (random.below(2) === 0) await volume.device.flush();
      }
    })();
    await clock.run(Promise.all([repairing, writing]), 1e8);
    store.before = () => {};
    store.after = () => {};
    await clock.run(Promise.resolve(volume.cached?.uploadAll(new AbortController().signal)));
    assert.deepEqual(await read(one, volume, 3), last, `seed ${seed}`);
    assert.deepEqual(await stored(one, 3), last, `seed ${seed}`);
    const [kept = ''] = await keysBelow(one, `${PREFIX}bucketdisk-quarantine/`);
    if (kept !== '') assert.deepEqual((await store.inner.get(kept))?.body, blockOf(99));
    await finish(one, volume);
  }
});
