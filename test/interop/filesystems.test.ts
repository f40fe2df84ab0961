/**
 * Filesystems on volumes in S3: real trees go in and come back whole after a restart, fsck finds nothing, fstrim gives the
 * space back, and what was fsynced survives the death of the server.
 */
import assert from 'node:assert/strict';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, it, type TestContext } from 'node:test';
import { type Appliance, startAppliance } from '../support/appliance.ts';
import { cephGateway } from '../support/ceph.ts';
import { CEPH_TOOLS } from '../support/ceph-cluster.ts';
import {
  attachLoop,
  checkFilesystem,
  type FilesystemType,
  MOUNT_FACILITIES,
  MOUNT_TOOLS,
  type MountedVolume,
  mountExport,
  mountVolume,
} from '../support/mounts.ts';
import { runCommand, startProcess } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { missingTools, requireFacilities, requireTools, type Tool, toolPath } from '../support/tools.ts';
import { blockKeysOf, cephBucket, s3Bucket, type TestS3Bucket } from './support/buckets.ts';
import { fileLifetime } from './support/file-lifetime.ts';
import { describeTree, makeTree } from './support/file-tree.ts';
import { hashFile, writeRandomFile } from './support/random-data.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const BLOCK_BYTES = 256 * KIB;
/** The larger trees are for fuse-filesystems.test.ts. */
const SMALL_FILES = 2_500;
const LARGE_FILES = 3;
const LARGE_BYTES = 12 * MIB;
const TEST_TIMEOUT_MS = 240_000;
/** A copy into a bucket on a busy machine. */
const COPY_TIMEOUT_MS = 180_000;
const CHECKERS: Readonly<Record<FilesystemType, Tool>> = { ext4: 'e2fsck', xfs: 'xfs_repair', btrfs: 'btrfs' };

const file = fileLifetime();
let source: string;
let sourceTree: string[];

before(async () => {
  source = await tempDir(file, 'tree');
  await makeTree(source, { seed: 'tree', files: SMALL_FILES, largeFiles: LARGE_FILES, largeBytes: LARGE_BYTES });
  sourceTree = await describeTree(source);
  assert.ok(sourceTree.length > SMALL_FILES);
});

function requireFilesystem(t: TestContext, type: FilesystemType): boolean {
  const tools: Tool[] = [...MOUNT_TOOLS, `mkfs.${type}`, CHECKERS[type], 'fstrim'];
  return requireTools(t, tools) && requireFacilities(t, [...MOUNT_FACILITIES, type]);
}

/** On the Ceph gateway; on the S3 server of the tests where Ceph is not installed and need not be. */
async function anyS3Bucket(t: TestContext): Promise<TestS3Bucket | null> {
  if (missingTools(CEPH_TOOLS).length > 0 && process.env.CI !== 'true') return s3Bucket(t);
  const gateway = await cephGateway(t);
  return gateway === null ? null : cephBucket(t, gateway);
}

interface Case {
  readonly type: FilesystemType;
  readonly name: string;
  readonly volume: Readonly<Record<string, unknown>>;
  readonly mkfs?: readonly string[];
}

const CASES: readonly Case[] = [
  { type: 'ext4', name: 'ext4', volume: {} },
  {
    type: 'xfs',
    name: 'xfs, compressed with zstd and encrypted',
    volume: { compress: 'zstd', encrypt: true, password: 'a secret' },
  },
  {
    type: 'btrfs',
    name: 'btrfs, compressed with deflate',
    volume: { compress: 'deflate', compressLevel: 1 },
    // Small nodes reserve less: on a disk of this size copying would wait for flushes most of the time.
    mkfs: ['-n', '4k', '-m', 'single'],
  },
];

describe('a filesystem on a volume in S3', () => {
  for (const { type, name, volume, mkfs = [] } of CASES) {
    it(`keeps a tree of over 2,500 files across a restart: ${name}`, { timeout: TEST_TIMEOUT_MS }, async (t) => {
      if (!requireFilesystem(t, type)) return;
      const bucket = await anyS3Bucket(t);
      if (bucket === null) return;
      const start = (dir?: string): Promise<Appliance> =>
        startAppliance({
          lifetime: t,
          ...(dir === undefined ? {} : { dir }),
          config: { store: bucket.section, volumes: { disk: { size: '512MiB', blockSize: '256KiB', ...volume } } },
        });
      const countBlocks = async (): Promise<number> => (await blockKeysOf(bucket.store, 'disk/')).length;

      const first = await start();
      const made = await mountVolume(t, first.uris('disk').unix, type, { make: true, mkfs, directIo: true });
      await copyInto(made.dir);
      await made.unmount();
      await first.flush('disk');
      assert.equal((await first.stop()).code, 0);

      const second = await start(first.dir);
      await assertClean(t, second, type);
      const mounted = await mountVolume(t, second.uris('disk').unix, type, { mount: ['noatime'] });
      await readAhead(mounted);
      assert.deepEqual(await describeTree(join(mounted.dir, 'tree')), sourceTree);
      await second.flush('disk');
      const before = await countBlocks();
      await rm(join(mounted.dir, 'tree', 'large'), { recursive: true });
      await runCommand('sync', ['-f', mounted.dir], { timeoutMs: COPY_TIMEOUT_MS });
      await runCommand(toolPath('fstrim'), ['-v', mounted.dir], { timeoutMs: COPY_TIMEOUT_MS });
      await mounted.unmount();
      await second.flush('disk');
      const freed = before - (await countBlocks());
      // Those at the ends of a file are shared with others.
      const expected = LARGE_FILES * (LARGE_BYTES / BLOCK_BYTES - 2);
      assert.ok(freed >= expected, `fstrim freed ${freed} objects of ${before}, and should have freed ${expected}`);
      await assertClean(t, second, type);
      const again = await mountVolume(t, second.uris('disk').unix, type, { mount: ['ro'] });
      await readAhead(again);
      const kept = sourceTree.filter((line) => !line.startsWith('large'));
      assert.deepEqual(await describeTree(join(again.dir, 'tree')), kept);
      await again.unmount();
      assert.equal((await second.stop()).code, 0);
    });
  }

  for (const type of ['ext4', 'xfs'] as const) {
    it(`loses no fsynced file when the server is killed: ${type}`, { timeout: TEST_TIMEOUT_MS }, async (t) => {
      if (!requireFilesystem(t, type)) return;
      const bucket = await anyS3Bucket(t);
      if (bucket === null) return;
      const config = { store: bucket.section, volumes: { disk: { size: '512MiB', blockSize: '256KiB' } } };
      const first = await startAppliance({ lifetime: t, config });
      const mounted = await mountVolume(t, first.uris('disk').unix, type, { make: true, directIo: true });
      const payload = join(await tempDir(t, 'payload'), 'bytes');
      const hash = await writeRandomFile(payload, 'payload', 300 * KIB);
      // One that is synced file by file, and one that keeps unsynced writes on their way.
      const writer = startProcess(t, 'sh', ['-c', FSYNC_LOOP, 'sh', payload, mounted.dir]);
      startProcess(t, 'sh', ['-c', BUSY_LOOP, 'sh', payload, mounted.dir]);
      await writer.until('some files are synced', () => (syncedFiles(writer.stdout).length >= 12 ? true : undefined));
      await first.kill();
      await writer.exited;
      const synced = syncedFiles(writer.stdout);
      await mounted.unmount().catch(() => {
        // Not everything could be written any more, and the kernel may say so here.
      });

      const second = await startAppliance({ lifetime: t, config, dir: first.dir });
      // Mounting replays the journal, which a check that changes nothing does not.
      const recovered = await mountVolume(t, second.uris('disk').unix, type, { directIo: true });
      for (const name of synced) assert.equal(await hashFile(join(recovered.dir, name)), hash, name);
      await recovered.unmount();
      await assertClean(t, second, type);
    });
  }
});

/** `sh PAYLOAD DIR`: copies the payload again and again, and names each copy once it is synced. Ends at the first error. */
const FSYNC_LOOP = `i=0; while dd if="$1" of="$2/synced-$i" bs=64k conv=fsync status=none; do echo "synced-$i"; i=$((i+1)); done`;
const BUSY_LOOP = `mkdir "$2/busy"; i=0; while cp "$1" "$2/busy/$((i % 50))"; do i=$((i+1)); done`;

/** Whole lines only: a name counts once its line has ended. */
function syncedFiles(output: string): string[] {
  return output.split('\n').slice(0, -1);
}

async function copyInto(dir: string): Promise<void> {
  const options = { timeoutMs: COPY_TIMEOUT_MS };
  await mkdir(join(dir, 'tree'));
  await runCommand('cp', ['-a', `${source}/.`, join(dir, 'tree')], options);
  await runCommand('sync', ['-f', dir], options);
}

/** Thousands of small reads would each wait for the bucket: the kernel keeps what is read in one go, as the device is cached. */
async function readAhead({ file }: MountedVolume): Promise<void> {
  await runCommand('dd', [`if=${file}`, 'of=/dev/null', 'bs=4M'], { timeoutMs: COPY_TIMEOUT_MS });
}

/** What is on the volume passes a check that changes nothing. */
async function assertClean(t: TestContext, appliance: Appliance, type: FilesystemType): Promise<void> {
  const disk = await mountExport(t, appliance.uris('disk').unix);
  const device = await attachLoop(t, disk.path);
  await checkFilesystem(type, device.path);
  await device.undo();
  await disk.undo();
}
