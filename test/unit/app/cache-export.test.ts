/** Saving a cache's writes where one of the files is in the way. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { exportUnsaved } from '../../../src/cache-export.ts';
import { CacheHome } from '../../../src/volume/cache-home.ts';
import { CACHE_DIRECTORY, leave, machine, write } from '../cache/volume/fixtures.ts';
import { BLOCK, blockOf } from '../volume/fixtures.ts';

test('an export that fails leaves nothing of its own, and what was there', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'export-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const one = machine();
  const volume = await one.open();
  await write(one, volume, 1, blockOf(1));
  await leave(one, volume);
  const home = CacheHome.open(one.disk, CACHE_DIRECTORY);
  const path = join(dir, 'saved');
  for (const name of ['saved', 'saved.map.json']) {
    writeFileSync(join(dir, name), 'earlier');
    const refused = { code: 'INVALID', message: new RegExp(`${name}: file already exists`) };
    await assert.rejects(exportUnsaved(home, one.disk, path, 'vol'), refused);
    assert.deepEqual(readdirSync(dir), [name]);
    assert.equal(readFileSync(join(dir, name), 'utf8'), 'earlier');
    rmSync(join(dir, name));
  }
  await exportUnsaved(home, one.disk, path, 'vol');
  assert.deepEqual(readFileSync(path).subarray(BLOCK), blockOf(1));
});
