/** The encryption of blocks: the format's vectors, an independent implementation, and what is refused. */
import assert from 'node:assert/strict';
import { getCipherInfo, getCiphers } from 'node:crypto';
import { describe, test } from 'node:test';
import { BlockCipher, findCipher } from '../../../../src/layout/blocks/block-cipher.ts';
import { rejectsWith } from '../../../conformance/object-store/suite.ts';
import { type ReferenceKeying, referenceIv, referenceKeys, referenceObject, sampleData } from './s3backer-reference.ts';

const VECTOR: ReferenceKeying = {
  cipher: 'AES-128-CBC',
  password: 'secret',
  salt: 'bench/enc/',
  keyLengthBytes: 16,
  naturalKeyBytes: 16,
  cipherBlockBytes: 16,
};

function cipherFor(keying: ReferenceKeying): BlockCipher {
  const { cipher, password, salt, keyLengthBytes } = keying;
  return new BlockCipher({ cipher, password, salt, keyLengthBytes });
}

/** The block ciphers in CBC mode that this OpenSSL has, by their canonical names. */
function cbcCiphers(): ReferenceKeying[] {
  const found = new Map<string, ReferenceKeying>();
  for (const name of getCiphers()) {
    const info = getCipherInfo(name);
    if (info?.mode !== 'cbc' || info.name.includes('hmac')) continue;
    found.set(info.name, {
      ...VECTOR,
      cipher: info.name.toUpperCase(),
      keyLengthBytes: info.keyLength,
      naturalKeyBytes: info.keyLength,
      cipherBlockBytes: info.blockSize ?? 0,
    });
  }
  return [...found.values()];
}

describe('block cipher', () => {
  test('keys and IVs are those of the format', () => {
    const { key, ivKey } = referenceKeys(VECTOR);
    assert.equal(key.toString('hex'), '17403f4cf7a28b5c6252d2db7ec9cbc0');
    assert.equal(ivKey.toString('hex'), 'ac1fc62037964bd8b8e55baf4d85c39c');
    for (const [block, iv] of [
      [0, '57b1effaff700b325d6389b48977b39a'],
      [2, '0d08aad6b71890e13286c1a3f9c23e1c'],
    ] as const) {
      assert.equal(referenceIv(VECTOR, block).toString('hex'), iv);
      assert.equal(cipherFor(VECTOR).ivOf(block).toString('hex'), iv);
    }
  });

  test('there are ciphers besides AES', () => {
    const names = cbcCiphers().map(({ cipher }) => cipher);
    for (const name of ['AES-128-CBC', 'AES-192-CBC', 'AES-256-CBC', 'DES-EDE3-CBC']) {
      assert.ok(names.includes(name), `${name} among ${names.join(' ')}`);
    }
  });

  for (const keying of [
    ...cbcCiphers(),
    { ...VECTOR, cipher: 'AES-256-CBC', naturalKeyBytes: 32, keyLengthBytes: 64 },
  ]) {
    test(`${keying.cipher} with ${keying.keyLengthBytes} bytes of key is as an independent implementation has it`, () => {
      const cipher = cipherFor(keying);
      assert.equal(cipher.name, keying.cipher);
      assert.equal(cipher.keyLengthBytes, keying.keyLengthBytes);
      for (const block of [0, 1, 0xfffffffe]) {
        const plain = sampleData(1000, block & 0xff);
        const reference = referenceObject({ block, data: plain, compress: 'none', keying });
        const { ciphertext, hmac } = cipher.encrypt(block, plain);
        assert.deepEqual(ciphertext, reference.body);
        assert.equal(`"${hmac}"`, reference.metadata['s3backer-hmac']);
        assert.deepEqual(cipher.decrypt(block, reference.body, hmac), plain);
      }
    });
  }

  test('the HMAC takes the whole derived key, the cipher only its own length of it', () => {
    const long = { ...VECTOR, cipher: 'AES-256-CBC', naturalKeyBytes: 32, keyLengthBytes: 64 };
    const natural = { ...long, keyLengthBytes: 32 };
    const plain = sampleData(100);
    const a = cipherFor(long).encrypt(5, plain);
    const b = cipherFor(natural).encrypt(5, plain);
    // The first 20-byte pieces of PBKDF2 do not depend on how much is asked for, so the keys begin alike ...
    assert.deepEqual(referenceKeys(long).key.subarray(0, 32), referenceKeys(natural).key);
    // ... but the IV key is derived from the whole of it, and the HMAC uses the whole of it.
    assert.notDeepEqual(a.ciphertext, b.ciphertext);
    assert.notEqual(a.hmac, cipherFor(natural).hmacOf(5, a.ciphertext).toString('hex'));
  });

  test('a wrong password, salt, block, cipher or changed byte is refused before anything is decrypted', () => {
    const cipher = cipherFor(VECTOR);
    const { ciphertext, hmac } = cipher.encrypt(3, sampleData(512));
    const refused = rejectsWith('ACCESS_DENIED');
    assert.throws(() => cipherFor({ ...VECTOR, password: 'Secret' }).decrypt(3, ciphertext, hmac), refused);
    assert.throws(() => cipherFor({ ...VECTOR, salt: 'bench/' }).decrypt(3, ciphertext, hmac), refused);
    assert.throws(() => cipher.decrypt(4, ciphertext, hmac), refused);
    const camellia = { ...VECTOR, cipher: 'CAMELLIA-128-CBC' };
    assert.throws(() => cipherFor(camellia).decrypt(3, ciphertext, hmac), refused);
    for (const at of [0, 16, ciphertext.length - 1]) {
      const changed = Buffer.from(ciphertext);
      changed[at] = (changed[at] ?? 0) ^ 1;
      // A change of the padding would be CORRUPT if it were decrypted first.
      assert.throws(() => cipher.decrypt(3, changed, hmac), refused);
    }
    assert.throws(() => cipher.decrypt(3, ciphertext.subarray(0, -16), hmac), refused);
    for (const bad of ['', 'zz', hmac.slice(2), `${hmac}00`, `${hmac.slice(0, -1)}g`]) {
      assert.throws(() => cipher.decrypt(3, ciphertext, bad), refused, bad);
    }
    assert.deepEqual(cipher.decrypt(3, ciphertext, hmac.toUpperCase()), sampleData(512));
  });

  test('bytes that pass their HMAC and cannot be decrypted are corrupt', () => {
    const cipher = cipherFor(VECTOR);
    const noBlocks = Buffer.alloc(17, 1);
    assert.throws(
      () => cipher.decrypt(3, noBlocks, cipher.hmacOf(3, noBlocks).toString('hex')),
      rejectsWith('CORRUPT'),
    );
  });

  test('an alias stands for the canonical name', () => {
    for (const [alias, name] of [
      ['aes128', 'AES-128-CBC'],
      ['Aes-256-Cbc', 'AES-256-CBC'],
      ['des3', 'DES-EDE3-CBC'],
      ['camellia192', 'CAMELLIA-192-CBC'],
    ] as const) {
      assert.equal(findCipher(alias).name, name);
    }
    const plain = sampleData(64);
    assert.deepEqual(cipherFor({ ...VECTOR, cipher: 'aes128' }).encrypt(1, plain), cipherFor(VECTOR).encrypt(1, plain));
  });

  test('ciphers that cannot be and keys that are too short are refused', () => {
    for (const name of [
      'AES-128-GCM',
      'aes-128-ctr',
      'AES-128-ECB',
      'AES-256-CBC-HMAC-SHA1',
      'ROT13',
      '',
      'chacha20',
    ]) {
      assert.throws(() => findCipher(name), rejectsWith('INVALID'), name);
    }
    assert.throws(() => cipherFor({ ...VECTOR, keyLengthBytes: 15 }), rejectsWith('INVALID'));
  });

  test('the key check tells keys apart and shows nothing of them', () => {
    const check = cipherFor(VECTOR).keyCheck();
    assert.equal(check, cipherFor(VECTOR).keyCheck());
    assert.match(check, /^[0-9a-f]{40}$/);
    assert.notEqual(check, cipherFor({ ...VECTOR, password: 'other' }).keyCheck());
    assert.notEqual(check, cipherFor({ ...VECTOR, salt: 'bench/' }).keyCheck());
    assert.ok(!referenceKeys(VECTOR).key.toString('hex').includes(check.slice(0, 8)));
  });
});
