/** `bucketdisk bench`, as a process: its figures, and what is left of it after an interrupt: nothing. */
import assert from 'node:assert/strict';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { BenchOutcome } from '../../src/cli/actions.ts';
import { tempDir } from '../support/temp.ts';
import { keysOf, s3Bucket } from './support/buckets.ts';
import { CommandLine } from './support/command-line.ts';

const TIMEOUT_MS = 240_000;

async function set(t: TestContext) {
  const dir = await tempDir(t, 'bench');
  await mkdir(join(dir, 'cache'));
  const bucket = await s3Bucket(t);
  const store = { ...bucket.section, url: `${bucket.url}/some/prefix` };
  return { dir, bucket, command: new CommandLine(dir, { store, volumes: { media: { size: '64MiB' } } }) };
}

it('measures a bucket in S3 and a disk, and says what that means', { timeout: TIMEOUT_MS }, async (t) => {
  const { dir, bucket, command } = await set(t);
  const { code, stdout, stderr } = await command.run(['bench', '--seconds', '4', '--json']);
  assert.equal(code, 0, stderr);
  const { store, cache, advice } = JSON.parse(stdout) as BenchOutcome;
  assert.equal(store?.figures.length, 18);
  assert.ok(store.figures.every(({ operations, bytesPerSecond }) => operations > 0 && bytesPerSecond > 0));
  assert.ok((cache?.sync.operations ?? 0) > 0);
  assert.ok(advice.some((line) => line.startsWith('blockSize')));
  assert.ok(bucket.server.requests.some(({ key }) => key?.startsWith('some/prefix/bucketdisk-bench-')));
  assert.deepEqual(await keysOf(bucket.store), []);
  assert.deepEqual(await readdir(join(dir, 'cache')), []);
});

it('leaves nothing in the bucket when it is interrupted', { timeout: TIMEOUT_MS }, async (t) => {
  const { bucket, command } = await set(t);
  const running = await command.start(t, ['bench', '--store', '--seconds', '300']);
  while ((await keysOf(bucket.store)).length < 2) await delay(20);
  const { code } = await running.stop('SIGINT', 60_000);
  assert.equal(code, 130);
  assert.deepEqual(await keysOf(bucket.store), []);
});
