/**
 * What s3backer 2.1.6 gets wrong and a disk without a cache can get wrong too: one test for each, on the whole way from
 * the device to a strict S3 server. Each fails on s3backer. The others (a full cache disk, a changed cache size, bytes
 * rotting in the cache, what a restart finds in it) are for the cache.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { BlocksLayout } from '../../../src/layout/blocks/blocks-layout.ts';
import { parseSize } from '../../../src/lib/units.ts';
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import { S3ObjectStore } from '../../../src/object/s3/s3-object-store.ts';
import { openFence } from '../../../src/volume/fence.ts';
import { WriteThroughDevice } from '../../../src/volume/write-through-device.ts';
import { type Lifetime, onEnd } from '../../support/cleanup.ts';
import { Random } from '../../support/random.ts';
import { status } from '../../support/s3-server/faults.ts';
import { type S3Server, startS3Server } from '../../support/s3-server/s3-server.ts';
import { ChaosStore, Scheduler } from '../layout/chaos-store.ts';
import { type BlocksVariant, openBlocks, PLAIN, PREFIX } from '../layout/variants.ts';
import { s3OptionsFor } from '../object-store/s3-options.ts';
import { stackOn } from '../object-store/stack.ts';
import { rejectsWith } from '../object-store/suite.ts';

const PLAIN_WRITE = { fua: false };
const BUCKET = 'disks';

interface Disk {
  readonly server: S3Server;
  readonly layout: BlocksLayout;
  readonly device: WriteThroughDevice;
  readonly key: (block: number) => string;
}

async function diskOnS3(lifetime: Lifetime, blocks: number, variant: BlocksVariant = PLAIN): Promise<Disk> {
  const server = await startS3Server({ buckets: [BUCKET], requestsMax: 50_000 });
  onEnd(lifetime, () => server.close());
  const { region, accessKeyId, secretAccessKey } = server;
  const store = new S3ObjectStore(s3OptionsFor({ endpoint: server.url, region, accessKeyId, secretAccessKey }, BUCKET));
  onEnd(lifetime, () => store.close());
  const layout = openBlocks(store, variant, blocks * variant.blockSizeBytes);
  const device = new WriteThroughDevice({ layout, fence: openFence, readOnly: false });
  const key = (block: number): string => PREFIX + block.toString(16).padStart(8, '0');
  return { server, layout, device, key };
}

const countOf = (server: S3Server, op: string): number => server.requests.filter((request) => request.op === op).length;
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('weaknesses of s3backer', () => {
  test('1: an answered write, and an answered flush, are in the bucket', async (t) => {
    const { server, device, key } = await diskOnS3(t, 8);
    const put = server.faults.hold({ op: 'PutObject' });
    let answered = 0;
    const count = (): void => void answered++;
    const requests = [
      device.write(0, Buffer.alloc(4096, 1), PLAIN_WRITE).then(count),
      device.write(4096, Buffer.alloc(4096, 2), { fua: true }).then(count),
      device.flush().then(count),
    ];
    await put.arrived(2);
    for (let i = 0; i < 20; i++) await turn();
    assert.equal(answered, 0);
    assert.equal(server.bucket(BUCKET).size, 0);
    put.release();
    await Promise.all(requests);
    assert.deepEqual([...server.bucket(BUCKET).keys()].sort(), [key(0), key(1)]);
  });

  test('2: a flush waits for a PUT that is in flight already', async (t) => {
    const { server, device, key } = await diskOnS3(t, 8);
    const put = server.faults.hold({ op: 'PutObject' });
    const writing = device.write(0, Buffer.alloc(4096, 1), PLAIN_WRITE);
    await put.arrived();
    let flushed = false;
    const flushing = device.flush().then(() => {
      flushed = true;
      assert.ok(server.bucket(BUCKET).has(key(0)));
    });
    for (let i = 0; i < 20; i++) await turn();
    assert.equal(flushed, false);
    put.release();
    await Promise.all([writing, flushing]);
  });

  test('2: a flush fails where the PUT it waits for fails', async (t) => {
    const { server, device } = await diskOnS3(t, 8);
    const put = server.faults.hold({ op: 'PutObject' });
    server.faults.add(status(503), { op: 'PutObject' });
    const writing = assert.rejects(device.write(0, Buffer.alloc(4096, 1), PLAIN_WRITE), rejectsWith('UNAVAILABLE'));
    await put.arrived();
    const flushing = assert.rejects(device.flush(), rejectsWith('UNAVAILABLE'));
    put.release();
    await Promise.all([writing, flushing]);
  });

  test('3: a read of a never-written block that races a small write loses nothing, 900 times', async () => {
    const tries = 900;
    const variant = { ...PLAIN, blockSizeBytes: 65536 };
    const random = new Random(3);
    const scheduler = new Scheduler(random);
    const bucket = new MemoryObjectStore();
    const layout = openBlocks(new ChaosStore(bucket, scheduler, random, 0), variant, tries * 65536);
    const device = new WriteThroughDevice({ layout, fence: openFence, readOnly: false });
    let lost = 0;
    let wrongReads = 0;
    const race = async (block: number): Promise<void> => {
      const offset = block * 65536;
      const data = Buffer.alloc(4096, (block % 255) + 1);
      const requests: Promise<unknown>[] = [];
      const read = (from: number, length: number): void => {
        requests.push(
          device.read(from, length).then((bytes) => void (bytes.some((byte) => byte !== 0) && wrongReads++)),
        );
      };
      // Before the write, of the whole block or of parts in it or beside it: all of them zeros.
      for (let i = random.below(3); i >= 0; i--) read(offset + random.below(4) * 4096, 4096 * (1 + random.below(8)));
      if (random.chance(0.5)) await scheduler.pauses(random.below(4));
      const writing = device.write(offset + 8192, data, PLAIN_WRITE);
      if (random.chance(0.5)) requests.push(device.read(offset, 65536));
      await Promise.all([...requests, writing]);
      const after = await device.read(offset + 8192, 4096);
      const next = await openBlocks(bucket, variant, tries * 65536).read(offset + 8192, 4096);
      if (!after.equals(data) || !next.equals(data)) lost++;
    };
    const all = async (): Promise<void> => {
      for (let block = 0; block < tries; block += 30) {
        await Promise.all(Array.from({ length: 30 }, (_, i) => race(block + i)));
      }
    };
    await scheduler.runUntil(all());
    assert.deepEqual({ lost, wrongReads }, { lost: 0, wrongReads: 0 });
  });

  test('3: nor with the read held at the server', async (t) => {
    const { server, device, key } = await diskOnS3(t, 8, { ...PLAIN, blockSizeBytes: 65536 });
    const get = server.faults.hold({ op: 'GetObject' }, { answer: true });
    const reading = device.read(0, 65536);
    await get.arrived();
    const writing = device.write(4096, Buffer.alloc(4096, 9), PLAIN_WRITE);
    get.release();
    assert.deepEqual(await reading, Buffer.alloc(65536));
    await writing;
    assert.deepEqual(await device.read(4096, 4096), Buffer.alloc(4096, 9));
    assert.deepEqual(server.bucket(BUCKET).get(key(0))?.body.subarray(4096, 8192), Buffer.alloc(4096, 9));
  });

  test('5: zeroing a range leaves none of the old bytes', async (t) => {
    const { server, device, key } = await diskOnS3(t, 4);
    for (const mayTrim of [true, false]) {
      await device.write(0, Buffer.alloc(4 * 4096, 5), PLAIN_WRITE);
      await device.zero(100, 2 * 4096, { fua: false, mayTrim, fastOnly: false });
      const expected = Buffer.alloc(4 * 4096, 5).fill(0, 100, 100 + 2 * 4096);
      assert.deepEqual(await device.read(0, 4 * 4096), expected);
      assert.deepEqual(server.bucket(BUCKET).get(key(0))?.body, expected.subarray(0, 4096));
      assert.equal(server.bucket(BUCKET).has(key(1)), false);
      assert.deepEqual(server.bucket(BUCKET).get(key(2))?.body, expected.subarray(8192, 12_288));
    }
  });

  test('8: a trim over 10,000 stored blocks takes 10 requests, path-style; of absent ones none', async (t) => {
    const { server, layout, device, key } = await diskOnS3(t, 1_000_000);
    const body = Buffer.alloc(4096, 1);
    for (let block = 0; block < 10_000; block++) server.bucket(BUCKET).put(key(block * 3), body);
    await layout.survey();
    server.clearRequests();
    await device.trim(0, 30_000 * 4096, PLAIN_WRITE);
    assert.equal(server.bucket(BUCKET).size, 0);
    assert.deepEqual(
      server.requests.map(({ op }) => op),
      new Array(10).fill('DeleteObjects'),
    );
    server.clearRequests();
    await device.trim(0, 1_000_000 * 4096, PLAIN_WRITE);
    await device.zero(5000 * 4096 + 1, 7, { fua: false, mayTrim: true, fastOnly: true });
    assert.equal(server.requests.length, 0);
  });

  test('8: where nothing is known of the blocks, a trim of all costs a listing and a delete per 1000 that exist', async (t) => {
    const { server, device, key } = await diskOnS3(t, 1_000_000);
    const body = Buffer.alloc(4096, 1);
    for (let block = 0; block < 2500; block++) server.bucket(BUCKET).put(key(block * 400), body);
    await device.trim(0, 1_000_000 * 4096, PLAIN_WRITE);
    assert.equal(server.bucket(BUCKET).size, 0);
    assert.deepEqual([countOf(server, 'ListObjectsV2'), countOf(server, 'DeleteObjects')], [3, 3]);
    assert.equal(server.requests.length, 6);
  });

  test('9: bytes that rot in the bucket are an error, never other bytes, under zstd too', async (t) => {
    const { server, device, key } = await diskOnS3(t, 4, { ...PLAIN, compress: 'zstd' });
    const data = Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * i) >> 3));
    await device.write(0, data, PLAIN_WRITE);
    const stored = server.bucket(BUCKET).get(key(0));
    assert.ok(stored !== undefined);
    let refused = 0;
    for (let at = 0; at < stored.body.length; at += 31) {
      const body = Buffer.from(stored.body);
      body[at] = (body[at] ?? 0) ^ 4;
      server.bucket(BUCKET).put(key(0), body, stored);
      const read = await device.read(0, 4096).catch(rejectsWith('CORRUPT'));
      // A bit that carries no meaning may be another; what is returned is right in any case.
      if (read instanceof Buffer) assert.deepEqual(read, data, `bit changed at ${at}`);
      else refused++;
    }
    assert.ok(refused > 10);
  });

  test('10: requests to different blocks go on beside each other, and a slow one holds up nobody else', async (t) => {
    const { server, device, key } = await diskOnS3(t, 64);
    server.bucket(BUCKET).put(key(40), Buffer.alloc(4096, 4));
    const put = server.faults.hold({ op: 'PutObject' });
    const writing = Array.from({ length: 8 }, (_, i) => device.write(i * 4096, Buffer.alloc(4096, 1), PLAIN_WRITE));
    await put.arrived(8);
    assert.deepEqual(await device.read(40 * 4096, 4096), Buffer.alloc(4096, 4));
    await device.trim(41 * 4096, 4096, PLAIN_WRITE);
    put.release();
    await Promise.all(writing);
  });

  test('11: a size without a unit is refused with the spelling that is right', () => {
    assert.equal(parseSize('4KiB'), 4096);
    assert.throws(() => parseSize('4096'), /4KiB/);
  });

  test('11: no PUT asks to be continued, however large', async (t) => {
    const blockSizeBytes = 4 * 1024 * 1024;
    const { server, device } = await diskOnS3(t, 2, { ...PLAIN, blockSizeBytes });
    await device.write(0, Buffer.alloc(blockSizeBytes, 1), PLAIN_WRITE);
    await device.write(blockSizeBytes, Buffer.alloc(1, 1), PLAIN_WRITE);
    const puts = server.requests.filter(({ op }) => op === 'PutObject');
    assert.equal(puts.length, 2);
    for (const { headers } of puts) assert.equal(headers.expect, undefined);
  });

  test('11: a small read of a large block fetches those bytes only', async (t) => {
    const blockSizeBytes = 1024 * 1024;
    const { server, device } = await diskOnS3(t, 4, { ...PLAIN, blockSizeBytes });
    await device.write(0, Buffer.alloc(blockSizeBytes, 3), PLAIN_WRITE);
    server.clearRequests();
    assert.deepEqual(await device.read(12_345, 4096), Buffer.alloc(4096, 3));
    const [get] = server.requests;
    assert.equal(server.requests.length, 1);
    assert.equal(get?.headers.range, 'bytes=12345-16440');
    assert.equal(get?.sentBytes, 4096);
  });

  test('11: every request is counted', async () => {
    const { store, metrics } = stackOn(new MemoryObjectStore());
    const layout = openBlocks(store, PLAIN, 4 * 4096);
    await layout.commit({ extents: [{ offset: 0, data: Buffer.alloc(4096, 1) }] });
    await layout.read(0, 4096);
    const { operations, bytesUp, bytesDown } = metrics.snapshot();
    assert.deepEqual([operations.put?.attempts, operations.get?.attempts, bytesUp, bytesDown], [1, 1, 4096, 4096]);
  });
});
