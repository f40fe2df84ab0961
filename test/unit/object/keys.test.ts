/** The order of keys is that of their UTF-8 bytes. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { checkKey, compareKeys } from '../../../src/object/keys.ts';

const text = fc
  .array(fc.oneof(fc.string({ unit: 'binary', maxLength: 3 }), fc.constantFrom('/', '\uffff', '\u{10000}', '\ue000')), {
    maxLength: 4,
  })
  .map((parts) => parts.join(''));

describe('keys', () => {
  it('compare as their bytes do', () => {
    fc.assert(
      fc.property(text, text, (a, b) => {
        assert.equal(Math.sign(compareKeys(a, b)), Buffer.compare(Buffer.from(a), Buffer.from(b)));
      }),
      { numRuns: 3000 },
    );
  });

  it('are checked', () => {
    checkKey('é'.repeat(512));
    for (const key of ['', 'é'.repeat(513), '\udc00']) assert.throws(() => checkKey(key), { code: 'INVALID' });
  });
});
