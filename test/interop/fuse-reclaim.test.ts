/** Dead mounts of an appliance that was killed right after mount(2): the next one takes its own away, wherever they are, and no others. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { MountPoint } from '../../src/fuse/mount-point.ts';
import { SystemClock } from '../../src/lib/clock.ts';
import { readMountTable } from '../../src/lib/mount-table.ts';
import { onEnd } from '../support/cleanup.ts';
import { runCommand, startProcess } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { requireFacilities, requireTools } from '../support/tools.ts';
import { LogBook } from '../unit/volume/fixtures.ts';
import { startFuseAppliance } from './support/fuse-appliance.ts';

const TIMEOUT_MS = 120_000;
const DIE_MOUNTED = fileURLToPath(new URL('./support/die-mounted.ts', import.meta.url));
const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

function require(t: TestContext): boolean {
  return requireTools(t, ['mount']) && requireFacilities(t, ['root', 'fuse']);
}

const isMounted = (dir: string): boolean => readMountTable().some(({ path }) => path === dir);

function unmountInTheEnd(t: TestContext, dir: string): void {
  onEnd(t, async () => {
    if (isMounted(dir)) await runCommand('umount', ['-l', dir], { okCodes: null });
  });
}

it('those of its own are taken away, and of others none', { timeout: TIMEOUT_MS }, async (t) => {
  if (!require(t)) return;
  const home = await tempDir(t, 'reclaim');
  const mounts = { one: 'ours', 'an other': 'ours', theirs: 'theirs' };
  for (const [name, instance] of Object.entries(mounts)) {
    unmountInTheEnd(t, join(home, name));
    const died = await runCommand(process.execPath, [DIE_MOUNTED, join(home, name), instance], { okCodes: null });
    assert.equal(died.signal, 'SIGKILL', died.stderr);
    await assert.rejects(readdir(join(home, name)), { code: 'ENOTCONN' });
  }
  const log = new LogBook();
  await MountPoint.reclaim('ours', new SystemClock(), log);
  assert.equal(log.lines.filter(({ fields: { event } }) => event === 'fuse-stale').length, 2);
  assert.deepEqual(await readdir(join(home, 'one')), []);
  assert.deepEqual(await readdir(join(home, 'an other')), []);
  await assert.rejects(readdir(join(home, 'theirs')), { code: 'ENOTCONN' });
  // What somebody has mounted over it is not ours either.
  await runCommand(process.execPath, [DIE_MOUNTED, join(home, 'one'), 'ours'], { okCodes: null });
  await runCommand('mount', ['-t', 'tmpfs', 'over', join(home, 'one')]);
  await MountPoint.reclaim('ours', new SystemClock(), log);
  assert.equal(readMountTable().findLast(({ path }) => path === join(home, 'one'))?.source, 'over');
  await runCommand('umount', [join(home, 'one')]);
});

it('also where the next appliance mounts nothing', { timeout: TIMEOUT_MS }, async (t) => {
  if (!require(t)) return;
  // Writes the configuration, in which the volumes' files are below cache.dir.
  const first = await startFuseAppliance(t, { config: { fuse: { dir: null } } });
  const { appliance } = first;
  await appliance.stop();
  const disks = join(appliance.dir, 'cache', 'disks');
  unmountInTheEnd(t, disks);
  const args = [MAIN, 'mount', '--config', appliance.configFile, 'disk', join(appliance.dir, 'mnt'), '--via', 'fuse'];
  const mounting = startProcess(t, process.execPath, args, { cwd: appliance.dir });
  const soon = AbortSignal.timeout(30_000);
  while (!isMounted(disks)) await delay(1, undefined, { signal: soon });
  await mounting.stop('SIGKILL');
  await assert.rejects(readdir(disks), /ENOTCONN|ECONNABORTED/);
  const next = await startFuseAppliance(t, { after: first, config: { fuse: { dir: null } } });
  assert.equal(isMounted(disks), false);
  assert.equal(next.appliance.logs.filter(({ event }) => event === 'fuse-stale').length, 1);
  await next.appliance.stop();
});

it('and one that dies while it is asked whether it lives is dead', { timeout: TIMEOUT_MS }, async (t) => {
  if (!require(t)) return;
  const { appliance, dir } = await startFuseAppliance(t);
  appliance.process.signal('SIGSTOP');
  const prepared = MountPoint.prepare(dir, new SystemClock(), new LogBook());
  prepared.catch(() => {});
  await delay(1_000);
  await appliance.kill();
  await prepared;
  assert.equal(isMounted(dir), false);
});
