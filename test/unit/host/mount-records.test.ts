/** What is written down of mounts: read again as it was, and nothing else taken for it. */
import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { type MountRecord, MountRecords } from '../../../src/host/mount-records.ts';
import { tempDir } from '../../support/temp.ts';

const RECORD: MountRecord = {
  volume: 'media',
  dir: '/srv/media',
  via: 'nbd',
  file: '/var/lib/bucketdisk/kernel.sock',
  device: '/dev/nbd3',
  pid: 4711,
  sequence: null,
  boot: 'this boot',
};

test('a record is what was written last, until it is removed', async (t) => {
  const dir = join(await tempDir(t, 'records'), 'mounts');
  const records = new MountRecords(dir);
  assert.deepEqual(records.list(), []);
  records.write({ ...RECORD, device: null, pid: null });
  records.write(RECORD);
  records.write({ ...RECORD, volume: 'other', via: 'fuse', device: '/dev/loop0', pid: null });
  assert.deepEqual(new MountRecords(dir).list(), [
    RECORD,
    { ...RECORD, volume: 'other', via: 'fuse', device: '/dev/loop0', pid: null },
  ]);
  records.remove('media');
  records.remove('media');
  records.remove('other');
  assert.deepEqual(records.list(), []);
  assert.deepEqual(await readdir(dir), []);
});

test('what is no record is passed over, and one of before there was a choice is about a loop device', async (t) => {
  const dir = await tempDir(t, 'records');
  const put = (name: string, value: unknown): Promise<void> => writeFile(join(dir, name), JSON.stringify(value));
  const {
    via: _via,
    pid: _pid,
    sequence: _sequence,
    ...earlier
  } = { ...RECORD, volume: 'earlier', device: '/dev/loop1' };
  await put('earlier.json', earlier);
  await put('null.json', null);
  await put('list.json', [RECORD]);
  await put('way.json', { ...RECORD, via: 'iscsi' });
  await put('pid.json', { ...RECORD, pid: '4711' });
  await put('device.json', { ...RECORD, device: 3 });
  await put('volume.json', { ...RECORD, volume: undefined });
  await put('media.json.new', RECORD);
  await writeFile(join(dir, 'torn.json'), '{"volume": "med');
  assert.deepEqual(new MountRecords(dir).list(), [{ ...earlier, via: 'fuse', pid: null, sequence: null }]);
});

test('a directory that cannot be used is told with its path', async (t) => {
  const dir = join(await tempDir(t, 'records'), 'mounts');
  await writeFile(dir, 'a file');
  const records = new MountRecords(dir);
  assert.throws(() => records.write(RECORD), { code: 'INVALID', message: new RegExp(dir) });
  await mkdir(`${dir}-2`);
  assert.deepEqual(new MountRecords(`${dir}-2`).list(), []);
});
