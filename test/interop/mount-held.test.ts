/** A filesystem that somebody holds on to after its directory has been freed: what it has written stays, and nothing is mounted beside it. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { loopFile } from '../../src/host/loop-device.ts';
import { readMountTable } from '../../src/lib/mount-table.ts';
import type { Appliance } from '../support/appliance.ts';
import { onEnd } from '../support/cleanup.ts';
import { type CommandResult, runCommand, startProcess } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { requireFacilities, requireTools, toolPath } from '../support/tools.ts';
import { startFuseAppliance } from './support/fuse-appliance.ts';

const TIMEOUT_MS = 180_000;
const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const VOLUMES = { disk: { size: '256MiB', blockSize: '256KiB' } };

function require(t: TestContext): boolean {
  return requireTools(t, ['mount', 'losetup', 'mkfs.ext4']) && requireFacilities(t, ['root', 'fuse', 'loop', 'ext4']);
}

/** A directory to mount on, free again when the test ends. */
async function mountDir(t: TestContext): Promise<string> {
  const dir = join(await tempDir(t, 'held'), 'mnt');
  onEnd(t, async () => {
    while (isMounted(dir)) {
      const device = readMountTable().findLast(({ path }) => path === dir)?.source ?? '';
      await runCommand('umount', ['-l', dir]);
      if (loopFile(device) !== null) await runCommand(toolPath('losetup'), ['-d', device], { okCodes: null });
    }
  });
  return dir;
}

const isMounted = (dir: string): boolean => readMountTable().some(({ path }) => path === dir);

function command(appliance: Appliance, verb: string, ...args: string[]): Promise<CommandResult> {
  const all = [MAIN, verb, '--config', appliance.configFile, ...args];
  return runCommand(process.execPath, all, { okCodes: null, cwd: appliance.dir });
}

async function mount(appliance: Appliance, dir: string): Promise<string> {
  const made = await command(appliance, 'mount', 'disk', dir, '--fs', 'ext4', '--via', 'fuse', '--json');
  assert.equal(made.code, 0, made.stderr);
  return (JSON.parse(made.stdout) as { device: string }).device;
}

describe('a mounted filesystem that is held', { timeout: TIMEOUT_MS }, () => {
  it('is not mounted a second time while the first one still writes', async (t) => {
    if (!require(t)) return;
    const { appliance } = await startFuseAppliance(t, { volumes: VOLUMES });
    const dir = await mountDir(t);
    const device = await mount(appliance, dir);
    const busy = startProcess(t, 'sleep', ['1000'], { cwd: dir });
    const forced = await command(appliance, 'unmount', 'disk', '--force');
    assert.equal(forced.code, 0, forced.stderr);
    assert.match(forced.stdout, new RegExp(`${device} in use still`));
    const again = await command(appliance, 'mount', 'disk', dir, '--via', 'fuse');
    assert.equal(again.code, 11, again.stderr);
    assert.match(again.stderr, new RegExp(device));
    await busy.stop();
    const deadline = performance.now() + 10_000;
    while (loopFile(device) !== null) {
      assert.ok(performance.now() < deadline, 'the kernel detaches it once nobody uses it');
      await delay(20);
    }
    await mount(appliance, dir);
  });

  it('has what was written to it elsewhere, as in a container, in the bucket after a stop', async (t) => {
    if (!require(t)) return;
    const first = await startFuseAppliance(t, { volumes: VOLUMES, config: { shutdown: { drain: '4s' } } });
    const dir = await mountDir(t);
    await mount(first.appliance, dir);
    // Its own mount of the filesystem does not go with ours.
    const script = 'mount --make-rprivate / && cp /proc/version "$1/elsewhere" && echo ready; sleep 1000';
    const other = startProcess(t, 'unshare', ['-m', 'sh', '-c', script, 'sh', dir]);
    await other.until('it has written', () => /ready/.test(other.stdout) || undefined);
    const { code, stderr } = await first.appliance.stop();
    assert.notEqual(code, 0, stderr);
    assert.match(stderr, /mounted elsewhere or still writing/);
    await other.stop();
    const second = await startFuseAppliance(t, { after: first, volumes: VOLUMES });
    await mount(second.appliance, dir);
    assert.match(await readFile(join(dir, 'elsewhere'), 'utf8'), /^Linux/);
  });

  it('has what its programs wrote until they were cut off in the bucket after a stop', async (t) => {
    if (!require(t)) return;
    const first = await startFuseAppliance(t, { volumes: VOLUMES, config: { shutdown: { drain: '5s' } } });
    const dir = await mountDir(t);
    await mount(first.appliance, dir);
    // Late enough that the filesystem is waited for, and synced, by then.
    const script = 'exec 3>"$1/late"; echo open; read -r _ <"$1.go"; echo written >&3; echo done; sleep 1000';
    await runCommand('mkfifo', [`${dir}.go`]);
    const user = startProcess(t, 'sh', ['-c', script, 'sh', dir]);
    await user.until('it has the file open', () => /open/.test(user.stdout) || undefined);
    const stopping = first.appliance.stop();
    await delay(2_000);
    await writeFile(`${dir}.go`, 'go\n');
    await user.until('it has written', () => /done/.test(user.stdout) || undefined);
    assert.notEqual((await stopping).code, 0);
    await user.stop();
    const second = await startFuseAppliance(t, { after: first, volumes: VOLUMES });
    await mount(second.appliance, dir);
    assert.equal(await readFile(join(dir, 'late'), 'utf8'), 'written\n');
  });
});
