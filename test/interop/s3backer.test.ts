/**
 * s3backer and bucketdisk on the same bucket, in turns: each reads byte for byte what the other wrote, and each keeps away
 * while the other has the volume.
 */
import assert from 'node:assert/strict';
import { mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { type Appliance, startAppliance } from '../support/appliance.ts';
import { cephGateway } from '../support/ceph.ts';
import { CEPH_TOOLS } from '../support/ceph-cluster.ts';
import {
  attachLoop,
  checkFilesystem,
  MOUNT_FACILITIES,
  MOUNT_TOOLS,
  mountExport,
  mountFilesystem,
  mountVolume,
} from '../support/mounts.ts';
import { runCommand } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { missingTools, requireFacilities, requireTools, toolPath } from '../support/tools.ts';
import { blockKeysOf, cephBucket, s3Bucket, type TestS3Bucket } from './support/buckets.ts';
import { CommandLine } from './support/command-line.ts';
import { describeTree, makeTree } from './support/file-tree.ts';
import { randomBytes } from './support/random-data.ts';
import { mountS3backer, S3BACKER_FACILITIES, S3BACKER_TOOLS, type S3backer, tryS3backer } from './support/s3backer.ts';

const KIB = 1024;
const BLOCK_BYTES = 64 * KIB;
const BLOCKS = 32;
const SIZE_BYTES = BLOCKS * BLOCK_BYTES;
const PREFIX = 'some/dir/';
const TOKEN_KEY = `${PREFIX}s3backer-mounted`;
/** Blocks of the first image that are all zero: a run of them, one alone, and the last. */
const ZERO_BLOCKS = [5, 6, 7, 8, 20, BLOCKS - 1];
const TEST_TIMEOUT_MS = 120_000;

type Section = Readonly<Record<string, unknown>>;
type OpenBucket = (t: TestContext) => Promise<TestS3Bucket | null>;

async function onCeph(t: TestContext): Promise<TestS3Bucket | null> {
  const gateway = await cephGateway(t);
  return gateway === null ? null : cephBucket(t, gateway);
}

interface Server {
  readonly name: string;
  readonly open: OpenBucket;
  /** Of the variants: so many. */
  readonly variants: number;
}

interface Variant {
  readonly name: string;
  readonly volume: Section;
  readonly flags: readonly string[];
  /** What every block's Content-Encoding must be, whoever wrote it. */
  readonly encoding: string | null;
}

const PASSWORD = 'correct horse';
const VARIANTS: readonly Variant[] = [
  { name: 'plain', volume: {}, flags: [], encoding: null },
  { name: 'deflate', volume: { compress: 'deflate' }, flags: ['--compress=9'], encoding: 'deflate' },
  {
    name: 'AES-128-CBC',
    volume: { encrypt: 'AES-128-CBC', password: PASSWORD },
    flags: ['--encrypt=AES-128-CBC', `--password=${PASSWORD}`],
    encoding: 'deflate,encrypt-AES-128-CBC',
  },
  {
    name: 'AES-256-CBC',
    volume: { encrypt: 'AES-256-CBC', password: PASSWORD },
    flags: ['--encrypt=AES-256-CBC', `--password=${PASSWORD}`],
    encoding: 'deflate,encrypt-AES-256-CBC',
  },
  {
    name: 'AES-256-CBC with a key length of 64',
    volume: { encrypt: 'AES-256-CBC', password: PASSWORD, keyLength: 64 },
    flags: ['--encrypt=AES-256-CBC', `--password=${PASSWORD}`, '--keyLength=64'],
    encoding: 'deflate,encrypt-AES-256-CBC',
  },
  { name: 'hash prefix', volume: { blockHashPrefix: true }, flags: ['--blockHashPrefix'], encoding: null },
];

/** What each of them makes of an object does not depend on where it lies: all variants are tried where nothing is made by us. */
const SERVERS: readonly Server[] = [
  {
    name: 'the S3 test server',
    open: (t) => s3Bucket(t),
    variants: missingTools(CEPH_TOOLS).length > 0 ? VARIANTS.length : 1,
  },
  { name: 'a Ceph gateway', open: onCeph, variants: VARIANTS.length },
];

for (const { name: server, open: openBucket, variants } of SERVERS) {
  describe(`s3backer on ${server}`, { timeout: VARIANTS.length * TEST_TIMEOUT_MS }, () => {
    for (const { name, volume, flags, encoding } of VARIANTS.slice(0, variants)) {
      it(`reads and changes what bucketdisk wrote: ${name}`, { timeout: TEST_TIMEOUT_MS }, async (t) => {
        const bucket = await prepared(t, openBucket);
        if (bucket === null) return;
        const image = firstImage();
        const first = await serve(t, bucket, { size: '2MiB', blockSize: '64KiB', ...volume });
        await writeThrough(first, image);
        assert.equal((await first.stop()).code, 0);
        assert.deepEqual(await storedBlocks(bucket), nonZeroBlocks(image));

        // No size is given: it is found in block 0.
        const mounted = await mountS3backer(t, bucket, PREFIX, flags);
        assert.deepEqual(await readFile(mounted.file), image);
        await change(mounted, image, 's3backer');
        await mounted.unmount();
        assert.deepEqual(await storedBlocks(bucket), nonZeroBlocks(image));
        await assertEncoding(bucket, encoding);

        const second = await serve(t, bucket, volume, first.dir);
        assert.deepEqual(await readBack(second), image);
        assert.equal((await second.stop()).code, 0);
      });

      it(`has its volumes adopted and changed by bucketdisk: ${name}`, { timeout: TEST_TIMEOUT_MS }, async (t) => {
        const bucket = await prepared(t, openBucket);
        if (bucket === null) return;
        const image = firstImage();
        const made = await mountS3backer(t, bucket, PREFIX, [...flags, '--blockSize=64k', '--size=2m']);
        await writeInto(made, 0, image);
        await made.unmount();
        assert.deepEqual(await storedBlocks(bucket), nonZeroBlocks(image));

        // Neither size nor block size nor hash prefix are configured: they are found in the bucket.
        const { blockHashPrefix: _found, ...configured } = volume;
        const adopted = await serve(t, bucket, configured);
        assert.deepEqual(await readBack(adopted), image);
        const changed = firstImage('changed by bucketdisk');
        await writeThrough(adopted, changed);
        assert.equal((await adopted.stop()).code, 0);
        assert.deepEqual(await storedBlocks(bucket), nonZeroBlocks(changed));
        await assertEncoding(bucket, encoding);

        const mounted = await mountS3backer(t, bucket, PREFIX, flags);
        assert.deepEqual(await readFile(mounted.file), changed);
        await mounted.unmount();
      });
    }

    it('takes turns with bucketdisk on a volume of mixed compression', { timeout: TEST_TIMEOUT_MS }, async (t) => {
      const bucket = await prepared(t, openBucket);
      if (bucket === null) return;
      const image = firstImage();
      const turns = [
        { volume: { compress: 'none' }, flags: ['--compress=1'] },
        { volume: { compress: 'deflate', compressLevel: 9 }, flags: [] },
      ];
      let dir: string | undefined;
      for (const { volume, flags } of turns) {
        const appliance = await serve(t, bucket, { size: '2MiB', blockSize: '64KiB', ...volume }, dir);
        dir = appliance.dir;
        if (volume.compress === 'none') await writeThrough(appliance, image);
        else await writePart(appliance, image, 2, randomBytes('deflated part', BLOCK_BYTES));
        assert.deepEqual(await readBack(appliance), image);
        await appliance.stop();
        const mounted = await mountS3backer(t, bucket, PREFIX, flags);
        assert.deepEqual(await readFile(mounted.file), image);
        await change(mounted, image, `s3backer ${flags}`);
        await mounted.unmount();
      }
      const encodings = new Set<string | null>();
      for (const key of await blockKeysOf(bucket.store, PREFIX)) {
        encodings.add((await bucket.store.head(key))?.contentEncoding ?? null);
      }
      assert.deepEqual(encodings, new Set([null, 'deflate']));
      const last = await serve(t, bucket, {}, dir);
      assert.deepEqual(await readBack(last), image);
    });

    it('is kept out while bucketdisk serves, and keeps bucketdisk out', { timeout: TEST_TIMEOUT_MS }, async (t) => {
      const bucket = await prepared(t, openBucket);
      if (bucket === null) return;
      const volume = { size: '2MiB', blockSize: '64KiB' };
      const first = await serve(t, bucket, volume);
      await writeThrough(first, firstImage());
      await first.flush('disk');
      const refused = await tryS3backer(t, bucket, PREFIX);
      assert.equal(refused.code, 1);
      assert.match(refused.stdout + refused.stderr, /appears to be already mounted/);
      assert.equal((await first.stop()).code, 0);
      assert.equal(await bucket.store.head(TOKEN_KEY), null, 'the token is cleared by a clean stop');

      const mounted = await mountS3backer(t, bucket, PREFIX);
      const commandLine = new CommandLine(first.dir, configFor(bucket, volume));
      const held = await commandLine.run(['serve']);
      assert.equal(held.code, 11, held.stderr);
      assert.match(held.stderr, /marked as mounted by .*--take-over/);
      assert.deepEqual(await readFile(mounted.file), firstImage());
      await mounted.unmount();
      assert.equal(await bucket.store.head(TOKEN_KEY), null, "s3backer's token is cleared by a clean unmount");
      const second = await serve(t, bucket, volume, first.dir);
      assert.equal((await second.stop()).code, 0);
    });

    it('has its resize taken over, and finds ours also where an old block 0 has come late', {
      timeout: TEST_TIMEOUT_MS,
    }, async (t) => {
      const bucket = await prepared(t, openBucket);
      if (bucket === null) return;
      const key = `${PREFIX}00000000`;
      const blocksIn = async (): Promise<number> => {
        const { metadata = {} } = (await bucket.store.head(key)) ?? {};
        return Number(metadata['s3backer-filesize']) / BLOCK_BYTES;
      };
      const first = await serve(t, bucket, { size: '2MiB', blockSize: '64KiB' });
      await writeThrough(first, firstImage());
      assert.equal((await first.stop()).code, 0);
      const ours = await bucket.store.get(key);
      assert.equal(ours?.metadata['bucketdisk-resizes'], '0');

      const grown = await mountS3backer(t, bucket, PREFIX, ['--size=4m', '--force']);
      const late = await writeEnds(grown, 64, 's3backer');
      await grown.unmount();
      assert.equal(await blocksIn(), 64);
      assert.equal((await bucket.store.head(key))?.metadata['bucketdisk-volume'], undefined);

      const second = await serve(t, bucket, {}, first.dir);
      assert.deepEqual((await readBack(second)).subarray(-BLOCK_BYTES), late);
      assert.equal((await second.stop()).code, 0);
      const commandLine = new CommandLine(first.dir, configFor(bucket, {}));
      assert.equal((await commandLine.run(['resize', 'disk', '6MiB'])).code, 0);
      assert.equal(await blocksIn(), 96);
      await bucket.store.put(key, ours.body, {
        headers: { contentType: 'application/x-s3backer-block', metadata: ours.metadata },
      });
      assert.equal(await blocksIn(), 32);
      const third = await serve(t, bucket, {}, first.dir);
      assert.equal((await readBack(third)).length, 96 * BLOCK_BYTES);
      assert.equal((await third.stop()).code, 0);
      assert.equal(await blocksIn(), 96);
      const mounted = await mountS3backer(t, bucket, PREFIX);
      assert.deepEqual((await readFile(mounted.file)).subarray(63 * BLOCK_BYTES, 64 * BLOCK_BYTES), late);
      assert.equal((await readFile(mounted.file)).length, 96 * BLOCK_BYTES);
      await mounted.unmount();
    });

    it('leaves a volume that is taken over after its crash', { timeout: TEST_TIMEOUT_MS }, async (t) => {
      const bucket = await prepared(t, openBucket);
      if (bucket === null) return;
      const image = firstImage();
      const made = await mountS3backer(t, bucket, PREFIX, ['--blockSize=64k', '--size=2m']);
      await writeInto(made, 0, image);
      await made.unmount();
      const crashed = await mountS3backer(t, bucket, PREFIX);
      await crashed.kill();
      assert.notEqual(await bucket.store.head(TOKEN_KEY), null, 'the token stays');
      const dir = await tempDir(t, 'appliance');
      const commandLine = new CommandLine(dir, configFor(bucket, {}));
      assert.equal((await commandLine.run(['serve'])).code, 11);
      const taken = await serve(t, bucket, {}, dir, ['--take-over', 'disk']);
      assert.deepEqual(await readBack(taken), image);
      assert.equal((await taken.stop()).code, 0);
      assert.equal(await bucket.store.head(TOKEN_KEY), null);
      const again = await mountS3backer(t, bucket, PREFIX);
      assert.deepEqual(await readFile(again.file), image);
      await again.unmount();
    });
  });
}

describe('a filesystem under s3backer and bucketdisk', () => {
  it('is an ext4 that both read and write in turns', { timeout: TEST_TIMEOUT_MS }, async (t) => {
    const tools = requireTools(t, [...MOUNT_TOOLS, ...S3BACKER_TOOLS, 'mkfs.ext4', 'e2fsck']);
    if (!tools || !requireFacilities(t, [...MOUNT_FACILITIES, 'ext4'])) return;
    const bucket = await onCeph(t);
    if (bucket === null) return;
    const volume = { size: '64MiB', blockSize: '128KiB', compress: 'deflate' };
    const source = await tempDir(t, 'tree');
    await makeTree(source, { seed: 'ext4', files: 300, largeFiles: 1, largeBytes: 4 * 1024 * KIB });
    const tree = await describeTree(source);

    const first = await serve(t, bucket, volume);
    const ours = await mountVolume(t, first.uris('disk').unix, 'ext4', { make: true, directIo: true });
    await copyTree(source, join(ours.dir, 'first'));
    await ours.unmount();
    await first.stop();

    const theirs = await mountS3backer(t, bucket, PREFIX, ['--compress']);
    const device = await attachLoop(t, theirs.file);
    await checkFilesystem('ext4', device.path);
    const mounted = await mountFilesystem(t, 'ext4', device.path);
    assert.deepEqual(await describeTree(join(mounted.path, 'first')), tree);
    await copyTree(source, join(mounted.path, 'second'));
    await mounted.undo();
    await device.undo();
    await theirs.unmount();

    const second = await serve(t, bucket, volume, first.dir);
    const again = await mountVolume(t, second.uris('disk').unix, 'ext4', { directIo: true });
    assert.deepEqual(await describeTree(join(again.dir, 'first')), tree);
    assert.deepEqual(await describeTree(join(again.dir, 'second')), tree);
    await again.unmount();
    const exported = await mountExport(t, second.uris('disk').unix);
    const checked = await attachLoop(t, exported.path);
    await checkFilesystem('ext4', checked.path);
  });
});

async function prepared(t: TestContext, openBucket: OpenBucket): Promise<TestS3Bucket | null> {
  if (!requireTools(t, [...S3BACKER_TOOLS, 'nbdcopy']) || !requireFacilities(t, S3BACKER_FACILITIES)) return null;
  return openBucket(t);
}

function configFor(bucket: TestS3Bucket, volume: Section): Section {
  return { store: bucket.section, volumes: { disk: { keyPrefix: PREFIX, ...volume } } };
}

function serve(
  t: TestContext,
  bucket: TestS3Bucket,
  volume: Section,
  dir?: string,
  args: readonly string[] = [],
): Promise<Appliance> {
  const config = configFor(bucket, volume);
  return startAppliance({ lifetime: t, config, args, ...(dir === undefined ? {} : { dir }) });
}

/** Half of each block compresses well, and some are zero. */
function firstImage(seed = 'first image'): Buffer {
  const image = Buffer.alloc(SIZE_BYTES);
  for (let block = 0; block < BLOCKS; block++) {
    if (ZERO_BLOCKS.includes(block)) continue;
    randomBytes(`${seed} ${block}`, BLOCK_BYTES / 2).copy(image, block * BLOCK_BYTES);
  }
  return image;
}

function nonZeroBlocks(image: Buffer): number[] {
  return Array.from({ length: BLOCKS }, (_, block) => block).filter((block) =>
    image.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES).some((byte) => byte !== 0),
  );
}

/** The numbers of the blocks that have an object, in order. */
async function storedBlocks(bucket: TestS3Bucket): Promise<number[]> {
  const keys = await blockKeysOf(bucket.store, PREFIX);
  return keys.map((key) => Number.parseInt(key.slice(-8), 16)).sort((a, b) => a - b);
}

async function assertEncoding(bucket: TestS3Bucket, encoding: string | null): Promise<void> {
  for (const key of await blockKeysOf(bucket.store, PREFIX)) {
    const info = await bucket.store.head(key);
    assert.equal(info?.contentEncoding?.replaceAll(' ', '') ?? null, encoding, key);
  }
}

/** Through NBD, zeros included. */
async function writeThrough(appliance: Appliance, image: Buffer): Promise<void> {
  const file = join(appliance.dir, 'image');
  await writeFile(file, image);
  await runCommand(toolPath('nbdcopy'), ['--flush', file, appliance.uris('disk').unix]);
}

async function readBack(appliance: Appliance): Promise<Buffer> {
  const file = join(appliance.dir, 'image');
  await runCommand(toolPath('nbdcopy'), [appliance.uris('disk').unix, file]);
  return readFile(file);
}

/** Writes one block of it, and notes it in `image`. */
async function writePart(appliance: Appliance, image: Buffer, block: number, data: Buffer): Promise<void> {
  data.copy(image, block * BLOCK_BYTES);
  await writeThrough(appliance, image);
}

async function writeInto({ file }: S3backer, offset: number, data: Buffer): Promise<void> {
  const disk = await open(file, 'r+');
  try {
    await disk.write(data, 0, data.length, offset);
    await disk.sync();
  } finally {
    await disk.close();
  }
}

/** Writes a part of block 0, fills a hole, and makes a block all zero; `image` follows. */
async function change(mounted: S3backer, image: Buffer, seed: string): Promise<void> {
  const changes: readonly [number, Buffer][] = [
    [4 * KIB, randomBytes(`${seed} in block 0`, 8 * KIB)],
    [6 * BLOCK_BYTES, randomBytes(`${seed} in a hole`, BLOCK_BYTES)],
    [12 * BLOCK_BYTES, Buffer.alloc(BLOCK_BYTES)],
  ];
  for (const [offset, data] of changes) {
    data.copy(image, offset);
    await writeInto(mounted, offset, data);
  }
}

/** Writes the first block and the last one of so many, and returns the last. */
async function writeEnds(mounted: S3backer, blocks: number, seed: string): Promise<Buffer> {
  const last = randomBytes(`${seed} at the end`, BLOCK_BYTES);
  await writeInto(mounted, 0, randomBytes(`${seed} at the start`, BLOCK_BYTES));
  await writeInto(mounted, (blocks - 1) * BLOCK_BYTES, last);
  return last;
}

async function copyTree(source: string, target: string): Promise<void> {
  await mkdir(target);
  await runCommand('cp', ['-a', `${source}/.`, target]);
}
