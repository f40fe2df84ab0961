/** A disk that is only looked at. */
import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { ReadOnlyDisk } from '../../../src/lib/disk/read-only-disk.ts';
import type { Disk } from '../../../src/lib/disk.ts';
import { tempDir } from '../../support/temp.ts';

test('reads what is there, and keeps nothing that is written', async (t) => {
  const dir = await tempDir(t, 'read-only');
  await writeFile(join(dir, 'there'), 'what is there');
  const disk: Disk = new ReadOnlyDisk();
  const there = disk.open(join(dir, 'there'));
  assert.equal(there.sizeBytes(), 13);
  there.writeSync(Buffer.from('new'), 0);
  await there.write(Buffer.from('new'), 0);
  there.truncate(1);
  await there.reserve(100);
  await there.datasync();
  const target = Buffer.alloc(4);
  assert.equal(there.readSync(target, 0), 4);
  assert.equal(await there.read(target, 9), 4);
  assert.equal(target.toString(), 'here');
  there.close();

  const missing = disk.open(join(dir, 'missing'));
  assert.equal(missing.sizeBytes(), 0);
  assert.equal(missing.readSync(target, 0), 0);
  assert.equal(await missing.read(target, 0), 0);
  missing.close();

  disk.makeDirectory(join(dir, 'made'));
  disk.rename(join(dir, 'there'), join(dir, 'moved'));
  disk.remove(join(dir, 'there'));
  await disk.syncDirectory(dir);
  assert.equal(disk.exists(join(dir, 'missing')), false);
  assert.deepEqual(disk.list(dir), ['there']);
  assert.deepEqual(await readdir(dir), ['there']);
  assert.equal(await readFile(join(dir, 'there'), 'utf8'), 'what is there');
  assert.throws(() => disk.open(join(dir, 'there', 'below')), { code: 'INVALID' });
});
