/** The conformance suite on the system's disk, and what only a real filesystem can show. */
import assert from 'node:assert/strict';
import { closeSync, mkdirSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { reserveSpace } from '../../../src/lib/disk/reserve-space.ts';
import { SystemDisk } from '../../../src/lib/system-disk.ts';
import { onEnd } from '../../support/cleanup.ts';
import { runCommand } from '../../support/run-command.ts';
import { tempDir } from '../../support/temp.ts';
import { requireFacilities } from '../../support/tools.ts';
import { diskSuite, fullDiskSuite } from './suite.ts';

const MIB = 1024 * 1024;

/** A small filesystem that is soon full; null where it is not to be had. */
async function smallFilesystem(t: TestContext): Promise<string | null> {
  if (!requireFacilities(t, ['root'])) return null;
  const directory = join(await tempDir(t, 'disk'), 'small');
  mkdirSync(directory);
  await runCommand('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', directory]);
  onEnd(t, async () => {
    await runCommand('umount', [directory]);
  });
  return directory;
}

function openFile(t: TestContext, path: string): number {
  const fd = openSync(path, 'w+');
  onEnd(t, () => closeSync(fd));
  return fd;
}

diskSuite('system', async (t) => ({ disk: new SystemDisk(), directory: await tempDir(t, 'disk') }));

fullDiskSuite('tmpfs', async (t) => {
  const directory = await smallFilesystem(t);
  return directory === null ? null : { disk: new SystemDisk(), directory };
});

test("what is made is its user's alone", async (t) => {
  const directory = await tempDir(t, 'disk');
  const disk = new SystemDisk();
  disk.makeDirectory(join(directory, 'a', 'b'));
  disk.open(join(directory, 'a', 'file')).close();
  assert.equal(statSync(join(directory, 'a')).mode & 0o777, 0o700);
  assert.equal(statSync(join(directory, 'a', 'b')).mode & 0o777, 0o700);
  assert.equal(statSync(join(directory, 'a', 'file')).mode & 0o777, 0o600);
});

test('what is set aside takes its space, with and without the help of the system', async (t) => {
  const directory = await tempDir(t, 'disk');
  const disk = new SystemDisk();
  const file = disk.open(join(directory, 'file'));
  file.writeSync(Buffer.from('end'), 3 * MIB);
  await file.reserve(5 * MIB);
  file.close();
  assert.ok(statSync(join(directory, 'file')).blocks * 512 >= 5 * MIB);

  const fd = openFile(t, join(directory, 'by-hand'));
  writeSync(fd, 'begin', 100_000);
  writeSync(fd, 'end', 3 * MIB);
  await reserveSpace(fd, 5 * MIB + 1, async () => false);
  const { blocks, size } = statSync(join(directory, 'by-hand'));
  assert.ok(blocks * 512 >= 5 * MIB);
  assert.equal(size, 5 * MIB + 1);
  const content = readFileSync(join(directory, 'by-hand'));
  const expected = Buffer.alloc(size);
  expected.write('begin', 100_000);
  expected.write('end', 3 * MIB);
  assert.ok(content.equals(expected));
  await reserveSpace(fd, 2 * MIB, async () => false);
  assert.ok(readFileSync(join(directory, 'by-hand')).equals(expected.subarray(0, 2 * MIB)));
});

test('where the system does not help and there is no room, the file is as long as it was', async (t) => {
  const directory = await smallFilesystem(t);
  if (directory === null) return;
  const fd = openFile(t, join(directory, 'file'));
  writeSync(fd, 'there');
  await assert.rejects(
    reserveSpace(fd, 20 * MIB, async () => false),
    { code: 'ENOSPC' },
  );
  assert.equal(statSync(join(directory, 'file')).size, 5);
  await reserveSpace(fd, 4 * MIB, async () => false);
  assert.equal(statSync(join(directory, 'file')).size, 4 * MIB);
});
