/** What the file store does that other stores have no way to: damage, a bucket that goes away, foreign files. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, open, readdir, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { FileObjectStore } from '../../../../src/object/file/file-object-store.ts';
import { fromFsError } from '../../../../src/object/file/fs-errors.ts';
import { listAll, listKeys, rejectsWith } from '../../../conformance/object-store/suite.ts';
import { formatSectors, SECTOR_BYTES } from '../../../support/sectors.ts';

describe('FileObjectStore', () => {
  let parent: string;
  let directory: string;
  let store: FileObjectStore;
  beforeEach(async () => {
    parent = await mkdtemp(join(tmpdir(), 'bucketdisk-file-'));
    directory = join(parent, 'data', 'bucket');
    store = await FileObjectStore.open(directory);
  });
  afterEach(async () => {
    await store.close();
    await rm(parent, { recursive: true, force: true });
  });

  async function flipByte(path: string, offset: number): Promise<void> {
    const file = await open(path, 'r+');
    const byte = Buffer.alloc(1);
    const { size } = await file.stat();
    const at = offset < 0 ? size + offset : offset;
    await file.read(byte, 0, 1, at);
    byte[0] = (byte[0] ?? 0) ^ 1;
    await file.write(byte, 0, 1, at);
    await file.close();
  }

  it('is named by its directory', () => {
    assert.equal(store.bucket, 'bucket');
    assert.equal(store.description, `file://${directory}`);
  });

  it('survives being closed and opened', async () => {
    const { etag } = await store.put('a/b', Buffer.from('x'), { headers: { metadata: { m: '1' } } });
    await store.close();
    store = await FileObjectStore.open(directory);
    const object = await store.get('a/b');
    assert.equal(object?.etag, etag);
    assert.deepEqual(object?.metadata, { m: '1' });
  });

  it('names the file whose body, header or length is damaged, and still lists and replaces it', async () => {
    const path = join(directory, 'v', '00=');
    const put = (): Promise<unknown> => store.put('v/00', Buffer.alloc(5000, 7));
    await put();
    await flipByte(path, -1);
    await assert.rejects(store.get('v/00'), (error) => rejectsWith('CORRUPT')(error) && String(error).includes(path));
    await put();
    await flipByte(path, 60);
    await assert.rejects(store.get('v/00'), rejectsWith('CORRUPT'));
    await assert.rejects(store.head('v/00'), rejectsWith('CORRUPT'));
    await assert.rejects(store.get('v/00', { range: { offset: 0, length: 1 } }), rejectsWith('CORRUPT'));
    assert.deepEqual(
      (await listAll(store, '')).map(({ key, etag }) => [key, etag]),
      [['v/00', 'damaged']],
    );
    await assert.rejects(store.put('v/00', Buffer.from('x'), { ifNoneMatch: '*' }), rejectsWith('CONFLICT'));
    await put();
    await truncate(path, 1000);
    await assert.rejects(store.get('v/00'), rejectsWith('CORRUPT'));
    await assert.rejects(store.get('v/00', { range: { offset: 0, length: 1 } }), rejectsWith('CORRUPT'));
    await put();
    assert.equal((await store.get('v/00'))?.body.length, 5000);
    await truncate(path, 0);
    await assert.rejects(store.get('v/00'), rejectsWith('CORRUPT'));
    await store.delete(['v/00']);
    assert.equal(await store.get('v/00'), null);
  });

  it('tells a body from another one of sectors that carry a CRC-32 of their own', async () => {
    const path = join(directory, 'v', '00=');
    await store.put('v/00', formatSectors(0, 8, 1));
    const file = await open(path, 'r+');
    const { size } = await file.stat();
    await file.write(formatSectors(8, 4, 2), 0, 4 * SECTOR_BYTES, size - 4 * SECTOR_BYTES);
    await file.close();
    await assert.rejects(store.get('v/00'), rejectsWith('CORRUPT'));
  });

  it('reads files of the first versions, which have a CRC-32 of the body', async () => {
    const path = join(directory, 'v', '00=');
    await store.put('v/00', Buffer.from('body'));
    const [first = '', header = ''] = (await readFile(path, 'latin1')).split('\n');
    const { bodyXxh64: _, ...rest } = JSON.parse(header) as Record<string, unknown>;
    const write = (bodyCrc32: number): Promise<void> => {
      const json = JSON.stringify({ ...rest, bodyCrc32 });
      const hex = (value: number): string => value.toString(16).padStart(8, '0');
      return writeFile(path, `${first.split(' ')[0]} ${hex(json.length)} ${hex(crc32(json))}\n${json}\nbody`);
    };
    await write(crc32('body'));
    assert.equal((await store.get('v/00'))?.body.toString(), 'body');
    await write(crc32('other'));
    await assert.rejects(store.get('v/00'), rejectsWith('CORRUPT'));
  });

  it('keeps headers larger than its first read', async () => {
    const metadata = { big: 'x'.repeat(20_000) };
    await store.put('key', Buffer.from('body'), { headers: { metadata } });
    assert.deepEqual((await store.head('key'))?.metadata, metadata);
    assert.equal((await store.get('key', { range: { offset: 1, length: 2 } }))?.body.toString(), 'od');
    assert.equal((await listAll(store, ''))[0]?.sizeBytes, 4);
  });

  it('never takes a bucket that went away for one without objects', async () => {
    await store.put('key', Buffer.from('x'));
    await rename(directory, `${directory}.away`);
    await mkdir(directory); // As an unmounted file system leaves its mount point.
    await assert.rejects(store.get('key'), rejectsWith('NOT_FOUND'));
    await assert.rejects(store.head('key'), rejectsWith('NOT_FOUND'));
    await assert.rejects(listKeys(store, ''), rejectsWith('NOT_FOUND'));
    await assert.rejects(store.put('key', Buffer.from('y')), rejectsWith('NOT_FOUND'));
    await assert.rejects(store.delete(['key']), rejectsWith('NOT_FOUND'));
    assert.deepEqual(await readdir(directory), [], 'nothing was written beside the bucket');
    await rm(directory, { recursive: true });
    await rename(`${directory}.away`, directory);
    assert.equal((await store.get('key'))?.body.toString(), 'x');
    await store.put('key', Buffer.from('z'));
  });

  it('makes directories again that somebody removed', async () => {
    await store.put('a/b/c', Buffer.from('1'));
    await rm(join(directory, 'a'), { recursive: true });
    assert.equal(await store.get('a/b/c'), null);
    await store.put('a/b/c', Buffer.from('2')).catch(rejectsWith('UNAVAILABLE'));
    await store.put('a/b/c', Buffer.from('3'));
    assert.equal((await store.get('a/b/c'))?.body.toString(), '3');
  });

  it('does not see foreign files, and follows links as a get does', async () => {
    await store.put('v/00', Buffer.from('x'));
    await writeFile(join(directory, 'README'), 'hello');
    await mkdir(join(directory, 'lost+found'));
    await rename(join(directory, 'v'), join(parent, 'elsewhere'));
    await symlink(join(parent, 'elsewhere'), join(directory, 'v'));
    assert.deepEqual(await listKeys(store, ''), ['v/00']);
    assert.equal((await store.get('v/00'))?.body.toString(), 'x');
  });

  it('never takes what a link leads to for absent where it leads nowhere', async () => {
    await store.put('v/00', Buffer.from('x'));
    await store.put('w', Buffer.from('y'));
    const elsewhere = join(parent, 'elsewhere');
    await rename(join(directory, 'v'), elsewhere);
    await symlink(elsewhere, join(directory, 'v'));
    await symlink(join(parent, 'nowhere'), join(directory, '.#foreign'));
    assert.deepEqual(await listKeys(store, ''), ['v/00', 'w']);
    await rename(elsewhere, `${elsewhere}.away`);
    await assert.rejects(store.get('v/00'), rejectsWith('NOT_FOUND'));
    await assert.rejects(store.head('v/01'), rejectsWith('NOT_FOUND'));
    await assert.rejects(store.delete(['w', 'v/00']), rejectsWith('NOT_FOUND'));
    await assert.rejects(listKeys(store, 'v/'), rejectsWith('NOT_FOUND'));
    await assert.rejects(listKeys(store, ''), rejectsWith('UNAVAILABLE'));
    await rename(`${elsewhere}.away`, elsewhere);
    assert.equal((await store.get('v/00'))?.body.toString(), 'x');
    assert.equal(await store.get('v/01'), null);
    await store.delete(['v/00']);
    assert.deepEqual(await listKeys(store, ''), []);
  });

  it('does not read a file into memory that is larger than any object', async () => {
    await store.put('key', Buffer.from('x'));
    await truncate(join(directory, 'key='), 2 ** 31);
    await assert.rejects(store.get('key'), rejectsWith('CORRUPT'));
  });

  it('goes on where the lock file was removed', async () => {
    await store.put('key', Buffer.from('1'));
    await rm(join(directory, '.bucketdisk', 'lock'));
    const other = await FileObjectStore.open(directory);
    await other.put('key', Buffer.from('2'));
    const { etag } = await store.put('key', Buffer.from('3'));
    await other.put('key', Buffer.from('4'), { ifMatch: etag });
    assert.equal((await store.get('key'))?.body.toString(), '4');
    await other.close();
  });

  it('reads and lists an object whole, or as absent, while it is replaced and deleted', async () => {
    const bodyOf = (n: number): Buffer => Buffer.alloc(9000 + n * 300, n);
    let done = false;
    const write = async (): Promise<void> => {
      for (let i = 0; i < 200; i++) {
        await store.put('v/00', bodyOf(i % 20));
        if (i % 5 === 4) await store.delete(['v/00']);
      }
      done = true;
    };
    const read = async (): Promise<void> => {
      for (let i = 0; !done; i++) {
        const range = { offset: 0, length: 8000 };
        const object = await store.get('v/00', i % 2 === 0 ? {} : { range });
        if (object === null) continue;
        const expected = bodyOf(object.body[0] ?? 0);
        assert.equal(object.sizeBytes, expected.length);
        assert.ok(object.body.equals(i % 2 === 0 ? expected : expected.subarray(0, 8000)));
      }
    };
    const list = async (): Promise<void> => {
      while (!done) for (const { etag } of await listAll(store, 'v/')) assert.notEqual(etag, 'damaged');
    };
    await Promise.all([write(), read(), read(), list()]);
    assert.equal(await store.get('v/00'), null);
  });

  it('leaves no temporary file behind, also when a put is refused', async () => {
    await store.put('key', Buffer.from('x'), { ifNoneMatch: '*' });
    await assert.rejects(store.put('key', Buffer.from('y'), { ifNoneMatch: '*' }), rejectsWith('CONFLICT'));
    const temp = join(directory, '.bucketdisk', 'tmp');
    const [area] = (await readdir(temp)).filter((name) => !name.endsWith('.lock'));
    assert.deepEqual(await readdir(join(temp, area ?? assert.fail())), []);
  });

  it('does not take an object for deleted when it could not be moved', async () => {
    await store.put('key', Buffer.from('x'));
    await rm(join(directory, '.bucketdisk', 'tmp'), { recursive: true });
    await assert.rejects(store.delete(['key']), rejectsWith('UNAVAILABLE'));
    assert.equal((await store.get('key'))?.body.toString(), 'x');
  });

  it('says that the disk is full, and goes on when it is not', async (t) => {
    const small = join(parent, 'small');
    await mkdir(small);
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', small]).status === 0;
    if (!mounted) return t.skip('mounting a small file system is not allowed here');
    const tight = await FileObjectStore.open(join(small, 'bucket'));
    try {
      await tight.put('old', Buffer.from('old'));
      await assert.rejects(tight.put('old', Buffer.alloc(1 << 20)), rejectsWith('NO_SPACE'));
      assert.equal((await tight.get('old'))?.body.toString(), 'old');
      await tight.put('new', Buffer.alloc(100_000));
      await tight.close();
    } finally {
      spawnSync('umount', [small]);
    }
  });

  it('writes nothing where it only reads', async () => {
    await store.get('key');
    await listKeys(store, '');
    assert.deepEqual(await readdir(join(directory, '.bucketdisk')), ['bucket']);
    assert.match(await readFile(join(directory, '.bucketdisk', 'bucket'), 'utf8'), /bucketdisk/);
  });

  it('serves several stores of one process on one directory', async () => {
    const other = await FileObjectStore.open(directory);
    const creators = await Promise.allSettled(
      [store, other, store, other].map((s) => s.put('key', Buffer.from('x'), { ifNoneMatch: '*' })),
    );
    assert.equal(creators.filter((result) => result.status === 'fulfilled').length, 1);
    await other.close();
    await store.put('key', Buffer.from('y'));
  });

  it('maps what the system says', () => {
    const errno = (code: string): Error => Object.assign(new Error(code), { code });
    for (const [code, expected] of [
      ['ENOSPC', 'NO_SPACE'],
      ['EDQUOT', 'NO_SPACE'],
      ['EACCES', 'ACCESS_DENIED'],
      ['EROFS', 'ACCESS_DENIED'],
      ['EIO', 'UNAVAILABLE'],
      ['EMFILE', 'UNAVAILABLE'],
    ] as const) {
      assert.equal(fromFsError('writing x', errno(code)).code, expected);
    }
  });

  it('lists any set of keys in the order of their bytes, from any prefix and start', async () => {
    const part = fc.constantFrom(
      'a',
      'b',
      '/',
      '!',
      '0',
      '.',
      'é',
      '\u{1f600}',
      '\uffee',
      'x'.repeat(127),
      'y'.repeat(130),
      '%',
      '=',
    );
    const key = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join(''));
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(key, { maxLength: 12 }), key, key, async (keys, prefix, startAfter) => {
        const bucket = await FileObjectStore.open(join(parent, `run${run++}`));
        await Promise.all(keys.map((k) => bucket.put(k, Buffer.from(k))));
        const sorted = keys.map((k) => Buffer.from(k)).sort(Buffer.compare);
        const expect = (p: string, after: string): string[] =>
          sorted
            .filter((k) => Buffer.compare(k, Buffer.from(after)) > 0)
            .map(String)
            .filter((k) => k.startsWith(p));
        assert.deepEqual(await listKeys(bucket, ''), expect('', ''));
        assert.deepEqual(await listKeys(bucket, prefix), expect(prefix, ''));
        assert.deepEqual(await listKeys(bucket, '', startAfter), expect('', startAfter));
        assert.deepEqual(await listKeys(bucket, prefix, startAfter), expect(prefix, startAfter));
        await bucket.close();
      }),
      { numRuns: 60 },
    );
  });
});
