/**
 * An appliance with a cache that stands still: for less than its lease, for longer while nobody else comes, and for longer
 * while another takes the volume. What it had not uploaded is saved by `cache export` then. FROZEN_SEED repeats a run.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Command } from '../../src/nbd/constants.ts';
import { RawClient } from '../conformance/nbd/raw-client.ts';
import type { Appliance } from '../support/appliance.ts';
import { CommandLine } from './support/command-line.ts';
import { DiskRig, type DiskVariant } from './support/disk-rig.ts';
import { readExport } from './support/unsaved-export.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const SEED = Number(process.env.FROZEN_SEED ?? Date.now() % 1_000_000);
const ROUNDS = Number(process.env.FROZEN_ROUNDS ?? 1);
const PAGE_BYTES = 4096;
const LEASE_MS = 3000;
const TIMEOUT_MS = 120_000 + ROUNDS * 60_000;
const VARIANT: DiskVariant = { name: '', on: 's3', blockBytes: 64 * KIB, diskBytes: 8 * MIB, cache: {} };
const SETTINGS = { lease: { duration: `${LEASE_MS}ms` }, upload: { age: '300ms', dirty: '1MiB' } };

async function rigOf(t: TestContext, seed: number, settings = SETTINGS): Promise<DiskRig> {
  t.diagnostic(`FROZEN_SEED=${SEED}`);
  return DiskRig.make(t, VARIANT, SEED * 100 + seed, settings);
}

describe('an appliance with a cache that stands still', () => {
  it('for a while, shorter or longer than its lease, goes on where it was', { timeout: TIMEOUT_MS }, async (t) => {
    const rig = await rigOf(t, 1);
    const appliance = await rig.start();
    for (const ms of [LEASE_MS / 3, LEASE_MS + 1500]) {
      await rig.startLoad(appliance);
      await delay(rig.random.int(200, 800));
      appliance.process.signal('SIGSTOP');
      await delay(ms);
      appliance.process.signal('SIGCONT');
      const before = rig.answered;
      while (rig.answered < before + 200) await delay(20);
      assert.deepEqual(rig.errors, []);
      await rig.stopLoad();
      await rig.verify(appliance);
    }
    assert.equal((await appliance.stop()).code, 0);
    const other = await rig.startOther();
    await rig.verify(other);
    assert.equal((await other.stop()).code, 0);
  });

  it('until another has taken the volume ends with FENCED, and its writes can be saved', {
    timeout: TIMEOUT_MS,
  }, async (t) => {
    for (let round = 0; round < ROUNDS; round++) {
      const rig = await rigOf(t, 10 + round);
      // A block that cannot be stored is not read before that is given up for a while.
      rig.settings = { ...rig.settings, store: { ...rig.store, retryDeadline: '1s' } };
      const { server } = rig;
      assert.ok(server !== null);
      const first = await rig.start();
      await rig.startLoad(first);
      await delay(rig.random.int(200, 800));
      await rig.stopLoad();
      await first.flush('disk');
      // All of it is here: what is not in the cache could not be read past the block that cannot be stored.
      const commandLine = new CommandLine(rig.dir, rig.config);
      assert.equal((await commandLine.run(['warm', 'disk'])).code, 0);
      // From here on nothing of it reaches the bucket.
      const release = rig.holdBlocksBack();
      await rig.startLoad(first);
      await delay(rig.random.int(200, 600));
      await rig.stopLoad();
      await rig.verify(first);
      const before = await readDisk(rig, first);
      assert.ok(((await rig.status(first)).cache?.dirtyBytes ?? 0) > 0);
      first.process.signal('SIGSTOP');
      await delay(LEASE_MS / 4);
      release();

      const second = await rig.startOther();
      const theirs = await readDisk(rig, second);
      server.clearRequests();
      first.process.signal('SIGCONT');
      const { code, stderr } = await first.exited;
      assert.equal(code, 11, stderr.slice(-2000));
      assert.match(stderr, /"event":"lease-lost"/);
      assert.equal(firstDifference(await readDisk(rig, second), theirs), -1, 'it has written nothing more');
      assert.equal((await second.stop()).code, 0);

      // Its cache is refused, again and again, with the way out; and that is a way out.
      for (let attempt = 0; attempt < 2; attempt++) {
        const refused = await commandLine.run(['serve']);
        assert.equal(refused.code, 1, refused.stderr);
        assert.match(refused.stderr, /another writer since.*cache export.*cache drop/s);
      }
      const file = join(rig.dir, 'saved');
      const saved = await commandLine.run(['cache', 'export', 'disk', file]);
      assert.equal(saved.code, 0, saved.stderr);
      const rebuilt = Buffer.from(theirs);
      await readExport(file, rebuilt);
      assert.equal(firstDifference(rebuilt, before), -1, 'what the bucket had, and what was saved, is the whole disk');
      const { damagedPages } = JSON.parse(await readFile(`${file}.map.json`, 'utf8')) as { damagedPages: unknown[] };
      assert.deepEqual(damagedPages, []);
      assert.equal((await commandLine.run(['cache', 'drop', 'disk'])).code, 2);
      assert.equal((await commandLine.run(['cache', 'drop', 'disk', '--force'])).code, 0);
      const again = await rig.start();
      assert.equal(firstDifference(await readDisk(rig, again), theirs), -1);
      assert.equal((await again.stop()).code, 0);
    }
  });

  // Its own disk takes what it is asked until it knows, as DURABILITY.md says; but none of it may reach the bucket.
  it('until another has taken the volume does not mix what it is asked then with the other', {
    timeout: TIMEOUT_MS,
  }, async (t) => {
    const rig = await rigOf(t, 50);
    const first = await rig.start();
    await rig.startLoad(first);
    await delay(400);
    await rig.stopLoad();
    await first.flush('disk');
    const client = await RawClient.attach({ path: first.socket }, { name: 'disk', framing: 'simple' });
    first.process.signal('SIGSTOP');
    // They wait in its socket, and are the first that it sees when it is thawed.
    const payload = Buffer.alloc(PAGE_BYTES, 0xa5);
    client.send({ type: Command.WRITE, cookie: 1n, offset: 5 * PAGE_BYTES, payload });
    client.send({ type: Command.FLUSH, cookie: 2n, length: 0 });
    const second = await rig.startOther();
    await rig.verify(second);
    await rig.startLoad(second, 2);
    await delay(300);
    first.process.signal('SIGCONT');
    const { code, stderr } = await first.exited;
    assert.equal(code, 11, stderr.slice(-2000));
    const flushed = await isAnswered(client, 2n);
    await rig.stopLoad();
    await rig.verify(second);
    assert.equal((await second.stop()).code, 0);

    const file = join(rig.dir, 'saved');
    const saved = await new CommandLine(rig.dir, rig.config).run(['cache', 'export', 'disk', file]);
    assert.equal(saved.code, 0, saved.stderr);
    const found = Buffer.alloc(VARIANT.diskBytes);
    await readExport(file, found);
    const kept = found.subarray(5 * PAGE_BYTES, 6 * PAGE_BYTES).equals(payload);
    t.diagnostic(`a flush sent while it stood still was ${flushed ? 'answered' : 'refused'}`);
    assert.ok(kept || !flushed, 'what was flushed can be saved');
  });
});

/** Whether the request was answered without an error before the connection ended. */
async function isAnswered(client: RawClient, cookie: bigint): Promise<boolean> {
  try {
    for (;;) {
      const reply = await client.reply();
      if (reply.cookie === cookie) return reply.errno === 0;
    }
  } catch {
    return false;
  } finally {
    client.close();
  }
}

async function readDisk({ variant }: DiskRig, { socket }: Appliance): Promise<Buffer> {
  const client = await RawClient.attach({ path: socket }, { name: 'disk', framing: 'simple' });
  try {
    const { errno, data } = await client.request({ type: Command.READ, offset: 0, length: variant.diskBytes });
    assert.equal(errno, 0);
    return data;
  } finally {
    client.close();
  }
}

/** -1 where there is none. */
function firstDifference(one: Buffer, other: Buffer): number {
  for (let at = 0; at < one.length; at += 4096) {
    if (!one.subarray(at, at + 4096).equals(other.subarray(at, at + 4096))) return at;
  }
  return -1;
}
