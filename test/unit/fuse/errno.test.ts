/** Errors as programs see them. */
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { test } from 'node:test';
import { Errno } from '../../../src/fuse/constants.ts';
import { errnoOf } from '../../../src/fuse/errno.ts';
import { type ErrorCode, StorageError } from '../../../src/lib/errors.ts';

test('each code has its errno', () => {
  const { EIO, EROFS, EINVAL, ENOSPC, EOPNOTSUPP, ESTALE } = Errno;
  const expected: Record<ErrorCode, Errno> = {
    NOT_FOUND: EIO,
    ACCESS_DENIED: EIO,
    CONFLICT: EIO,
    HELD: EIO,
    FENCED: ESTALE,
    CORRUPT: EIO,
    TIMEOUT: EIO,
    UNAVAILABLE: EIO,
    NO_SPACE: ENOSPC,
    READ_ONLY: EROFS,
    INVALID: EINVAL,
    UNSUPPORTED: EOPNOTSUPP,
    CANCELLED: EIO,
  };
  for (const [code, errno] of Object.entries(expected)) {
    assert.equal(errnoOf(new StorageError(code as ErrorCode, 'x')), errno, code);
  }
  assert.equal(errnoOf(new RangeError('x')), EIO);
  assert.equal(errnoOf('x'), EIO);
});

test('the numbers are those of the system', { skip: process.platform !== 'linux' && 'Linux only' }, () => {
  const system = constants.errno as Readonly<Record<string, number>>;
  for (const [name, number] of Object.entries(Errno)) {
    if (name in system) assert.equal(number, system[name], name);
  }
});
