/** Taking away what is not there any more, where nothing can be removed from the disk. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { MountRecords } from '../../../src/host/mount-records.ts';
import { reclaimMounts } from '../../../src/host/volume-mount.ts';
import { StorageError } from '../../../src/lib/errors.ts';
import { silentLog } from '../../../src/lib/log.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

class Unremovable extends MountRecords {
  override remove(): never {
    throw new StorageError('INVALID', 'cannot use the directory: read-only file system');
  }
}

test('a record that cannot be removed keeps nobody from going on', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'mounts-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const records = new Unremovable(dir);
  for (const volume of ['one', 'two']) {
    const at = { dir: `/mnt/${volume}`, file: `/f/${volume}`, device: null, pid: null, sequence: null };
    records.write({ volume, via: 'fuse', boot: 'an earlier one', ...at });
  }
  const host = { records, boot: 'this one', clock: new VirtualClock(), log: silentLog };
  assert.deepEqual(await reclaimMounts(host), []);
  assert.equal(records.list().length, 2);
});
