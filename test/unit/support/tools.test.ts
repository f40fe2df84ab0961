/** What a test does where the machine lacks something: it skips with the reason, or in CI fails. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findProgram, missingTools, PACKAGE_OF_TOOL, reasonToSkip, type Tool } from '../../support/tools.ts';

test('a missing tool skips the test, naming the packages that have it', () => {
  assert.equal(
    reasonToSkip(['s3backer', 'qemu-io', 'qemu-img'], false),
    'needs s3backer, qemu-io, qemu-img: apt-get install s3backer qemu-utils',
  );
});

test('in CI that is a failure', () => {
  assert.throws(() => reasonToSkip(['fio'], true), /needs fio: apt-get install fio; under CI=true/);
});

test('with nothing missing nothing is skipped', () => {
  assert.equal(reasonToSkip([], true), null);
});

test('programs are found, and told missing where they are not', () => {
  assert.match(findProgram('sh') ?? '', /\/sh$/);
  assert.equal(findProgram('bucketdisk-no-such-program'), null);
  const tools = Object.keys(PACKAGE_OF_TOOL) as Tool[];
  for (const tool of missingTools(tools)) assert.ok(tool === 'python3-libnbd' || findProgram(tool) === null);
});
