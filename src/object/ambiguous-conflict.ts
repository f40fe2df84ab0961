/** The CONFLICT of a conditional put that may be the trace of its own success. */
import { StorageError } from '../lib/errors.ts';

/**
 * A conditional put was refused, but an earlier attempt of the same call had ended without an answer and may have taken
 * effect: then the object it conflicts with is its own. Whoever needs to know reads the object back and compares; a body
 * with a nonce of its own settles it. Its `code` is CONFLICT, so those who only give up need not care.
 */
export class AmbiguousConflict extends StorageError {
  constructor(message: string, options: { readonly cause: unknown }) {
    super('CONFLICT', message, options);
  }
}
