/** `bucketdisk mount` and `unmount`, as processes: beside a running appliance, as one, and over a crash. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { readMountTable } from '../../src/lib/mount-table.ts';
import type { Appliance } from '../support/appliance.ts';
import { onEnd } from '../support/cleanup.ts';
import { type CommandResult, runCommand, startProcess } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { requireFacilities, requireTools, toolPath } from '../support/tools.ts';
import { startFuseAppliance } from './support/fuse-appliance.ts';

const TIMEOUT_MS = 180_000;
const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
// Larger than what a volume tells of its extents in one answer.
const VOLUMES = { disk: { size: '1280MiB', blockSize: '256KiB' }, other: { size: '64MiB' } };

function require(t: TestContext): boolean {
  return requireTools(t, ['mount', 'losetup', 'mkfs.ext4']) && requireFacilities(t, ['root', 'fuse', 'loop', 'ext4']);
}

/** A directory to mount on, free again when the test ends. */
async function mountDir(t: TestContext): Promise<string> {
  const dir = join(await tempDir(t, 'mount'), 'mnt');
  onEnd(t, async () => {
    const device = readMountTable().find(({ path }) => path === dir)?.source;
    if (device === undefined) return;
    await runCommand('umount', ['-l', dir], { okCodes: null });
    await runCommand(toolPath('losetup'), ['-d', device], { okCodes: null });
  });
  return dir;
}

const isMounted = (dir: string): boolean => readMountTable().some(({ path }) => path === dir);

function command(appliance: Appliance, verb: string, ...args: string[]): Promise<CommandResult> {
  const all = [MAIN, verb, '--config', appliance.configFile, ...args];
  return runCommand(process.execPath, all, { okCodes: null, cwd: appliance.dir });
}

describe('mount', { timeout: TIMEOUT_MS }, () => {
  it('has a running appliance mount, and take it down again', async (t) => {
    if (!require(t)) return;
    const { appliance } = await startFuseAppliance(t, { volumes: VOLUMES });
    const dir = await mountDir(t);
    const without = await command(appliance, 'mount', 'disk', dir);
    assert.match(without.stderr, /has no filesystem: say which to make with --fs/);
    assert.notEqual(without.code, 0);
    const made = await command(appliance, 'mount', 'disk', dir, '--fs', 'ext4', '--via', 'fuse', '--json');
    assert.equal(made.code, 0, made.stderr);
    const { device, ...outcome } = JSON.parse(made.stdout) as Record<string, string>;
    assert.deepEqual(outcome, { name: 'disk', dir, via: 'fuse' });
    await writeFile(join(dir, 'file'), 'kept');
    assert.match((await command(appliance, 'status')).stdout, new RegExp(`mounted +disk on ${dir} \\(${device}\\)`));
    assert.equal((await command(appliance, 'mount', 'disk', dir)).code, 11);
    const over = await command(appliance, 'mount', 'other', dir, '--fs', 'ext4');
    assert.equal(over.code, 11);
    assert.match(over.stderr, /volume disk is mounted on .*: choose another directory for other/);
    for (const [place, why] of [
      ['/', 'would hide all there is'],
      [appliance.configFile, 'is not a directory'],
    ] as const) {
      const refused = await command(appliance, 'mount', 'other', place, '--fs', 'ext4');
      assert.equal(refused.code, 2, refused.stderr);
      assert.match(refused.stderr, new RegExp(why));
    }
    const busy = startProcess(t, 'sleep', ['1000'], { cwd: dir });
    const inUse = await command(appliance, 'unmount', 'disk');
    assert.equal(inUse.code, 11);
    assert.match(inUse.stderr, /fuser -vm/);
    await busy.stop();
    const down = await command(appliance, 'unmount', 'disk');
    assert.equal(down.code, 0, down.stderr);
    assert.equal(isMounted(dir), false);
    assert.equal((await command(appliance, 'unmount', 'disk')).code, 10);

    const second = JSON.parse((await command(appliance, 'mount', 'disk', dir, '--json')).stdout) as { device: string };
    assert.equal(await readFile(join(dir, 'file'), 'utf8'), 'kept');
    assert.equal((await command(appliance, 'health')).code, 0);
    // Somebody else takes it away: the appliance is not what it was told to be.
    await runCommand('umount', [dir]);
    const unhealthy = await command(appliance, 'health');
    assert.equal(unhealthy.code, 1);
    assert.equal(unhealthy.stdout, `volume disk is no longer mounted on ${dir}\n`);
    assert.equal((await stat(dir)).mode & 0o777, 0, 'nobody writes to what lies below the mount');
    await runCommand('mount', ['-t', 'ext4', second.device, dir]);
    // A stop takes it down in order: unmounted, detached, the files gone, then uploaded.
    const stopped = await appliance.stop();
    assert.ok(stopped.code === 0 || stopped.code === 13, stopped.stderr);
    assert.equal(isMounted(dir), false);
    assert.doesNotMatch((await runCommand(toolPath('losetup'), ['-a'])).stdout, new RegExp(appliance.dir));
  });

  it('needs nothing else to serve on, as serve does', async (t) => {
    const dir = await tempDir(t, 'nothing');
    const env = { BUCKETDISK_NBD_LISTEN: '[]', BUCKETDISK_ADMIN_LISTEN: '127.0.0.1:0', BUCKETDISK_CACHE_DIR: dir };
    const serve = await runCommand(process.execPath, [MAIN, 'serve'], { okCodes: [2], cwd: dir, env });
    assert.match(serve.stderr, /nothing to serve on/);
    await runCommand(process.execPath, [MAIN, 'config', 'validate'], { cwd: dir, env });
  });

  it('is an appliance where none runs, also where its addresses are taken, and comes back after a crash', async (t) => {
    if (!require(t)) return;
    const taken = createServer().listen(0, '127.0.0.1');
    onEnd(t, () => void taken.close());
    await once(taken, 'listening');
    const address = `127.0.0.1:${(taken.address() as AddressInfo).port}`;
    const first = await startFuseAppliance(t, { volumes: VOLUMES, config: { fuse: { dir: null } } });
    const { appliance } = first;
    assert.equal((await appliance.stop()).code, 0);
    const dir = await mountDir(t);
    // Without fuse.dir the volumes' files are below cache.dir.
    onEnd(t, async () => {
      await runCommand('umount', ['-l', join(appliance.dir, 'cache', 'disks')], { okCodes: null });
    });
    const start = async () => {
      const settings = [`admin.listen=${address}`, `nbd.listen=${address}`].flatMap((setting) => ['--set', setting]);
      const args = [
        MAIN,
        'mount',
        '--config',
        appliance.configFile,
        ...settings,
        'disk',
        dir,
        '--fs',
        'ext4',
        '--via',
        'fuse',
      ];
      const process_ = startProcess(t, process.execPath, args, { cwd: appliance.dir });
      await process_.until('it is ready', () => /"event":"ready"/.test(process_.stderr) || undefined);
      return process_;
    };
    const killed = await start();
    assert.equal(killed.stderr.match(/"event":"address-taken"/g)?.length, 2, killed.stderr);
    await writeFile(join(dir, 'file'), 'synced', { flush: true });
    await runCommand('sync', ['-f', dir]);
    await killed.stop('SIGKILL');
    const again = await start();
    assert.match(again.stderr, /"event":"mount-stale"/);
    assert.equal(await readFile(join(dir, 'file'), 'utf8'), 'synced');
    const { code, stderr } = await again.stop('SIGTERM', 60_000);
    assert.ok(code === 0 || code === 13, stderr);
    assert.equal(isMounted(dir), false);
    assert.deepEqual(await readdir(join(appliance.dir, 'cache', 'mounts')), []);
    // And by hand, where it is not to be started again.
    await (await start()).stop('SIGKILL');
    assert.equal(isMounted(dir), true);
    const away = await command(appliance, 'unmount', 'disk');
    assert.equal(away.code, 0, away.stderr);
    assert.equal(isMounted(dir), false);
    assert.equal(isMounted(join(appliance.dir, 'cache', 'disks')), false, 'the directory of the files is left');
    assert.deepEqual(await readdir(join(appliance.dir, 'cache', 'mounts')), []);
  });
});
