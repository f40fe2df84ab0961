/** What every Disk must do: run on each implementation. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { Disk } from '../../../src/lib/disk.ts';
import { type ErrorCode, StorageError } from '../../../src/lib/errors.ts';
import { onEnd } from '../../support/cleanup.ts';

export interface DiskUnderTest {
  readonly disk: Disk;
  /** A directory of the test's own, which is there and empty. */
  readonly directory: string;
}

function errorOf(...codes: ErrorCode[]): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof StorageError, `not a StorageError: ${String(error)}`);
    assert.ok(codes.includes(error.code), `${error.code} where ${codes.join(' or ')} was expected: ${error.message}`);
    assert.equal(error.retryable, false);
    return true;
  };
}

function pattern(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at++) bytes[at] = at * 7 + (at >> 8) * 13 + seed;
  return bytes;
}

export function diskSuite(name: string, open: (t: TestContext) => Promise<DiskUnderTest>): void {
  describe(`disk: ${name}`, () => {
    it('reads what was written, in both ways, at any position', async (t) => {
      const { disk, directory } = await open(t);
      const file = disk.open(`${directory}/a`);
      onEnd(t, () => file.close());
      const first = pattern(100_000, 1);
      file.writeSync(first, 0);
      const second = pattern(5000, 2);
      await file.write(second, 4099);
      second.copy(first, 4099);
      assert.equal(file.sizeBytes(), 100_000);
      const sync = Buffer.alloc(100_000);
      assert.equal(file.readSync(sync, 0), 100_000);
      assert.ok(sync.equals(first));
      const async = Buffer.alloc(10_001);
      assert.equal(await file.read(async, 4000), 10_001);
      assert.ok(async.equals(first.subarray(4000, 14_001)));
      await file.datasync();
    });

    it('reads up to the end of the file and no further, and leaves the rest of the target alone', async (t) => {
      const { disk, directory } = await open(t);
      const file = disk.open(`${directory}/a`);
      onEnd(t, () => file.close());
      assert.equal(file.sizeBytes(), 0);
      const target = Buffer.alloc(10, 0xee);
      assert.equal(file.readSync(target, 0), 0);
      file.writeSync(Buffer.from('abc'), 2);
      assert.equal(file.readSync(target, 1), 4);
      assert.equal(target.toString('latin1'), '\0abc\xee\xee\xee\xee\xee\xee');
      assert.equal(file.readSync(target, 5), 0);
      assert.equal(await file.read(target, 3), 2);
      assert.equal(target.toString('latin1', 0, 2), 'bc');
      assert.equal(await file.read(target, 1_000_000), 0);
      assert.equal(file.readSync(Buffer.alloc(0), 0), 0);
      file.writeSync(Buffer.alloc(0), 100);
      assert.equal(file.sizeBytes(), 5);
    });

    it('reads holes as zeros', async (t) => {
      const { disk, directory } = await open(t);
      const file = disk.open(`${directory}/a`);
      onEnd(t, () => file.close());
      file.writeSync(Buffer.from('end'), 3 * 2 ** 30);
      const target = Buffer.alloc(9000, 1);
      assert.equal(await file.read(target, 2 ** 31), 9000);
      assert.ok(target.equals(Buffer.alloc(9000)));
      assert.equal(file.readSync(target, 3 * 2 ** 30), 3);
    });

    it('cuts off and grows, and what is added reads as zeros', async (t) => {
      const { disk, directory } = await open(t);
      const file = disk.open(`${directory}/a`);
      onEnd(t, () => file.close());
      file.writeSync(pattern(10_000, 3), 0);
      file.truncate(5001);
      assert.equal(file.sizeBytes(), 5001);
      file.truncate(20_000);
      assert.equal(file.sizeBytes(), 20_000);
      const target = Buffer.alloc(20_000, 1);
      assert.equal(file.readSync(target, 0), 20_000);
      assert.ok(target.equals(Buffer.concat([pattern(10_000, 3).subarray(0, 5001), Buffer.alloc(14_999)])));
    });

    it('sets space aside: the size is the new one, and what was there stays', async (t) => {
      const { disk, directory } = await open(t);
      const file = disk.open(`${directory}/a`);
      onEnd(t, () => file.close());
      file.writeSync(pattern(5000, 4), 3000);
      await file.reserve(1_000_001);
      assert.equal(file.sizeBytes(), 1_000_001);
      const target = Buffer.alloc(1_000_001, 1);
      assert.equal(file.readSync(target, 0), 1_000_001);
      assert.ok(target.subarray(3000, 8000).equals(pattern(5000, 4)));
      assert.ok(target.subarray(8000).equals(Buffer.alloc(992_001)));
      await file.reserve(4000);
      assert.equal(file.sizeBytes(), 4000);
      assert.equal(file.readSync(target, 0), 4000);
      assert.ok(target.subarray(3000, 4000).equals(pattern(5000, 4).subarray(0, 1000)));
      await file.reserve(0);
      assert.equal(file.sizeBytes(), 0);
    });

    it('writes many at once', async (t) => {
      const { disk, directory } = await open(t);
      const file = disk.open(`${directory}/a`);
      onEnd(t, () => file.close());
      const all = pattern(64 * 1000, 5);
      const pieces = Array.from({ length: 64 }, (_, at) => at);
      await Promise.all(pieces.map((at) => file.write(all.subarray(at * 1000, (at + 1) * 1000), at * 1000)));
      await Promise.all([file.datasync(), file.datasync()]);
      const targets = pieces.map(() => Buffer.alloc(1000));
      await Promise.all(targets.map((target, at) => file.read(target, at * 1000)));
      assert.ok(Buffer.concat(targets).equals(all));
    });

    it('keeps a file that is open twice, was renamed, or was removed, the same file', async (t) => {
      const { disk, directory } = await open(t);
      const file = disk.open(`${directory}/a`);
      const again = disk.open(`${directory}/a`);
      for (const each of [file, again]) onEnd(t, () => each.close());
      file.writeSync(Buffer.from('one'), 0);
      const target = Buffer.alloc(3);
      assert.equal(again.readSync(target, 0), 3);
      disk.rename(`${directory}/a`, `${directory}/b`);
      again.writeSync(Buffer.from('two'), 0);
      const renamed = disk.open(`${directory}/b`);
      onEnd(t, () => renamed.close());
      assert.equal(renamed.readSync(target, 0), 3);
      assert.equal(target.toString(), 'two');
      disk.remove(`${directory}/b`);
      assert.equal(file.readSync(target, 0), 3);
      await file.reserve(8192);
      await file.datasync();
      assert.equal(file.sizeBytes(), 8192);
      assert.deepEqual(disk.list(directory), []);
    });

    it('names: makes, lists, renames over, removes', async (t) => {
      const { disk, directory } = await open(t);
      const deep = `${directory}/x/y/z`;
      assert.deepEqual(disk.list(deep), []);
      assert.equal(disk.exists(deep), false);
      disk.makeDirectory(deep);
      disk.makeDirectory(deep);
      assert.equal(disk.exists(deep), true);
      for (const name of ['one', 'two']) {
        const file = disk.open(`${deep}/${name}`);
        file.writeSync(Buffer.from(name), 0);
        file.close();
      }
      assert.deepEqual(disk.list(deep).sort(), ['one', 'two']);
      assert.deepEqual(disk.list(`${directory}/x`), ['y']);
      disk.rename(`${deep}/one`, `${deep}/two`);
      assert.deepEqual(disk.list(deep), ['two']);
      const file = disk.open(`${deep}/two`);
      const target = Buffer.alloc(3);
      file.readSync(target, 0);
      file.close();
      assert.equal(target.toString(), 'one');
      disk.rename(`${deep}/two`, `${directory}/three`);
      assert.deepEqual(disk.list(directory).sort(), ['three', 'x']);
      await disk.syncDirectory(deep);
      await disk.syncDirectory(directory);
      disk.remove(`${directory}/three`);
      disk.remove(`${directory}/three`);
      assert.equal(disk.exists(`${directory}/three`), false);
    });

    it('is closed once: what is under way ends, and nothing reaches the file any more', async (t) => {
      const { disk, directory } = await open(t);
      const file = disk.open(`${directory}/a`);
      const write = file.write(pattern(2000, 6), 0);
      const sync = file.datasync();
      file.close();
      file.close();
      await Promise.all([write, sync]);
      // Of the same number as the one before it, where the system numbers its open files.
      const other = disk.open(`${directory}/b`);
      onEnd(t, () => other.close());
      const closed = errorOf('CANCELLED');
      assert.throws(() => file.writeSync(Buffer.alloc(10), 0), closed);
      assert.throws(() => file.readSync(Buffer.alloc(10), 0), closed);
      assert.throws(() => file.sizeBytes(), closed);
      assert.throws(() => file.truncate(5), closed);
      await assert.rejects(file.read(Buffer.alloc(10), 0), closed);
      await assert.rejects(file.write(Buffer.alloc(10), 0), closed);
      await assert.rejects(file.datasync(), closed);
      await assert.rejects(file.reserve(5), closed);
      assert.equal(other.sizeBytes(), 0);
      const again = disk.open(`${directory}/a`);
      onEnd(t, () => again.close());
      const target = Buffer.alloc(2000);
      assert.equal(again.readSync(target, 0), 2000);
      assert.ok(target.equals(pattern(2000, 6)));
    });

    it('refuses paths that cannot be used', async (t) => {
      const { disk, directory } = await open(t);
      disk.open(`${directory}/file`).close();
      disk.makeDirectory(`${directory}/dir`);
      const invalid = errorOf('INVALID');
      assert.throws(() => disk.open(`${directory}/dir`), invalid);
      assert.throws(() => disk.open(`${directory}/none/a`), invalid);
      assert.throws(() => disk.open(`${directory}/file/a`), invalid);
      assert.throws(() => disk.makeDirectory(`${directory}/file`), invalid);
      assert.throws(() => disk.makeDirectory(`${directory}/file/a`), invalid);
      assert.throws(() => disk.rename(`${directory}/none`, `${directory}/a`), invalid);
      assert.throws(() => disk.rename(`${directory}/file`, `${directory}/dir`), invalid);
      assert.throws(() => disk.remove(`${directory}/dir`), invalid);
      assert.throws(() => disk.list(`${directory}/file`), invalid);
      assert.equal(disk.exists(`${directory}/file/a`), false);
      await assert.rejects(disk.syncDirectory(`${directory}/none`), invalid);
    });
  });
}

/** For a disk that can be full: `open` gives one with room for more than 2 and less than 64 MiB. */
export function fullDiskSuite(name: string, open: (t: TestContext) => Promise<DiskUnderTest | null>): void {
  const tooMuchBytes = 64 * 1024 * 1024;
  describe(`full disk: ${name}`, () => {
    it('sets nothing aside where there is no room, and leaves the file as it was', async (t) => {
      const under = await open(t);
      if (under === null) return;
      const { disk, directory } = under;
      const file = disk.open(`${directory}/a`);
      onEnd(t, () => file.close());
      file.writeSync(pattern(5000, 1), 0);
      await assert.rejects(file.reserve(tooMuchBytes), errorOf('NO_SPACE'));
      assert.equal(file.sizeBytes(), 5000);
      const target = Buffer.alloc(5000);
      file.readSync(target, 0);
      assert.ok(target.equals(pattern(5000, 1)));
      await file.reserve(1024 * 1024);
      assert.equal(file.sizeBytes(), 1024 * 1024);
    });

    it('lets writes into what was set aside succeed on a full disk, and refuses others', async (t) => {
      const under = await open(t);
      if (under === null) return;
      const { disk, directory } = under;
      const file = disk.open(`${directory}/a`);
      const filler = disk.open(`${directory}/filler`);
      for (const each of [file, filler]) onEnd(t, () => each.close());
      await file.reserve(1024 * 1024);
      const piece = Buffer.alloc(1024 * 1024, 1);
      const fill = (): void => {
        for (let at = 0; at < tooMuchBytes; at += piece.length) filler.writeSync(piece, at);
      };
      assert.throws(fill, errorOf('NO_SPACE'));
      await assert.rejects(filler.write(piece, tooMuchBytes), errorOf('NO_SPACE'));
      for (let at = 0; at < 1024 * 1024; at += 65_536) file.writeSync(pattern(65_536, at), at);
      await file.write(pattern(65_536, 0), 0);
      await file.datasync();
      const target = Buffer.alloc(65_536);
      file.readSync(target, 65_536);
      assert.ok(target.equals(pattern(65_536, 65_536)));
      // Room that is given back can be had again.
      filler.truncate(0);
      await filler.datasync();
      filler.writeSync(piece, 0);
    });
  });
}
