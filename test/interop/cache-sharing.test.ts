/**
 * Whose cache it is, in the real process: two processes and two containers on one directory, the cache of another volume, one
 * that another appliance has overtaken, other sizes, and a directory that has moved. None of it costs what was not uploaded.
 */
import assert from 'node:assert/strict';
import { cp, mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startAppliance } from '../support/appliance.ts';
import { type CommandResult, runCommand } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { findProgram, requireFacilities } from '../support/tools.ts';
import { CommandLine } from './support/command-line.ts';
import { DiskRig, type DiskVariant, type Section } from './support/disk-rig.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const SEED = Number(process.env.SHARING_SEED ?? Date.now() % 1_000_000);
const TIMEOUT_MS = 280_000;
const LONG = process.env.SHARING_SEED === undefined ? 'only where SHARING_SEED is set' : false;
const EXIT_DIRTY = 13;
const WAYS_OUT = /cache export.*cache drop/s;
const VARIANT: DiskVariant = { name: '', on: 's3', blockBytes: 64 * KIB, diskBytes: 8 * MIB, cache: {} };
const SETTINGS: Section = {
  lease: { duration: '3s' },
  upload: { age: '1h', dirty: '256MiB' },
  shutdown: { drain: '1s' },
};

async function rigOf(t: TestContext, seed: number): Promise<DiskRig> {
  t.diagnostic(`SHARING_SEED=${SEED}`);
  return DiskRig.make(t, VARIANT, SEED * 100 + seed, SETTINGS);
}

/** Leaves a cache with writes that are in no bucket. Returns how to let uploads through again. */
async function leaveDirty(rig: DiskRig, how: 'stopped' | 'killed' = 'stopped'): Promise<() => void> {
  const appliance = await rig.start();
  await rig.loadFor(appliance, 300);
  await appliance.flush('disk');
  const release = rig.holdBlocksBack();
  await rig.loadFor(appliance, 300);
  await rig.verify(appliance);
  if (how === 'killed') await rig.kill(appliance);
  else assert.equal((await appliance.stop()).code, EXIT_DIRTY);
  return release;
}

function serve(rig: DiskRig, args: readonly string[] = []): Promise<CommandResult> {
  return new CommandLine(rig.dir, rig.config).run(['serve', ...args]);
}

/** Starts where the cache is, finds everything, and brings it all to the bucket. */
async function assertGoesOn(rig: DiskRig, release: () => void): Promise<void> {
  const appliance = await rig.start();
  await rig.verify(appliance);
  release();
  await appliance.flush('disk');
  await rig.verify(appliance);
  await rig.finish(appliance);
}

describe('one directory, several appliances', () => {
  it('a second process is refused while the first runs, and the first does not notice', {
    timeout: TIMEOUT_MS,
  }, async (t) => {
    const rig = await rigOf(t, 1);
    const appliance = await rig.start();
    await rig.startLoad(appliance);
    for (const words of [
      ['serve'],
      ['cache', 'drop', 'disk', '--force'],
      ['cache', 'export', 'disk', join(rig.dir, 'x')],
    ]) {
      const { code, stderr } = await new CommandLine(rig.dir, rig.config).run(words);
      assert.equal(code, 11, `${words.join(' ')}: ${stderr}`);
      assert.match(stderr, /another bucketdisk|is being served|runs with the directory/);
    }
    assert.deepEqual(rig.errors, []);
    await rig.stopLoad();
    await rig.verify(appliance);
    await rig.kill(appliance);
    await assertGoesOn(rig, () => {});
  });

  it('a second container is refused, too', { timeout: TIMEOUT_MS }, async (t) => {
    if (!requireFacilities(t, ['root'])) return;
    if (findProgram('unshare') === null) return t.skip('needs unshare');
    const rig = await rigOf(t, 2);
    const appliance = await rig.start();
    await rig.startLoad(appliance);
    // Processes, mounts, names and sockets of its own, as a container has; the directory is shared.
    const inside = ['--pid', '--fork', '--mount', '--uts', '--ipc', '--mount-proc', '--'];
    const args = [...inside, process.execPath, MAIN, 'serve', '--config', appliance.configFile];
    const { code, stderr } = await runCommand('unshare', args, { cwd: rig.dir, okCodes: null });
    assert.equal(code, 11, stderr);
    assert.match(stderr, /another bucketdisk/);
    await rig.stopLoad();
    await rig.verify(appliance);
    await appliance.flush('disk');
    assert.equal((await appliance.stop()).code, 0);
  });

  it('a copy of the directory is not taken for the same appliance', { timeout: TIMEOUT_MS }, async (t) => {
    const rig = await rigOf(t, 3);
    const appliance = await rig.start();
    await rig.loadFor(appliance, 300);
    const copy = await tempDir(t, 'copy');
    await cp(join(rig.dir, 'cache'), join(copy, 'cache'), {
      recursive: true,
      filter: (path) => !path.endsWith('.sock'),
    });
    const { code, stderr } = await new CommandLine(copy, { ...rig.config, lease: { duration: '3s' } }).run(['serve']);
    assert.equal(code, 11, stderr);
    assert.match(stderr, /is held by/);
    await rig.verify(appliance);
    await appliance.flush('disk');
    assert.equal((await appliance.stop()).code, 0);
  });
});

describe('a cache of something else', () => {
  it('of another volume, with writes: refused with the way out, which works', { timeout: TIMEOUT_MS }, async (t) => {
    const rig = await rigOf(t, 4);
    const release = await leaveDirty(rig);
    const elsewhere = await DiskRig.make(t, VARIANT, SEED * 100 + 5, SETTINGS);
    const commandLine = new CommandLine(rig.dir, { ...rig.config, store: elsewhere.store });
    const refused = await commandLine.run(['serve']);
    assert.equal(refused.code, 1, refused.stderr);
    assert.match(refused.stderr, /is of another volume.*not in its bucket/s);
    assert.match(refused.stderr, WAYS_OUT);
    assert.equal((await commandLine.run(['cache', 'export', 'disk', join(rig.dir, 'saved')])).code, 0);
    assert.equal((await commandLine.run(['cache', 'drop', 'disk'])).code, 2);
    // Nothing of that has cost its own volume anything.
    await assertGoesOn(rig, release);
  });

  it('of another volume, with everything uploaded: made anew', { timeout: TIMEOUT_MS }, async (t) => {
    const rig = await rigOf(t, 6);
    const first = await rig.start();
    await rig.loadFor(first, 300);
    await first.flush('disk');
    assert.equal((await first.stop()).code, 0);
    const elsewhere = await DiskRig.make(t, VARIANT, SEED * 100 + 7, SETTINGS);
    const config = { ...rig.config, store: elsewhere.store };
    const other = await startAppliance({ lifetime: t, config, dir: rig.dir });
    await elsewhere.verify(other);
    await elsewhere.loadFor(other, 300);
    await elsewhere.verify(other);
    await other.flush('disk');
    assert.equal((await other.stop()).code, 0);
    await assertGoesOn(rig, () => {});
  });

  for (const how of ['stopped', 'killed'] as const) {
    it(`overtaken by another appliance, ${how} with writes: refused with the way out`, {
      timeout: TIMEOUT_MS,
    }, async (t) => {
      const rig = await rigOf(t, how.length);
      const release = await leaveDirty(rig, how);
      release();
      // It waits until the lease has lapsed, and holds the volume ever after.
      const second = await rig.startOther();
      assert.equal((await second.stop()).code, 0);
      for (let attempt = 0; attempt < 2; attempt++) {
        const refused = await serve(rig);
        assert.equal(refused.code, 1, refused.stderr);
        assert.match(refused.stderr, /another writer since/);
        assert.match(refused.stderr, WAYS_OUT);
      }
      const commandLine = new CommandLine(rig.dir, rig.config);
      const file = join(rig.dir, 'saved');
      assert.equal((await commandLine.run(['cache', 'export', 'disk', file])).code, 0);
      assert.equal((await commandLine.run(['cache', 'export', 'disk', file])).code, 2, 'never over an earlier one');
      assert.equal((await commandLine.run(['cache', 'drop', 'disk', '--force'])).code, 0);
      const again = await rig.start();
      assert.equal((await again.stop()).code, 0);
    });
  }
});

describe('another configuration, and writes that were not uploaded', { skip: LONG }, () => {
  const SIZES: readonly Section[] = [
    { size: '1MiB', logSize: '4MiB' },
    { size: '512MiB', logSize: '256MiB' },
  ];
  for (const [at, sizes] of SIZES.entries()) {
    it(`cache.size ${sizes.size}, cache.logSize ${sizes.logSize}: they stay`, { timeout: TIMEOUT_MS }, async (t) => {
      const rig = await rigOf(t, 20 + at);
      const release = await leaveDirty(rig, at % 2 === 0 ? 'killed' : 'stopped');
      rig.cache = sizes;
      await assertGoesOn(rig, release);
      // The new sizes hold once there is nothing left in the old ones.
      const appliance = await rig.start();
      await rig.loadFor(appliance, 300);
      await rig.verify(appliance);
      await appliance.flush('disk');
      assert.equal((await appliance.stop()).code, 0);
    });
  }

  it('cache.size 0: they are uploaded first', { timeout: TIMEOUT_MS }, async (t) => {
    const rig = await rigOf(t, 30);
    const release = await leaveDirty(rig);
    release();
    rig.cache = { size: '0' };
    const appliance = await rig.start();
    await rig.verify(appliance);
    assert.equal((await appliance.stop()).code, 0);
  });

  it('another block size, another password, read-only: refused, and they stay', { timeout: TIMEOUT_MS }, async (t) => {
    const rig = await rigOf(t, 31);
    const release = await leaveDirty(rig);
    const wrong: readonly (readonly [string, number])[] = [
      ['volumes.disk.blockSize=1MiB', 2],
      ['volumes.disk.encrypt=true', 2],
      ['volumes.disk.readOnly=true', 1],
    ];
    for (const [setting, code] of wrong) {
      const refused = await serve(rig, ['--set', setting]);
      assert.notEqual(refused.code, 0, setting);
      t.diagnostic(`${setting}: ${refused.code} (${code}), ${refused.stderr.trim().split('\n').at(-1)}`);
    }
    await assertGoesOn(rig, release);
  });

  for (const how of ['stopped', 'killed'] as const) {
    it(`the directory moved after it was ${how}: they go with it`, { timeout: TIMEOUT_MS }, async (t) => {
      const rig = await rigOf(t, 40 + how.length);
      const release = await leaveDirty(rig, how);
      const elsewhere = join(await tempDir(t, 'moved'), 'below', 'cache');
      await mkdir(join(elsewhere, '..'));
      await rename(join(rig.dir, 'cache'), elsewhere);
      rig.cache = { dir: elsewhere };
      const appliance = await rig.start();
      await rig.verify(appliance);
      release();
      assert.equal((await appliance.stop('SIGTERM', TIMEOUT_MS)).code, 0);
      await rm(elsewhere, { recursive: true });
      rig.cache = {};
      const other = await rig.startOther();
      await rig.verify(other);
      assert.equal((await other.stop()).code, 0);
    });
  }
});
