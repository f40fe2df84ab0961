/**
 * The NBD clients people use, on TCP and on a unix socket, with volumes without a cache: what they write is what they read,
 * and the map is right.
 */
import assert from 'node:assert/strict';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, it, type TestContext } from 'node:test';
import { type Appliance, startAppliance } from '../support/appliance.ts';
import { runCommand, startProcess } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { requireTools, toolPath } from '../support/tools.ts';
import { blockKeysOf, fileBucket, type TestBucket } from './support/buckets.ts';
import { fileLifetime } from './support/file-lifetime.ts';
import { hashFile, randomBytes, writeRandomFile } from './support/random-data.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const BLOCK_BYTES = 64 * KIB;
const COPY_BYTES = 1024 * MIB;
const REQUESTS = join(import.meta.dirname, 'support/requests.py');
/** A bucket in a directory syncs every object, and the machine may be busy. */
const SLOW_MS = 180_000;

type Transport = 'tcp' | 'unix';
const TRANSPORTS: readonly Transport[] = ['tcp', 'unix'];

const file = fileLifetime();
let bucket: TestBucket;
let appliance: Appliance;

before(async () => {
  bucket = await fileBucket(file);
  const small = { size: '64MiB', blockSize: '64KiB' };
  const perTransport = (name: string, volume: object): object =>
    Object.fromEntries(TRANSPORTS.map((transport) => [`${name}-${transport}`, volume]));
  appliance = await startAppliance({
    lifetime: file,
    config: {
      store: bucket.section,
      // What is answered is in the bucket, and the map is that of its objects.
      cache: { size: '0' },
      volumes: {
        big: { size: '1GiB', default: true, description: 'a large one' },
        map: { size: '64MiB' },
        requests: small,
        ...perTransport('img', small),
        ...perTransport('io', small),
        ...perTransport('fio', small),
      },
    },
  });
});

function uri(name: string, transport: Transport): string {
  return appliance.uris(name)[transport];
}

describe('nbdinfo', () => {
  it('reads the size and the flags of an export', async (t) => {
    if (!requireTools(t, ['nbdinfo'])) return;
    for (const transport of TRANSPORTS) {
      const { stdout } = await runCommand(toolPath('nbdinfo'), ['--json', uri('big', transport)]);
      const info = JSON.parse(stdout);
      assert.equal(info.protocol, 'newstyle-fixed');
      assert.equal(info.structured, true);
      const [found] = info.exports;
      assert.equal(found['export-size'], COPY_BYTES);
      assert.deepEqual(found.contexts, ['base:allocation', 'bucketdisk:state']);
      assert.equal(found.is_read_only, false);
      for (const can of ['cache', 'df', 'fast_zero', 'flush', 'fua', 'multi_conn', 'trim', 'zero']) {
        assert.equal(found[`can_${can}`], true, can);
      }
      assert.equal(found.block_size_minimum, 512);
      assert.equal(found.block_size_preferred, MIB);
      assert.equal(found.block_size_maximum, 32 * MIB);
    }
  });

  it('lists every export with its description', async (t) => {
    if (!requireTools(t, ['nbdinfo'])) return;
    for (const transport of TRANSPORTS) {
      const { stdout } = await runCommand(toolPath('nbdinfo'), ['--list', '--json', uri('', transport)]);
      const exports: { 'export-name': string; description?: string }[] = JSON.parse(stdout).exports;
      const names = exports.map((one) => one['export-name']).sort();
      const perTransport = ['fio', 'img', 'io'].flatMap((name) => TRANSPORTS.map((one) => `${name}-${one}`));
      assert.deepEqual(names, ['big', ...perTransport, 'map', 'requests'].sort());
      assert.equal(exports.find((one) => one['export-name'] === 'big')?.description, 'a large one');
    }
  });

  it('maps holes and data as they are in the bucket, with right totals', async (t) => {
    if (!requireTools(t, ['nbdinfo', 'qemu-io'])) return;
    const writes = ['write -P 1 1M 2M', 'write -P 2 10M 512', 'write -P 3 20M 1M', 'write -z 20M 1M'];
    await qemuIo(uri('map', 'tcp'), writes);
    assert.deepEqual(await blockKeysOf(bucket.store, 'map/'), ['map/00000001', 'map/00000002', 'map/0000000a']);
    const [hole, data] = ['hole,zero', 'data'];
    const expected = [
      [0, 1 * MIB, hole],
      [1 * MIB, 2 * MIB, data],
      [3 * MIB, 7 * MIB, hole],
      [10 * MIB, 1 * MIB, data],
      [11 * MIB, 53 * MIB, hole],
    ];
    for (const transport of TRANSPORTS) {
      const map = await runCommand(toolPath('nbdinfo'), ['--map', '--json', uri('map', transport)]);
      const extents: { offset: number; length: number; description: string }[] = JSON.parse(map.stdout);
      assert.deepEqual(
        extents.map(({ offset, length, description }) => [offset, length, description]),
        expected,
      );
      const state = await runCommand(toolPath('nbdinfo'), ['--map=bucketdisk:state', '--json', uri('map', transport)]);
      const [all, ...more]: { length: number; type: number }[] = JSON.parse(state.stdout);
      assert.deepEqual([all?.length, all?.type, more], [64 * MIB, 0, []], 'nothing is cached');
      const totals = await runCommand(toolPath('nbdinfo'), ['--map', '--totals', '--json', uri('map', transport)]);
      const sums: { size: number; description: string }[] = JSON.parse(totals.stdout);
      const sizes = Object.fromEntries(sums.map(({ description, size }) => [description, size]));
      assert.deepEqual(sizes, { data: 3 * MIB, 'hole,zero': 61 * MIB });
    }
  });
});

describe('nbdcopy', () => {
  for (const [into, from] of [
    ['tcp', 'unix'],
    ['unix', 'tcp'],
  ] as const) {
    it(`copies 1 GiB of random data in over ${into} and out over ${from}`, { timeout: SLOW_MS }, async (t) => {
      if (!requireTools(t, ['nbdcopy'])) return;
      const dir = await tempDir(t, 'nbdcopy');
      const [source, result] = [join(dir, 'source'), join(dir, 'result')];
      const hash = await writeRandomFile(source, `nbdcopy ${into}`, COPY_BYTES);
      const options = { timeoutMs: SLOW_MS };
      await runCommand(toolPath('nbdcopy'), ['--flush', source, uri('big', into)], options);
      await runCommand(toolPath('nbdcopy'), [uri('big', from), result], options);
      assert.equal(await hashFile(result), hash);
    });
  }
});

describe('qemu-img', () => {
  for (const transport of TRANSPORTS) {
    it(`converts raw and qcow2 images in and out over ${transport}`, async (t) => {
      if (!requireTools(t, ['qemu-img'])) return;
      const image = uri(`img-${transport}`, transport);
      const dir = await tempDir(t, 'qemu-img');
      const [source, raw, qcow2] = [join(dir, 'source'), join(dir, 'raw'), join(dir, 'qcow2')];
      await writeSparse(source, 64 * MIB);
      const qemuImg = (...words: string[]) => runCommand(toolPath('qemu-img'), words);
      await qemuImg('convert', '-n', '-f', 'raw', '-O', 'raw', source, image);
      await qemuImg('compare', '-f', 'raw', '-F', 'raw', source, image);
      await qemuImg('convert', '-f', 'raw', '-O', 'raw', image, raw);
      assert.equal(await hashFile(raw), await hashFile(source));
      await qemuImg('convert', '-f', 'raw', '-O', 'qcow2', image, qcow2);
      await qemuImg('compare', '-f', 'qcow2', '-F', 'raw', qcow2, image);
      // The holes of the source are holes of the volume: what qemu zeroes is not stored.
      assert.equal((await blockKeysOf(bucket.store, `img-${transport}/`)).length, (4 * MIB) / BLOCK_BYTES);
    });

    it(`keeps a qcow2 image on a volume over ${transport}`, async (t) => {
      if (!requireTools(t, ['qemu-img'])) return;
      const image = uri(`img-${transport}`, transport);
      const source = join(await tempDir(t, 'qemu-img'), 'source');
      await writeSparse(source, 32 * MIB);
      const qemuImg = (...words: string[]) => runCommand(toolPath('qemu-img'), words);
      await qemuImg('create', '-f', 'qcow2', image, '32M');
      await qemuImg('convert', '-n', '-f', 'raw', '-O', 'qcow2', source, image);
      await qemuImg('check', '-f', 'qcow2', image);
      await qemuImg('compare', '-f', 'raw', '-F', 'qcow2', source, image);
    });
  }
});

describe('qemu-io', () => {
  for (const transport of TRANSPORTS) {
    it(`writes, zeroes, discards, flushes and reads patterns over ${transport}`, async (t) => {
      if (!requireTools(t, ['qemu-io'])) return;
      const image = uri(`io-${transport}`, transport);
      await qemuIo(image, [
        'write -P 0xaa 0 256k',
        'write -f -P 0xbb 100k 1k',
        'write -P 0xcc 130561 1023',
        'write -z 192k 64k',
        'write -z -u 64k 10k',
        'flush',
        'read -P 0xaa 0 64k',
        'read -P 0 64k 10k',
        'read -P 0xaa 74k 26k',
        'read -P 0xbb 100k 1k',
        'read -P 0xcc 130561 1023',
        'read -P 0 192k 64k',
        'discard 0 64k',
        'read -P 0 0 64k',
        'aio_write -P 0xdd 1M 2M',
        'aio_write -P 0xee 4M 2M',
        'aio_flush',
        'flush',
      ]);
      await qemuIo(image, ['read -P 0xdd 1M 2M', 'read -P 0 3M 1M', 'read -P 0xee 4M 2M', 'read -P 0xaa 101k 1k']);
      await assert.rejects(qemuIo(image, ['read -P 0xdd 3M 1M']), /Pattern verification failed|ended with 1/);
    });
  }
});

describe('fio', () => {
  for (const transport of TRANSPORTS) {
    it(`verifies checksums of random writes at a depth of 16 over ${transport}`, { timeout: SLOW_MS }, async (t) => {
      if (!requireTools(t, ['fio'])) return;
      const job = ['--name=verify', '--ioengine=nbd', `--uri=${uri(`fio-${transport}`, transport)}`, '--size=48m'];
      const mix = ['--rw=randwrite', '--bsrange=4k-128k', '--iodepth=16', '--fsync=64'];
      const verify = ['--verify=crc32c', '--verify_fatal=1', '--do_verify=1', '--randseed=7'];
      const dir = await tempDir(t, 'fio');
      const args = [...job, ...mix, ...verify, '--output-format=json'];
      const { stdout } = await runCommand(toolPath('fio'), args, { timeoutMs: SLOW_MS, cwd: dir });
      const [result] = JSON.parse(stdout.slice(stdout.indexOf('{'))).jobs;
      assert.equal(result.error, 0);
      assert.equal(result.write.io_bytes, 48 * MIB);
      assert.equal(result.read.io_bytes, 48 * MIB, 'every byte is read again and checked');
    });
  }
});

describe('nbdkit', () => {
  for (const transport of TRANSPORTS) {
    it(`passes requests on by its nbd plugin over ${transport}`, async (t) => {
      if (!requireTools(t, ['nbdkit', 'nbdinfo', 'qemu-io'])) return;
      const through = ['-U', '-', 'nbd', `uri=${uri(`io-${transport}`, transport)}`, '--run'];
      const { stdout } = await runCommand(toolPath('nbdkit'), [...through, 'nbdinfo --size "$uri"']);
      assert.equal(Number(stdout), 64 * MIB);
      const writes = `-c 'write -P 7 10M 1M' -c 'write -f -P 8 10M 4k' -c flush -c 'discard 11M 64k' -c 'write -z 12M 64k'`;
      const reads = `-c 'read -P 8 10M 4k' -c 'read -P 7 10244k 1020k' -c 'read -P 0 12M 64k'`;
      await runCommand(toolPath('nbdkit'), [...through, `qemu-io -f raw ${writes} ${reads} "$uri"`]);
    });
  }
});

describe('libnbd', () => {
  const checks: Readonly<Record<string, string>> = {
    df: 'reads in chunks, and in one with DF',
    zeroes: 'zeroes with NO_HOLE and FAST_ZERO',
    trims: 'trims whole blocks and parts of them',
    cache: 'takes CACHE',
    block_status: 'tells block status, all of it or one extent',
    unaligned: 'takes requests of every offset and length',
    overlapping: 'keeps the order of overlapping requests under way at once',
    past_the_end: 'refuses what lies past the end, and goes on',
    large: 'takes the largest request in one piece',
  };
  for (const [check, name] of Object.entries(checks)) {
    for (const transport of TRANSPORTS) {
      it(`${name} over ${transport}`, (t) => runCheck(t, check, uri('requests', transport)));
    }
  }

  it('sees what was answered on another connection', (t) =>
    runCheck(t, 'multi_conn', uri('requests', 'tcp'), uri('requests', 'unix')));

  it('serves the default export where no name is given', async (t) => {
    for (const transport of TRANSPORTS) await runCheck(t, 'default_export', uri('', transport), String(COPY_BYTES));
  });

  it('leaves in the bucket what was answered with FUA or before a flush, also when it is killed', async (t) => {
    if (!requireTools(t, ['python3-libnbd'])) return;
    const own = await fileBucket(t);
    const config = {
      store: own.section,
      cache: { size: '0' },
      volumes: { disk: { size: '1MiB', blockSize: '64KiB' } },
    };
    const killed = await startAppliance({ lifetime: t, config });
    const client = startProcess(t, toolPath('python3-libnbd'), [REQUESTS, 'fua', killed.uris('disk').unix]);
    await client.until('all is answered', () => (client.stdout.includes('answered') ? true : undefined));
    await killed.kill();
    const stored = await Promise.all(
      (await blockKeysOf(own.store, 'disk/')).map(async (key) => [key, (await own.store.get(key))?.body[0]]),
    );
    assert.deepEqual(stored, [
      ['disk/00000000', 0x11],
      ['disk/00000001', 0x22],
      ['disk/00000002', 0x33],
    ]);

    // What it has left is there again, for readers only.
    const readOnly = { ...config, volumes: { disk: { readOnly: true } } };
    const reader = await startAppliance({ lifetime: t, config: readOnly });
    for (const transport of TRANSPORTS) await runCheck(t, 'read_only', reader.uris('disk')[transport]);
    assert.deepEqual(await blockKeysOf(own.store, 'disk/'), ['disk/00000000', 'disk/00000001', 'disk/00000002']);
  });
});

async function runCheck(t: TestContext, check: string, ...args: string[]): Promise<void> {
  if (!requireTools(t, ['python3-libnbd'])) return;
  await runCommand(toolPath('python3-libnbd'), [REQUESTS, check, ...args]);
}

/** Runs the commands in one session; a pattern that is not found is an error. */
async function qemuIo(image: string, commands: readonly string[]): Promise<void> {
  const args = commands.flatMap((command) => ['-c', command]);
  const { stdout, stderr } = await runCommand(toolPath('qemu-io'), ['-f', 'raw', ...args, image]);
  assert.doesNotMatch(stdout + stderr, /failed|error/i);
}

/** A file of zeros with 4 MiB of random bytes in it: some at the start, at the end and in between. */
async function writeSparse(path: string, length: number): Promise<void> {
  const image = await open(path, 'w');
  try {
    await image.truncate(length);
    await image.write(randomBytes('start', MIB), 0, MIB, 0);
    await image.write(randomBytes('middle', 2 * MIB), 0, 2 * MIB, 8 * MIB);
    await image.write(randomBytes('end', MIB), 0, MIB, length - MIB);
  } finally {
    await image.close();
  }
}
