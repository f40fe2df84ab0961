/**
 * Clients of a newer Debian, which ask for extended headers: libnbd 1.22 and what is built on it, and qemu 10. The volumes have
 * a cache, as those of the older clients' tests have none.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, it, type TestContext } from 'node:test';
import { silentLog } from '../../src/lib/log.ts';
import { NbdServer } from '../../src/nbd/server.ts';
import { tableOf } from '../conformance/nbd/export-table.ts';
import { MemoryDevice } from '../conformance/nbd/memory-device.ts';
import { RawClient } from '../conformance/nbd/raw-client.ts';
import { type Appliance, startAppliance } from '../support/appliance.ts';
import { type NewerDebian, requireNewerDebian } from '../support/newer-debian.ts';
import { fileBucket, s3Bucket } from './support/buckets.ts';
import { CommandLine } from './support/command-line.ts';
import { fileLifetime } from './support/file-lifetime.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const REQUESTS = join(import.meta.dirname, 'support/requests.py');
const [ABSENT, CLEAN, DIRTY] = [0, 1, 2];

const file = fileLifetime();
let appliance: Appliance;

before(async () => {
  const bucket = await fileBucket(file);
  const small = { size: '64MiB', blockSize: '64KiB' };
  const volumes = { requests: { ...small, default: true }, io: small, copy: small, huge: { size: '1TiB' } };
  appliance = await startAppliance({ lifetime: file, config: { store: bucket.section, volumes } });
});

const uri = (name: string): string => appliance.uris(name).tcp;

/** Of 8 GiB, which only its extents know: a part is dirty, a part clean, the rest a hole. */
class StatesDevice extends MemoryDevice {
  override readonly geometry = { ...new MemoryDevice(0).geometry, sizeBytes: 8 * GIB };

  constructor() {
    super(4 * MIB);
  }

  override extents(offset: number, length: number, countMax?: number): ReturnType<MemoryDevice['extents']> {
    const ends = this.bytes.length;
    const inside = super.extents(offset, Math.max(0, Math.min(offset + length, ends) - offset), countMax);
    const beyond = offset + length - Math.max(offset, ends);
    if (!Array.isArray(inside) || beyond <= 0) return inside;
    return [...inside, { length: beyond, hole: true, zero: true, state: 'absent' }];
  }
}

describe('libnbd 1.22', () => {
  it('uses extended packets, and sees both contexts and that they can be chosen from', async (t) => {
    const newer = await requireNewerDebian(t);
    if (newer === null) return;
    const { stdout } = await newer.run('nbdinfo', ['--json', uri('huge')]);
    const info = JSON.parse(stdout);
    assert.equal(info.extended, true);
    const [found] = info.exports;
    assert.equal(found['export-size'], 1024 * GIB);
    assert.deepEqual(found.contexts, ['base:allocation', 'bucketdisk:state']);
    assert.equal(found.can_block_status_payload, true);
  });

  it('maps bucketdisk:state: dirty, clean and absent, runs of over 4 GiB in one', async (t) => {
    const newer = await requireNewerDebian(t);
    if (newer === null) return;
    const device = new StatesDevice();
    const server = new NbdServer({ exports: tableOf({ name: 'disk', description: '', device }), log: silentLog });
    t.after(() => server.close({ deadlineMs: 0 }));
    const address = await server.listen({ host: '127.0.0.1', port: 0 });
    const client = await RawClient.attach(address);
    await client.request({ type: 1, offset: 0, payload: Buffer.alloc(MIB, 1) });
    await client.request({ type: 3 });
    await client.request({ type: 1, offset: 3 * MIB, payload: Buffer.alloc(MIB, 1) });
    client.close();
    const map = async (context: string): Promise<number[][]> => {
      const target = `nbd://127.0.0.1:${'port' in address ? address.port : 0}/disk`;
      const { stdout } = await newer.run('nbdinfo', [`--map=${context}`, '--json', target]);
      const extents: { offset: number; length: number; type: number }[] = JSON.parse(stdout);
      return extents.map(({ offset, length, type }) => [offset, length, type]);
    };
    assert.deepEqual(await map('bucketdisk:state'), [
      [0, MIB, CLEAN],
      [MIB, 2 * MIB, ABSENT],
      [3 * MIB, MIB, DIRTY],
      [4 * MIB, 8 * GIB - 4 * MIB, ABSENT],
    ]);
    assert.deepEqual(await map('base:allocation'), [
      [0, MIB, 0],
      [MIB, 2 * MIB, 3],
      [3 * MIB, MIB, 0],
      [4 * MIB, 8 * GIB - 4 * MIB, 3],
    ]);
  });

  it('sees what an appliance has written become clean once it is in the bucket', async (t) => {
    const newer = await requireNewerDebian(t);
    if (newer === null) return;
    const bucket = await s3Bucket(t);
    const config = { store: bucket.section, volumes: { disk: { size: '64MiB', blockSize: '64KiB' } } };
    const cached = await startAppliance({ lifetime: t, config });
    const upload = bucket.server.faults.hold({ op: 'PutObject', key: /^disk\/0000000[0-9a-f]$/ });
    const target = cached.uris('disk').tcp;
    await newer.run('qemu-io', ['-f', 'raw', '-c', 'write -P 5 0 1M', target]);
    const map = async (): Promise<number[][]> => {
      const { stdout } = await newer.run('nbdinfo', ['--map=bucketdisk:state', '--json', target]);
      const extents: { offset: number; length: number; type: number }[] = JSON.parse(stdout);
      return extents.map(({ offset, length, type }) => [offset, length, type]);
    };
    const rest = [MIB, 63 * MIB, ABSENT];
    assert.deepEqual(await map(), [[0, MIB, DIRTY], rest]);
    upload.release();
    const commands = new CommandLine(cached.dir, config);
    assert.equal((await commands.run(['flush', 'disk'])).code, 0);
    assert.deepEqual(await map(), [[0, MIB, CLEAN], rest]);
  });

  const checks: Readonly<Record<string, string>> = {
    extended: 'sends requests of a terabyte, and asks for the status of chosen contexts',
    df: 'reads in chunks, and in one with DF',
    zeroes: 'zeroes with NO_HOLE and FAST_ZERO, parts of blocks too',
    trims: 'trims whole blocks and parts of them',
    unaligned: 'takes requests of every offset and length',
    overlapping: 'keeps the order of overlapping requests under way at once',
    past_the_end: 'refuses what lies past the end, and goes on',
    large: 'takes the largest request in one piece',
  };
  for (const [check, name] of Object.entries(checks)) {
    const args = check === 'zeroes' ? ['zeroed'] : [];
    it(name, (t) => runCheck(t, check, uri(check === 'extended' ? 'huge' : 'requests'), ...args));
  }
});

describe('nbdcopy 1.22', () => {
  it('copies in and out, and past holes', async (t) => {
    const newer = await requireNewerDebian(t);
    if (newer === null) return;
    // Its own server of random bytes is the source, and the judge of what comes back.
    const random = ['random', '8M', 'seed=7'];
    const source = ['nbdkit', '-U', '-', ...random, '--run', `nbdcopy --flush "$uri" '${uri('copy')}'`];
    await newer.run('/usr/bin/env', source);
    const judge = ['nbdkit', '-U', '-', ...random, '--run', `nbdcopy "$uri" - | sha256sum`];
    const { stdout: expected } = await newer.run('/usr/bin/env', judge);
    const { stdout: found } = await newer.run('sh', ['-c', `nbdcopy '${uri('copy')}' - | head -c 8M | sha256sum`]);
    assert.equal(found, expected);
  });
});

describe('nbdkit 1.42', () => {
  it('passes requests on by its nbd plugin', async (t) => {
    const newer = await requireNewerDebian(t);
    if (newer === null) return;
    const through = ['nbdkit', '-U', '-', 'nbd', `uri=${uri('io')}`, '--run'];
    const { stdout } = await newer.run('/usr/bin/env', [...through, 'nbdinfo --size "$uri"']);
    assert.equal(Number(stdout), 64 * MIB);
    const commands = `-c 'write -P 7 1M 1M' -c flush -c 'discard 1M 64k' -c 'read -P 0 1M 64k' -c 'read -P 7 1088k 64k'`;
    await newer.run('/usr/bin/env', [...through, `qemu-io -f raw ${commands} "$uri"`]);
  });
});

describe('qemu 10', () => {
  it('writes, zeroes, discards, flushes and reads patterns', async (t) => {
    const newer = await requireNewerDebian(t);
    if (newer === null) return;
    const io = async (commands: readonly string[]): Promise<void> => {
      const args = commands.flatMap((command) => ['-c', command]);
      const { stdout, stderr } = await newer.run('qemu-io', ['-f', 'raw', ...args, uri('io')]);
      assert.doesNotMatch(stdout + stderr, /failed|error/i);
    };
    await io(['write -P 0xaa 0 256k', 'write -f -P 0xbb 100k 1k', 'write -z 192k 64k', 'write -z -u 64k 10k', 'flush']);
    await io(['read -P 0xaa 0 64k', 'read -P 0 64k 10k', 'read -P 0xbb 100k 1k', 'read -P 0 192k 64k']);
    await io(['discard 0 64M', 'read -P 0 0 1M', 'aio_write -P 0xdd 1M 2M', 'aio_write -P 0xee 4M 2M', 'aio_flush']);
    await io(['read -P 0xdd 1M 2M', 'read -P 0 3M 1M', 'read -P 0xee 4M 2M']);
  });

  it('keeps a qcow2 image on a volume', async (t) => {
    const newer = await requireNewerDebian(t);
    if (newer === null) return;
    const image = uri('io');
    await newer.run('qemu-img', ['create', '-f', 'qcow2', image, '32M']);
    await newer.run('qemu-io', ['-f', 'qcow2', '-c', 'write -P 9 5M 3M', '-c', 'read -P 9 5M 3M', image]);
    await newer.run('qemu-img', ['check', '-f', 'qcow2', image]);
  });
});

async function runCheck(t: TestContext, check: string, ...args: string[]): Promise<void> {
  const newer: NewerDebian | null = await requireNewerDebian(t);
  if (newer === null) return;
  await newer.run('python3', ['-', check, ...args], { input: await readFile(REQUESTS) });
}
