/** `bucketdisk mount` as the appliance, by FUSE and a loop device, killed again and again, and stopped, in the middle of writing. */
import assert from 'node:assert/strict';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { readMountTable } from '../../src/lib/mount-table.ts';
import { Random } from '../conformance/lease/random.ts';
import { onEnd } from '../support/cleanup.ts';
import { checkFilesystem, type FilesystemType } from '../support/mounts.ts';
import { type RunningProcess, runCommand, startProcess } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { requireFacilities, requireTools, type Tool, toolPath } from '../support/tools.ts';
import { startFuseAppliance } from './support/fuse-appliance.ts';
import { hashFile, writeRandomFile } from './support/random-data.ts';

const TEST_TIMEOUT_MS = 900_000;
/** A journal is recovered on the way; on a busy machine that takes its time. */
const UP_TIMEOUT_MS = 240_000;
const STOP_TIMEOUT_MS = 60_000;
const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const KIB = 1024;
const VOLUMES = { disk: { size: '512MiB', blockSize: '256KiB' } };
const CHECKERS: Readonly<Record<FilesystemType, Tool>> = { ext4: 'e2fsck', xfs: 'xfs_repair', btrfs: 'btrfs' };
/** How often it is killed; more by hand. */
const ROUNDS = Number(process.env.KILL_ROUNDS ?? 2);

/** `sh PAYLOAD DIR ROUND`: copies the payload again and again, and names each copy once it is synced. Ends at the first error. */
const FSYNC_LOOP = `i=0; while dd if="$1" of="$2/synced-$3-$i" bs=64k conv=fsync status=none; do echo "synced-$3-$i"; i=$((i+1)); done`;

function require(t: TestContext, type: FilesystemType): boolean {
  const tools: Tool[] = ['mount', 'losetup', `mkfs.${type}`, CHECKERS[type]];
  return requireTools(t, tools) && requireFacilities(t, ['root', 'fuse', 'loop', type]);
}

const deviceOn = (dir: string): string | undefined => readMountTable().find(({ path }) => path === dir)?.source;

describe('an appliance that mounts, killed or stopped while it is written to', { timeout: TEST_TIMEOUT_MS }, () => {
  for (const type of ['ext4', 'xfs', 'btrfs'] as const) {
    it(`comes back with everything that was synced: ${type}, ${ROUNDS} rounds`, async (t) => {
      if (!require(t, type)) return;
      // Writes the configuration, in which the volumes' files are below cache.dir.
      const prepared = await startFuseAppliance(t, { volumes: VOLUMES, config: { fuse: { dir: null } } });
      const { appliance } = prepared;
      assert.equal((await appliance.stop()).code, 0);
      const dir = join(await tempDir(t, 'kills'), 'mnt');
      onEnd(t, async () => {
        const device = deviceOn(dir);
        if (device !== undefined) {
          await runCommand('umount', ['-l', dir], { okCodes: null });
          await runCommand(toolPath('losetup'), ['-d', device], { okCodes: null });
        }
        await runCommand('umount', ['-l', join(appliance.dir, 'cache', 'disks')], { okCodes: null });
      });
      const start = async (): Promise<RunningProcess> => {
        const args = [MAIN, 'mount', '--config', appliance.configFile, 'disk', dir, '--fs', type, '--via', 'fuse'];
        const mounting = startProcess(t, process.execPath, args, { cwd: appliance.dir });
        await mounting.until('it is ready', () => /"event":"ready"/.test(mounting.stderr) || undefined, UP_TIMEOUT_MS);
        return mounting;
      };
      const random = new Random(ROUNDS);
      const payload = join(await tempDir(t, 'payload'), 'bytes');
      const hash = await writeRandomFile(payload, 'payload', 100 * KIB);
      let serving = await start();
      let syncedFiles = 0;
      const ends = Array.from({ length: ROUNDS }, (): NodeJS.Signals => 'SIGKILL');
      // What a stop does is the same whatever the filesystem.
      if (type === 'ext4') ends.push('SIGTERM');
      for (const [round, end] of ends.entries()) {
        // Where it is unmounted between two files, the next one finds no directory: root could write below the mount.
        const files = join(dir, `round-${round}`);
        await mkdir(files);
        const writers = [0, 1].map((number) =>
          startProcess(t, 'sh', ['-c', FSYNC_LOOP, 'sh', payload, files, `${round}-${number}`]),
        );
        const wanted = random.int(3, 30);
        for (const writer of writers) {
          await writer.until('some files are synced', () => writer.stdout.split('\n').length > wanted || undefined);
        }
        const { code, stderr } = await serving.stop(end, STOP_TIMEOUT_MS);
        for (const writer of writers) await writer.exited;

        serving = await start();
        if (end === 'SIGKILL') assert.match(serving.stderr, /"event":"mount-stale"/);
        // 130: the writers had files open all the time, and were cut off once shutdown.drain was over.
        else assert.ok(code === 0 || code === 13 || code === 130, stderr.slice(-2000));
        const synced = writers.flatMap((writer) => writer.stdout.split('\n').slice(0, -1));
        for (const name of synced) assert.equal(await hashFile(join(files, name)), hash, name);
        syncedFiles += synced.length;
        // Room for the next round.
        await runCommand('rm', ['-r', files]);
      }
      const { code, stderr } = await serving.stop('SIGTERM', STOP_TIMEOUT_MS);
      assert.ok(code === 0 || code === 13, stderr.slice(-2000));
      assert.equal(deviceOn(dir), undefined);
      assert.deepEqual(await readdir(join(appliance.dir, 'cache', 'mounts')), []);
      t.diagnostic(`${ends.length} rounds, ${syncedFiles} files that were synced`);

      const after = await startFuseAppliance(t, { after: prepared, volumes: VOLUMES });
      await checkFilesystem(type, after.file);
      assert.doesNotMatch((await runCommand(toolPath('losetup'), ['-a'])).stdout, new RegExp(appliance.dir));
    });
  }
});
