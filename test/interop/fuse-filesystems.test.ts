/** Filesystems on a loop device with direct I/O on a volume's file: no client, no module but fuse and loop. */
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, it, type TestContext } from 'node:test';
import { FileObjectStore } from '../../src/object/file/file-object-store.ts';
import { Random } from '../conformance/lease/random.ts';
import {
  attachLoop,
  checkFilesystem,
  type FilesystemType,
  makeFilesystem,
  mountFilesystem,
  type Placed,
} from '../support/mounts.ts';
import { runCommand, startProcess } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { requireFacilities, requireTools, type Tool, toolPath } from '../support/tools.ts';
import { blockKeysOf } from './support/buckets.ts';
import { fileLifetime } from './support/file-lifetime.ts';
import { describeTree, makeTree } from './support/file-tree.ts';
import { type FuseAppliance, startFuseAppliance } from './support/fuse-appliance.ts';
import { hashFile, writeRandomFile } from './support/random-data.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const TEST_TIMEOUT_MS = 280_000;
const COPY_TIMEOUT_MS = 180_000;
const VOLUMES = { disk: { size: '512MiB', blockSize: '256KiB' } };
const CHECKERS: Readonly<Record<FilesystemType, Tool>> = { ext4: 'e2fsck', xfs: 'xfs_repair', btrfs: 'btrfs' };
/** How often the appliance is killed; more by hand. */
const ROUNDS = Number(process.env.KILL_ROUNDS ?? 3);

const file = fileLifetime();
let source: string;
let sourceTree: string[];

before(async () => {
  source = await tempDir(file, 'tree');
  await makeTree(source, { seed: 'tree', files: 10_000, largeFiles: 2, largeBytes: 24 * MIB });
  sourceTree = await describeTree(source);
});

function require(t: TestContext, type: FilesystemType): boolean {
  const tools: Tool[] = ['mount', 'losetup', `mkfs.${type}`, CHECKERS[type], 'fstrim'];
  return requireTools(t, tools) && requireFacilities(t, ['root', 'fuse', 'loop', type]);
}

async function attach(t: TestContext, { file: path }: FuseAppliance): Promise<Placed> {
  const device = await attachLoop(t, path, { directIo: true });
  const { stdout } = await runCommand(toolPath('losetup'), ['-n', '-O', 'DIO', device.path]);
  assert.equal(stdout.trim(), '1', 'the loop device keeps no pages of its own');
  return device;
}

async function blocks({ appliance }: FuseAppliance): Promise<number> {
  const store = await FileObjectStore.open(join(appliance.dir, 'bucket'));
  try {
    return (await blockKeysOf(store, 'disk/')).length;
  } finally {
    await store.close();
  }
}

/** In good order, with everything in the bucket. */
async function stop({ appliance }: FuseAppliance): Promise<void> {
  const { code, stderr } = await appliance.stop('SIGTERM', COPY_TIMEOUT_MS);
  assert.equal(code, 0, stderr.slice(-2000));
}

describe('a filesystem on a loop device on a file', () => {
  for (const type of ['ext4', 'xfs', 'btrfs'] as const) {
    it(`keeps a tree of over 10,000 files, and gives space back: ${type}`, { timeout: TEST_TIMEOUT_MS }, async (t) => {
      if (!require(t, type)) return;
      const config = { shutdown: { drain: '2m' } };
      const first = await startFuseAppliance(t, { volumes: VOLUMES, config });
      const device = await attach(t, first);
      await makeFilesystem(type, device.path);
      const mounted = await mountFilesystem(t, type, device.path, ['noatime']);
      await mkdir(join(mounted.path, 'tree'));
      await runCommand('cp', ['-a', `${source}/.`, join(mounted.path, 'tree')], { timeoutMs: COPY_TIMEOUT_MS });
      await mounted.undo();
      await checkFilesystem(type, device.path);
      await device.undo();
      await stop(first);
      const stored = await blocks(first);

      const second = await startFuseAppliance(t, { after: first, volumes: VOLUMES, config });
      const again = await attach(t, second);
      const remounted = await mountFilesystem(t, type, again.path, ['noatime']);
      assert.deepEqual(await describeTree(join(remounted.path, 'tree')), sourceTree);
      await runCommand('rm', ['-r', join(remounted.path, 'tree', 'large')]);
      await runCommand('sync', ['-f', remounted.path]);
      await runCommand(toolPath('fstrim'), [remounted.path], { timeoutMs: COPY_TIMEOUT_MS });
      await remounted.undo();
      await checkFilesystem(type, again.path);
      await again.undo();
      await stop(second);
      const freed = stored - (await blocks(second));
      assert.ok(freed > 100, `fstrim freed ${freed} of ${stored} blocks, and should have freed about 190`);
    });
  }

  for (const type of ['ext4', 'xfs'] as const) {
    it(`loses no fsynced file when the appliance is killed: ${type}`, { timeout: TEST_TIMEOUT_MS }, async (t) => {
      if (!require(t, type)) return;
      const random = new Random(ROUNDS);
      const payload = join(await tempDir(t, 'payload'), 'bytes');
      const hash = await writeRandomFile(payload, 'payload', 100 * KIB);
      let served = await startFuseAppliance(t, { volumes: VOLUMES });
      const synced: string[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        const device = await attach(t, served);
        if (round === 0) await makeFilesystem(type, device.path);
        const mounted = await mountFilesystem(t, type, device.path);
        const writer = startProcess(t, 'sh', ['-c', FSYNC_LOOP, 'sh', payload, mounted.path, `${round}`]);
        const wanted = random.int(3, 30);
        await writer.until('some files are synced', () => writer.stdout.split('\n').length > wanted || undefined);
        await served.appliance.kill();
        await writer.exited;
        synced.push(...writer.stdout.split('\n').slice(0, -1));
        // The mount can always be taken away, though not everything could be written any more.
        await mounted.undo().catch(() => {});
        await device.undo();

        served = await startFuseAppliance(t, { after: served, volumes: VOLUMES });
        const recovered = await attach(t, served);
        const remounted = await mountFilesystem(t, type, recovered.path);
        for (const name of synced) assert.equal(await hashFile(join(remounted.path, name)), hash, name);
        // Room for the next round.
        await runCommand('sh', ['-c', 'rm -f "$1"/synced-*', 'sh', remounted.path]);
        synced.length = 0;
        await remounted.undo();
        await checkFilesystem(type, recovered.path);
        await recovered.undo();
      }
    });
  }
});

/** `sh PAYLOAD DIR ROUND`: copies the payload again and again, and names each copy once it is synced. Ends at the first error. */
const FSYNC_LOOP = `i=0; while dd if="$1" of="$2/synced-$3-$i" bs=64k conv=fsync status=none; do echo "synced-$3-$i"; i=$((i+1)); done`;
