/** Errors as one line of a log. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeError, StorageError } from '../../../src/lib/errors.ts';

test('an error is described with what its causes add, and nothing is said twice', () => {
  const inner = new Error('the signature is wrong\n');
  const middle = new Error('answered 403', { cause: inner });
  assert.equal(
    describeError(new StorageError('ACCESS_DENIED', 'reading k failed', { cause: middle })),
    ['reading k failed', 'answered 403', 'the signature is wrong'].join(': '),
  );
  const quoted = new StorageError('ACCESS_DENIED', 'reading k failed (403: the signature is wrong)', { cause: inner });
  assert.equal(describeError(quoted), 'reading k failed (403: the signature is wrong)');
});

test('an error without words is described by its name', () => {
  assert.equal(describeError(new TypeError('')), 'TypeError');
  assert.equal(describeError('text'), 'text');
});
