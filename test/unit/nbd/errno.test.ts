/** Errors as clients see them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ErrorCode, StorageError } from '../../../src/lib/errors.ts';
import { NbdErrno } from '../../../src/nbd/constants.ts';
import { errnoOf, errorText } from '../../../src/nbd/errno.ts';

test('each code has its errno', () => {
  const { EIO, EPERM, EINVAL, ENOSPC, ENOTSUP, ESHUTDOWN } = NbdErrno;
  const expected: Record<ErrorCode, NbdErrno> = {
    NOT_FOUND: EIO,
    ACCESS_DENIED: EIO,
    CONFLICT: EIO,
    HELD: EIO,
    FENCED: ESHUTDOWN,
    CORRUPT: EIO,
    TIMEOUT: EIO,
    UNAVAILABLE: EIO,
    NO_SPACE: ENOSPC,
    READ_ONLY: EPERM,
    INVALID: EINVAL,
    UNSUPPORTED: ENOTSUP,
    CANCELLED: ESHUTDOWN,
  };
  for (const [code, errno] of Object.entries(expected)) {
    assert.equal(errnoOf(new StorageError(code as ErrorCode, 'x')), errno, code);
  }
  assert.equal(errnoOf(new RangeError('x')), EIO);
  assert.equal(errnoOf('x'), EIO);
});

test('only our own message is shown, without its causes', () => {
  const cause = new Error('AWS_SECRET_ACCESS_KEY=...');
  assert.equal(
    errorText(new StorageError('TIMEOUT', 'the bucket did not answer', { cause })),
    'the bucket did not answer',
  );
  assert.equal(errorText(cause), 'internal error');
});
