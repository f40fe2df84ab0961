/** The names of block objects: the format's vectors, there and back, and every other key passed over. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { BLOCK_COUNT_MAX, BlockKeys, hashBlockNumber, hex8 } from '../../../../src/layout/blocks/block-keys.ts';

const anyBlock = fc.oneof(fc.nat({ max: 100 }), fc.integer({ min: 0, max: BLOCK_COUNT_MAX - 1 }));

describe('block keys', () => {
  test('the hash has the vectors of the format', () => {
    for (const [block, hash] of [
      [0, 'c448b72c'],
      [1, 'd211cad9'],
      [2, '7183baa1'],
      [0xffffffff, '0f447858'],
    ] as const) {
      assert.equal(hex8(hashBlockNumber(block)), hash);
    }
  });

  test('a key is prefix, hash where wanted, and block in 8 lower-case digits', () => {
    assert.equal(new BlockKeys('sub/', false).keyOf(0xabcdef), 'sub/00abcdef');
    assert.equal(new BlockKeys('', false).keyOf(0), '00000000');
    assert.equal(new BlockKeys('x', false).keyOf(0xffffffff), 'xffffffff');
    assert.equal(new BlockKeys('sub/', true).keyOf(1), 'sub/d211cad9-00000001');
  });

  test('every block is found again from its key, within the count only', () => {
    fc.assert(
      fc.property(anyBlock, fc.boolean(), fc.constantFrom('', 'p/', 'a.b*', 'é/'), (block, hashed, prefix) => {
        const keys = new BlockKeys(prefix, hashed);
        assert.equal(keys.blockOf(keys.keyOf(block), BLOCK_COUNT_MAX), block);
        assert.equal(keys.blockOf(keys.keyOf(block), block + 1), block);
        assert.equal(keys.blockOf(keys.keyOf(block), block), null);
      }),
    );
  });

  test('keys of any other shape are passed over', () => {
    const plain = new BlockKeys('p/', false);
    for (const key of [
      '00000001',
      'p/0000001',
      'p/000000001',
      'p/0000000A',
      'p/0000000g',
      'p/00000001 ',
      'p/00000001\n',
      'p/00000001/',
      'p/-0000001',
      'p/0x000001',
      'P/00000001',
      'p/d211cad9-00000001',
      'p/s3backer-mounted',
      'p/',
      '',
    ]) {
      assert.equal(plain.blockOf(key, BLOCK_COUNT_MAX), null, JSON.stringify(key));
    }
    const hashed = new BlockKeys('p/', true);
    assert.equal(hashed.blockOf('p/d211cad9-00000001', BLOCK_COUNT_MAX), 1);
    for (const key of [
      'p/00000001',
      'p/d211cad8-00000001',
      'p/D211CAD9-00000001',
      'p/d211cad900000001',
      'p/d211cad9_00000001',
      'p/d211cad9-00000002',
      'p/d211cad9-000000001',
    ]) {
      assert.equal(hashed.blockOf(key, BLOCK_COUNT_MAX), null, key);
    }
  });

  test('no key but its own names a block', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 20 }), fc.boolean(), (name, hashed) => {
        const keys = new BlockKeys('p/', hashed);
        const block = keys.blockOf(`p/${name}`, BLOCK_COUNT_MAX);
        if (block !== null) assert.equal(`p/${name}`, keys.keyOf(block));
      }),
    );
  });

  test('plain keys sort as their blocks do', () => {
    fc.assert(
      fc.property(anyBlock, anyBlock, (a, b) => {
        const keys = new BlockKeys('p/', false);
        assert.equal(keys.keyOf(a) < keys.keyOf(b), a < b);
      }),
    );
  });
});
