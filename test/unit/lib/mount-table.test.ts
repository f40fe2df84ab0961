/** The kernel's table of mounts, taken apart. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseMountTable, topMountAt } from '../../../src/lib/mount-table.ts';

const TABLE = `22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/root rw
42 22 0:39 / /srv/disks rw,nosuid - fuse.bucketdisk bucketdisk rw,user_id=0
43 22 0:40 / /srv/with\\040space\\134and\\303\\244 rw master:1 shared:2 - tmpfs none rw
44 42 0:41 / /srv/disks rw - tmpfs on\\040top rw
not a line of it

`;

test('is taken apart, escapes and optional fields included', () => {
  assert.deepEqual(parseMountTable(TABLE), [
    { device: '254:1', path: '/', type: 'ext4', source: '/dev/root', shared: true },
    { device: '0:39', path: '/srv/disks', type: 'fuse.bucketdisk', source: 'bucketdisk', shared: false },
    { device: '0:40', path: '/srv/with space\\andä', type: 'tmpfs', source: 'none', shared: true },
    { device: '0:41', path: '/srv/disks', type: 'tmpfs', source: 'on top', shared: false },
  ]);
});

test('of two mounts on a path the later one is seen', () => {
  const table = parseMountTable(TABLE);
  assert.equal(topMountAt(table, '/srv/disks')?.device, '0:41');
  assert.equal(topMountAt(table, '/srv'), undefined);
});
