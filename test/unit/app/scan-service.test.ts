/** The scans of an appliance: one at a time, told of while they run, ended when nobody cares, and the job over all volumes. */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { describe, test } from 'node:test';
import { StorageError } from '../../../src/lib/errors.ts';
import type { ScanReport } from '../../../src/scan/scan-report.ts';
import { ScanService } from '../../../src/scan-service.ts';
import type { Volume } from '../../../src/volume/volume.ts';
import { blockKey, type Machine, machine, upload, write } from '../cache/volume/fixtures.ts';
import { blockOf, never } from '../volume/fixtures.ts';

const HOW = { deep: true, share: 1, repair: false, rateBytes: null };

interface Answer {
  readonly id: string;
  readonly report: ScanReport | null;
}

async function serving(): Promise<{ one: Machine; volume: Volume; scans: ScanService }> {
  const one = machine();
  const volume = await one.open();
  for (let block = 1; block <= 4; block++) await write(one, volume, block, blockOf(block));
  await upload(one, volume);
  const scans = new ScanService({
    ...{ settings: { share: 0.5, rateBytes: null }, disk: one.disk, directory: '/cache/volumes' },
    volumeOf: (name) => {
      if (name === 'vol') return volume;
      throw new StorageError('NOT_FOUND', 'no such volume');
    },
    ...{
      volumes: () => [volume],
      isBusy: () => false,
      mounted: () => null,
      clock: one.bench.clock,
      log: one.bench.log,
    },
  });
  return { one, volume, scans };
}

async function post(one: Machine, scans: ScanService, path: string, body: object): Promise<Answer> {
  const handler = scans.routes[`POST ${path}`];
  assert.ok(handler);
  return one.bench.clock.run(
    handler(body as Readonly<Record<string, unknown>>, new AbortController().signal),
  ) as Promise<Answer>;
}

const events = ({ bench }: Machine): unknown[] =>
  bench.log.lines.map(({ fields }) => fields.event).filter((event) => event !== undefined);

describe('ScanService', () => {
  test('answers with the report, and tells of damage and of the end once each', async () => {
    const { one, scans } = await serving();
    const sound = await post(one, scans, '/v1/scan', { name: 'vol', ...HOW });
    assert.equal(sound.report?.damageLeft, 0);
    await one.bench.store.inner.delete([blockKey(2)]);
    const damaged = await post(one, scans, '/v1/scan', { name: 'vol', ...HOW });
    assert.equal(damaged.report?.damageLeft, 1);
    assert.deepEqual(events(one), ['scan-done', 'damage-found', 'scan-done']);
  });

  test('tells how far a long one has come, and refuses another meanwhile', async () => {
    const { one, scans } = await serving();
    const gate = Promise.withResolvers<void>();
    one.bench.store.before = ({ kind }) => (kind === 'get' ? gate.promise : undefined);
    const { id, report } = await post(one, scans, '/v1/scan', { name: 'vol', ...HOW });
    assert.equal(report, null);
    await assert.rejects(post(one, scans, '/v1/scan', { name: 'vol', ...HOW }), { code: 'CONFLICT' });
    await assert.rejects(post(one, scans, '/v1/scan', { name: 'vol', id: 'another', ...HOW }), { code: 'NOT_FOUND' });
    gate.resolve();
    assert.equal((await post(one, scans, '/v1/scan', { name: 'vol', id, ...HOW })).report?.checked.deepBlocks, 4);
  });

  test('ends one that is cancelled, or that nobody asks about any more, and others can follow', async () => {
    const { one, scans } = await serving();
    // Of blocks alone: the lease is renewed meanwhile.
    one.bench.store.before = ({ kind, keys: [key = ''] }) =>
      kind === 'get' && /[0-9a-f]{8}$/.test(key) ? new Promise<void>(() => {}) : undefined;
    const first = await post(one, scans, '/v1/scan', { name: 'vol', ...HOW });
    await post(one, scans, '/v1/scan/cancel', { name: 'vol', id: first.id });
    await assert.rejects(post(one, scans, '/v1/scan', { name: 'vol', id: first.id, ...HOW }), { code: 'CANCELLED' });
    const second = await post(one, scans, '/v1/scan', { name: 'vol', ...HOW });
    await one.bench.clock.advance(130_000);
    await assert.rejects(post(one, scans, '/v1/scan', { name: 'vol', id: second.id, ...HOW }), { code: 'CANCELLED' });
    one.bench.store.before = () => {};
    assert.equal((await post(one, scans, '/v1/scan', { name: 'vol', ...HOW })).report?.damageLeft, 0);
  });

  test('refuses what makes no sense', async () => {
    const { one, scans } = await serving();
    for (const wrong of [{ share: 0 }, { share: 2 }, { deep: 'yes' }, { rateBytes: 1 }, { repair: null }]) {
      await assert.rejects(post(one, scans, '/v1/scan', { name: 'vol', ...HOW, ...wrong }), { code: 'INVALID' });
    }
    await assert.rejects(post(one, scans, '/v1/scan', { name: 'other', ...HOW }), { code: 'NOT_FOUND' });
  });

  test('as a job reads a share of every volume, and fails where there is damage', async () => {
    const { one, scans } = await serving();
    const { signal } = new AbortController();
    assert.equal(await one.bench.clock.run(scans.scanAll(signal)), '4 blocks listed, 2 of them read; no damage');
    assert.deepEqual(getEventListeners(signal, 'abort'), [], 'what outlives the scans does not keep them');
    await one.bench.store.inner.delete([blockKey(2)]);
    await assert.rejects(one.bench.clock.run(scans.scanAll(never)), { code: 'CORRUPT', message: /vol \(1\)/ });
  });

  test('as a job begins with no further volume once it is to end', async () => {
    const { one, scans } = await serving();
    await assert.rejects(one.bench.clock.run(scans.scanAll(AbortSignal.abort())), { code: 'CANCELLED' });
    assert.deepEqual(events(one), []);
  });

  test('ends with the appliance', async () => {
    const { one, scans } = await serving();
    one.bench.store.before = ({ kind }) => (kind === 'get' ? new Promise<void>(() => {}) : undefined);
    await post(one, scans, '/v1/scan', { name: 'vol', ...HOW });
    await one.bench.clock.run(scans.stop());
    await assert.rejects(post(one, scans, '/v1/scan', { name: 'vol', ...HOW }), { code: 'CANCELLED' });
  });
});
