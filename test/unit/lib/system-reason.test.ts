/** What the system says, in words. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { systemReason } from '../../../src/lib/system-reason.ts';

test('the words and the name of an error of the system, whatever the sign of its number', () => {
  assert.equal(
    caught(() => readFileSync('/nowhere/file')),
    'no such file or directory (ENOENT)',
  );
  const unsigned = Object.assign(new Error('odd'), { errno: 21, code: 'ERR_FS_EISDIR' });
  assert.equal(systemReason(unsigned), 'illegal operation on a directory (ERR_FS_EISDIR)');
});

test('the own words of any other', () => {
  assert.equal(systemReason(new Error('other')), 'other');
  assert.equal(systemReason('text'), 'text');
  assert.equal(systemReason(null), 'null');
});

function caught(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    return systemReason(error);
  }
  return 'nothing';
}
