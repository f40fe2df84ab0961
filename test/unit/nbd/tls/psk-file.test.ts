/** Users and keys in psktool's format: what is taken, and what is refused without a word of a key. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parsePskFile } from '../../../../src/nbd/tls/psk-file.ts';

const KEY = 'ab'.repeat(32);

describe('a file of pre-shared keys', () => {
  test('has a user and a key in each line', () => {
    const keys = parsePskFile(`alice:${KEY}\nbob smith:${'00'.repeat(16)}\r\n\n# a note\n#nothex:x\n`, 'f');
    assert.deepEqual([...keys.keys()], ['alice', 'bob smith']);
    assert.deepEqual(keys.get('alice'), Buffer.from(KEY, 'hex'));
    assert.equal(keys.get('bob smith')?.length, 16);
  });

  test('may have users in hex, as GnuTLS has it for names with a colon', () => {
    const user = 'spiffe://home/nas';
    const keys = parsePskFile(`#${Buffer.from(user).toString('hex')}:${KEY}`, 'f');
    assert.deepEqual([...keys.keys()], [user]);
  });

  for (const [name, text, expected] of [
    ['no colon', `alice\n`, /line 1: expected user:hexkey/],
    ['no name', `alice:${KEY}\n:${KEY}`, /line 2: the user has no name/],
    ['no key', 'alice:', /line 1: the key has 0 bytes/],
    ['a short key', `alice:${'ab'.repeat(15)}`, /line 1: the key has 15 bytes: expected 16 to 256/],
    ['a long key', `alice:${'ab'.repeat(257)}`, /line 1: the key has 257 bytes/],
    ['half a byte', `alice:${KEY}a`, /line 1: the key is not in hex/],
    ['a key that is a password', 'alice:correct horse battery staple', /line 1: the key is not in hex/],
    ['a user twice', `alice:${KEY}\nalice:${'cd'.repeat(32)}`, /line 2: the user is in the file already/],
    ['a name that does not print', `al\u0007ice:${KEY}`, /line 1: .*characters that it may not have/],
    ['a name in hex that is no UTF-8', `#ff:${KEY}`, /line 1: .*characters that it may not have/],
    ['a name that is too long', `${'a'.repeat(129)}:${KEY}`, /line 1: .*longer than 128 bytes/],
    ['nobody', '# nobody yet\n', /^f has no user in it/],
  ] as const) {
    test(`with ${name} is refused`, () => {
      assert.throws(
        () => parsePskFile(text, 'f'),
        (error: Error & { code?: string }) => {
          assert.equal(error.code, 'INVALID');
          assert.match(error.message, expected);
          assert.doesNotMatch(error.message, /abab|horse/);
          return true;
        },
      );
    });
  }

  test('reads as it was written', () => {
    const user = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 20 })
      .filter((name) => !/[\p{Cc}\ufffd:#\r\n]/u.test(name));
    const users = fc.uniqueArray(user, { minLength: 1, maxLength: 10 });
    fc.assert(
      fc.property(users, fc.uint8Array({ minLength: 16, maxLength: 64 }), (names, key) => {
        const hex = Buffer.from(key).toString('hex');
        const keys = parsePskFile(names.map((name) => `${name}:${hex}`).join('\n'), 'f');
        assert.deepEqual([...keys.keys()], names);
        for (const name of names) assert.deepEqual(keys.get(name), Buffer.from(key));
      }),
    );
  });
});
