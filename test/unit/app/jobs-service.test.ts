/** What the jobs do, and how they are asked for over the control socket. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { loadSettings } from '../../../src/config/load-settings.ts';
import { JobsService, type JobsServiceOptions } from '../../../src/jobs-service.ts';
import { StorageError } from '../../../src/lib/errors.ts';
import type { JobRun } from '../../../src/schedule/job.ts';
import type { Volume } from '../../../src/volume/volume.ts';
import { blockKey, finish, leave, type Machine, machine, stored, write } from '../cache/volume/fixtures.ts';
import { blockOf } from '../volume/fixtures.ts';

function service(one: Machine, volumes: readonly Volume[], others: Partial<JobsServiceOptions> = {}): JobsService {
  const { settings } = loadSettings({
    ...{ defaultsFile: null, files: [], env: {}, cwd: '/' },
    set: ['cache.dir=/cache', 'volumes.media.size=1GiB'],
  });
  return new JobsService({
    ...{ settings, disk: one.disk, directory: '/cache', volumes: () => volumes, clock: one.bench.clock },
    ...{ scan: async () => 'no damage', report: () => 'all is well', log: one.bench.log },
    ...others,
  });
}

async function run(one: Machine, jobs: JobsService, name: string): Promise<JobRun> {
  const { id, run: ended } = (await one.bench.clock.run(ask(jobs, { name }))) as { id: string; run: JobRun | null };
  if (ended !== null) return ended;
  return one.bench.clock.run(Promise.resolve(jobs.schedule.find(id) as Promise<JobRun>));
}

function ask(jobs: JobsService, body: Readonly<Record<string, unknown>>): Promise<object> {
  const handler = jobs.routes['POST /v1/jobs/run'];
  assert.ok(handler);
  return handler(body, new AbortController().signal);
}

describe('the job flush', () => {
  test('uploads everything, and says how much', async () => {
    const one = machine();
    const volume = await one.open();
    await write(one, volume, 3, blockOf(3));
    const jobs = service(one, [volume]);
    assert.equal((await run(one, jobs, 'flush')).detail, 'uploaded 4 KiB');
    assert.deepEqual(await stored(one, 3), blockOf(3));
    assert.equal((await run(one, jobs, 'flush')).detail, 'everything was in the bucket');
    await finish(one, volume);
  });

  test('that takes long is told of as running, and is waited for by its id', async () => {
    const one = machine();
    const volume = await one.open();
    await write(one, volume, 3, blockOf(3));
    const gate = Promise.withResolvers<void>();
    one.bench.store.before = ({ kind, keys }) => (kind === 'put' && keys[0] === blockKey(3) ? gate.promise : undefined);
    const jobs = service(one, [volume]);
    const first = (await one.bench.clock.run(ask(jobs, { name: 'flush' }))) as { id: string; run: JobRun | null };
    assert.equal(first.run, null);
    const again = (await one.bench.clock.run(ask(jobs, { name: 'flush', id: first.id }))) as { run: JobRun | null };
    assert.equal(again.run, null);
    gate.resolve();
    const last = (await one.bench.clock.run(ask(jobs, { name: 'flush', id: first.id }))) as { run: JobRun | null };
    assert.equal(last.run?.result, 'ok');
    await assert.rejects(ask(jobs, { name: 'flush', id: 'another' }), { code: 'NOT_FOUND' });
    await assert.rejects(ask(jobs, { name: 'erase' }), { code: 'NOT_FOUND' });
    await assert.rejects(ask(jobs, { name: 7 }), { code: 'INVALID' });
    await finish(one, volume);
  });
});

test('the job scan fails with what it found', async () => {
  const one = machine();
  const damaged = (): Promise<string> => Promise.reject(new StorageError('CORRUPT', 'damage in media (2)'));
  const jobs = service(one, [], { scan: damaged });
  const { result, code, detail } = await run(one, jobs, 'scan');
  assert.deepEqual([result, code, detail], ['failed', 'CORRUPT', 'damage in media (2)']);
});

test('the job report is an event', async () => {
  const one = machine();
  await run(one, service(one, []), 'report');
  const line = one.bench.log.lines.find(({ fields }) => fields.event === 'report');
  assert.equal(line?.message, 'all is well');
});

describe('the job cache-trim', () => {
  test('deletes the cache of a volume that is not configured any more, once the bucket has all of it', async () => {
    const one = machine();
    const volume = await one.open();
    await write(one, volume, 3, blockOf(3));
    await leave(one, volume);
    const jobs = service(one, []);
    assert.equal(
      (await run(one, jobs, 'cache-trim')).detail,
      'nothing to delete; kept, with writes that are in no bucket: vol',
    );
    const again = await one.open();
    await finish(one, again);
    assert.deepEqual(await stored(one, 3), blockOf(3));
    assert.equal((await run(one, jobs, 'cache-trim')).detail, 'deleted the caches of vol');
    assert.equal(one.disk.exists('/cache/volumes/vol/volume.json'), false);
    assert.equal((await run(one, jobs, 'cache-trim')).detail, 'nothing to delete');
  });

  test('leaves those that are configured, and whatever else is there', async () => {
    const one = machine();
    const volume = await one.open({}, { cache: { directory: '/cache/volumes/media' } });
    await write(one, volume, 3, blockOf(3));
    await finish(one, volume);
    one.disk.makeDirectory('/cache/volumes/something-else');
    assert.equal((await run(one, service(one, []), 'cache-trim')).detail, 'nothing to delete');
    assert.equal(one.disk.exists('/cache/volumes/media/volume.json'), true);
    assert.equal(one.disk.exists('/cache/volumes/something-else'), true);
  });
});
