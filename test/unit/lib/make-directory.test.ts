/** Directories of one's own, with those above them. */
import assert from 'node:assert/strict';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeDirectory } from '../../../src/lib/disk/make-directory.ts';
import { tempDir } from '../../support/temp.ts';

test('it is made with those above it, its user’s alone, and one that is there is left as it is', async (t) => {
  const dir = await tempDir(t, 'make-directory');
  const path = join(dir, 'a/b/c');
  makeDirectory(path);
  for (const made of ['a', 'a/b', 'a/b/c']) assert.equal(statSync(join(dir, made)).mode & 0o777, 0o700, made);
  writeFileSync(join(path, 'file'), 'kept');
  makeDirectory(path);
  assert.equal(statSync(join(path, 'file')).size, 4);
});

test('what is no directory, or has none below it, is told by the system’s error', async (t) => {
  const dir = await tempDir(t, 'make-directory');
  writeFileSync(join(dir, 'file'), '');
  assert.throws(() => makeDirectory(join(dir, 'file')), { code: 'EEXIST' });
  assert.throws(() => makeDirectory(join(dir, 'file/a/b')), { code: 'ENOTDIR' });
  assert.throws(() => makeDirectory('/proc/none/a'), { code: 'ENOENT' });
});
