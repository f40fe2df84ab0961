/** Attaching and mounting volumes' files: up, down, refused, and away again after a crash. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { open, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { loopFile } from '../../src/host/loop-device.ts';
import { MountRecords } from '../../src/host/mount-records.ts';
import { type Host, reclaimMounts, VolumeMount, type VolumeMountOptions } from '../../src/host/volume-mount.ts';
import { SystemClock } from '../../src/lib/clock.ts';
import { isStorageError } from '../../src/lib/errors.ts';
import { type Log, silentLog } from '../../src/lib/log.ts';
import { readMountTable } from '../../src/lib/mount-table.ts';
import { onEnd } from '../support/cleanup.ts';
import { runCommand, startProcess } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { requireFacilities, requireTools, toolPath } from '../support/tools.ts';
import { startFuseAppliance } from './support/fuse-appliance.ts';

const TIMEOUT_MS = 180_000;
const VOLUMES = { disk: { size: '512MiB', blockSize: '256KiB' } };

interface Place {
  readonly host: Host;
  readonly events: string[];
  readonly options: VolumeMountOptions;
  readonly mounted: () => boolean;
}

function require(t: TestContext): boolean {
  return (
    requireTools(t, ['mount', 'losetup', 'mkfs.ext4', 'e2fsck']) &&
    requireFacilities(t, ['root', 'fuse', 'loop', 'ext4'])
  );
}

/** A directory to mount on, and a host that keeps its records beside it. */
async function place(t: TestContext, file: string, options: Partial<VolumeMountOptions> = {}): Promise<Place> {
  const home = await tempDir(t, 'host');
  const dir = join(home, 'mnt');
  const events: string[] = [];
  const note = (_message: string, fields?: Readonly<Record<string, unknown>>): void => {
    if (typeof fields?.event === 'string') events.push(fields.event);
  };
  const log: Log = { ...silentLog, warn: note, child: () => log };
  const host = { records: new MountRecords(join(home, 'mounts')), boot: 'this boot', clock: new SystemClock(), log };
  onEnd(t, async () => {
    const device = readMountTable().find((entry) => entry.path === dir)?.source;
    if (device === undefined) return;
    await runCommand('umount', ['-l', dir], { okCodes: null });
    await runCommand(toolPath('losetup'), ['-d', device], { okCodes: null });
  });
  return {
    host,
    events,
    options: {
      volume: 'disk',
      via: 'fuse',
      file,
      dir,
      make: 'ext4',
      readOnly: false,
      isEmpty: async () => true,
      ...options,
    },
    mounted: () => readMountTable().some((entry) => entry.path === dir),
  };
}

const in5Seconds = (): AbortSignal => AbortSignal.timeout(5_000);
const refused = (pattern: RegExp) => (error: unknown) =>
  isStorageError(error, 'INVALID') && pattern.test(error.message);

describe('a volume that is mounted', { timeout: TIMEOUT_MS }, () => {
  it('gets a filesystem once, keeps its files, and leaves nothing behind', async (t) => {
    if (!require(t)) return;
    const { file, appliance } = await startFuseAppliance(t, { volumes: VOLUMES });
    const { host, options, mounted, events } = await place(t, file);
    const first = await VolumeMount.up(options, host);
    const { device } = first.record;
    assert.equal(loopFile(device), file);
    assert.equal((await readFile(`/sys/block/${device.slice(5)}/loop/dio`, 'utf8')).trim(), '1');
    assert.match(
      (await runCommand('findmnt', ['-n', '-o', 'OPTIONS,PROPAGATION', options.dir])).stdout,
      /noatime.*discard.*shared/,
    );
    await writeFile(join(options.dir, 'kept'), 'kept');
    assert.equal(await first.down(in5Seconds(), { lazy: true }), true);
    assert.deepEqual([mounted(), loopFile(device), host.records.list(), events], [false, null, [], []]);

    const isEmpty = (): never => assert.fail('a filesystem that is there is not made again');
    const again = await VolumeMount.up({ ...options, isEmpty }, host);
    assert.equal(await readFile(join(options.dir, 'kept'), 'utf8'), 'kept');
    await again.down(in5Seconds(), { lazy: true });
    const readOnly = await VolumeMount.up({ ...options, make: null, readOnly: true }, host);
    await assert.rejects(writeFile(join(options.dir, 'new'), ''), { code: 'EROFS' });
    await readOnly.down(in5Seconds(), { lazy: true });
    assert.equal((await appliance.stop()).code, 0);
  });

  it('is never written over', async (t) => {
    if (!require(t)) return;
    const { file } = await startFuseAppliance(t, { volumes: VOLUMES });
    const { host, options, mounted } = await place(t, file);
    await assert.rejects(VolumeMount.up({ ...options, make: null }, host), refused(/has no filesystem.*--fs/));
    await assert.rejects(VolumeMount.up({ ...options, isEmpty: async () => false }, host), refused(/left alone/));
    const handle = await open(file, 'r+');
    await handle.write(Buffer.from([0x55, 0xaa]), 0, 2, 510);
    // A partition of a table in the first sector, from sector 1 on.
    await handle.write(Buffer.from([0, 0, 2, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 0, 8, 0, 0]), 0, 16, 446);
    await handle.close();
    await assert.rejects(VolumeMount.up(options, host), refused(/a partition table.*left alone/));
    await runCommand('dd', ['if=/dev/zero', `of=${file}`, 'bs=512', 'count=1', 'conv=notrunc']);
    await runCommand(toolPath('mkfs.ext4'), ['-q', '-F', file]);
    await assert.rejects(VolumeMount.up({ ...options, make: 'xfs' }, host), refused(/has ext4 on it, not xfs/));
    assert.deepEqual([mounted(), host.records.list()], [false, []]);
    assert.doesNotMatch((await runCommand(toolPath('losetup'), ['-a'])).stdout, new RegExp(file));
  });

  it('is waited for while it is in use, and taken away when the time is over', async (t) => {
    if (!require(t)) return;
    const { file } = await startFuseAppliance(t, { volumes: VOLUMES });
    const { host, options, mounted, events } = await place(t, file);
    const mount = await VolumeMount.up(options, host);
    await writeFile(join(options.dir, 'open'), 'x');
    const user = await open(join(options.dir, 'open'));
    await assert.rejects(mount.down(AbortSignal.timeout(300), { lazy: false }), (error) =>
      isStorageError(error, 'HELD'),
    );
    assert.equal(mounted(), true);
    const down = mount.down(AbortSignal.timeout(300), { lazy: true });
    assert.equal(await down, false);
    assert.equal(mounted(), false, 'the directory is free all the same');
    assert.deepEqual(events, ['mount-busy']);
    await user.close();
    const deadline = performance.now() + 10_000;
    while (loopFile(mount.record.device) !== null) {
      assert.ok(performance.now() < deadline, 'the kernel detaches it once nobody uses it');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });

  it('is not taken for what somebody else has mounted there since, on a device of the same name', async (t) => {
    if (!require(t)) return;
    const { file } = await startFuseAppliance(t, { volumes: VOLUMES });
    const { host, options, mounted } = await place(t, file);
    const mount = await VolumeMount.up(options, host);
    const { device } = mount.record;
    const image = join(options.dir, '..', 'image');
    await runCommand('truncate', ['-s', '16M', image]);
    await runCommand(toolPath('mkfs.ext4'), ['-q', '-F', image]);
    await runCommand('umount', [options.dir]);
    await runCommand(toolPath('losetup'), ['-d', device]);
    while (loopFile(device) !== null) await new Promise((resolve) => setTimeout(resolve, 20));
    const { code } = await runCommand(toolPath('losetup'), [device, image], { okCodes: null });
    if (code !== 0) {
      t.skip('another process has taken the device meanwhile');
      return;
    }
    await runCommand('mount', ['-t', 'ext4', device, options.dir]);
    assert.equal(mount.isAttached, false);
    assert.equal(await mount.down(in5Seconds(), { lazy: true }), true);
    assert.deepEqual([mounted(), loopFile(device)], [true, image]);
  });

  it('is taken away also where it appears late, as when mounting was given up, and is not forgotten before', async (t) => {
    if (!require(t)) return;
    const { file } = await startFuseAppliance(t, { volumes: VOLUMES });
    const { host, options, mounted } = await place(t, file);
    const mount = await VolumeMount.up(options, host);
    const { device } = mount.record;
    const user = await open(device);
    await runCommand('umount', [options.dir]);
    const down = mount.down(AbortSignal.abort(), { lazy: true });
    const autoclear = `/sys/block/${device.slice(5)}/loop/autoclear`;
    while ((await readFile(autoclear, 'utf8')).trim() !== '1') await new Promise((resolve) => setTimeout(resolve, 20));
    await runCommand('mount', ['-t', 'ext4', device, options.dir]);
    assert.equal(await down, false);
    assert.deepEqual([mounted(), host.records.list()], [false, [mount.record]]);
    await user.close();
    while (loopFile(device) !== null) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual(await reclaimMounts(host), []);
    assert.deepEqual(host.records.list(), []);
  });

  it('is taken away after a crash, and comes back with what was synced', async (t) => {
    if (!require(t)) return;
    const first = await startFuseAppliance(t, { volumes: VOLUMES });
    const { host, options, mounted, events } = await place(t, first.file);
    const { record } = await VolumeMount.up(options, host);
    const synced = join(options.dir, 'synced');
    await runCommand('dd', ['if=/dev/urandom', `of=${synced}`, 'bs=64k', 'count=20', 'conv=fsync', 'status=none']);
    const hash = (await runCommand('sha256sum', [synced])).stdout;
    const busy = startProcess(t, 'sh', ['-c', 'while cp "$1" "$1.copy"; do :; done', 'sh', synced]);
    await first.appliance.kill();
    await busy.exited;

    // Somebody else's record and one of an earlier boot: nothing of that is touched.
    host.records.write({ ...record, volume: 'other', sequence: '0', file: '/somewhere/else' });
    host.records.write({ ...record, volume: 'earlier', boot: 'an earlier boot' });
    const reclaimed = await reclaimMounts(host);
    assert.deepEqual(reclaimed, [record]);
    assert.equal(mounted(), false);
    assert.ok(events.includes('mount-stale'));
    // A mount namespace that another test has made may hold it for a moment longer.
    while (loopFile(record.device) !== null) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual(await reclaimMounts(host), []);
    assert.deepEqual(host.records.list(), []);

    const second = await startFuseAppliance(t, { after: first, volumes: VOLUMES });
    const again = await VolumeMount.up({ ...options, make: null }, host);
    assert.equal((await runCommand('sha256sum', [synced])).stdout, hash);
    assert.equal(await again.down(in5Seconds(), { lazy: true }), true);
    await runCommand(toolPath('e2fsck'), ['-f', '-n', second.file]);
    assert.ok(existsSync(options.dir));
    assert.deepEqual(await readdir(options.dir), []);
  });
});
