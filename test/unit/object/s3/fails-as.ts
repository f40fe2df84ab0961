/** What a request is expected to fail with. */
import assert from 'node:assert/strict';
import { StorageError } from '../../../../src/lib/errors.ts';

/** Rejects with this code, retryable or not, and a message that has all of the texts. */
export function failsAs(code: string, retryable: boolean, ...texts: (string | RegExp)[]): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof StorageError, String(error));
    assert.equal(error.code, code, error.message);
    assert.equal(error.retryable, retryable, error.message);
    for (const text of texts) assert.match(error.message, typeof text === 'string' ? new RegExp(text) : text);
    return true;
  };
}
