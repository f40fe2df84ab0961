/** Urls of stores, and where each volume's keys begin. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatStoreUrl, parseStoreUrl, volumeLocation } from '../../../src/config/store-url.ts';

describe('store urls', () => {
  it('are normalised to one spelling', () => {
    const cases = [
      ['s3://bucket', 's3://bucket'],
      ['s3://bucket/', 's3://bucket'],
      ['s3://bucket/a/b/', 's3://bucket/a/b'],
      ['file:data/bucket', 'file:///srv/me/data/bucket'],
      ['file:./data/../x', 'file:///srv/me/x'],
      ['file:/srv/x', 'file:///srv/x'],
      ['file:///srv/a%20b', 'file:///srv/a%20b'],
      ['file:a b', 'file:///srv/me/a%20b'],
      ['memory:', 'memory:'],
    ] as const;
    for (const [given, expected] of cases) assert.equal(formatStoreUrl(parseStoreUrl(given, '/srv/me')), expected);
  });

  it('name what cannot be the name of a bucket', () => {
    for (const [given, message] of [
      ['s3://x/disks', /not "s3:\/\/x\/disks": no bucket can be called "x"$/],
      ['s3:/bucket', /not "s3:\/bucket"$/],
      ['s3://bucket/a//b', /not "s3:\/\/bucket\/a\/\/b"$/],
    ] as const) {
      assert.throws(() => parseStoreUrl(given, '/'), { message });
    }
  });

  it('give each volume its prefix', () => {
    const at = (store: string, volume: { url?: string; keyPrefix?: string }) =>
      volumeLocation({ url: store }, { name: 'media', url: volume.url ?? null, keyPrefix: volume.keyPrefix ?? null });
    assert.deepEqual(at('s3://b12', {}), { storeUrl: 's3://b12', keyPrefix: 'media/' });
    assert.deepEqual(at('s3://b12/x/y', {}), { storeUrl: 's3://b12', keyPrefix: 'x/y/media/' });
    assert.deepEqual(at('s3://b12/x', { url: 's3://other/z' }), { storeUrl: 's3://other', keyPrefix: 'z/' });
    assert.deepEqual(at('s3://b12/x', { url: 's3://other' }), { storeUrl: 's3://other', keyPrefix: '' });
    assert.deepEqual(at('s3://b12/x', { keyPrefix: 'exact-' }), { storeUrl: 's3://b12', keyPrefix: 'exact-' });
    assert.deepEqual(at('s3://b12/x', { keyPrefix: '' }), { storeUrl: 's3://b12', keyPrefix: '' });
    assert.deepEqual(at('file:///srv', {}), { storeUrl: 'file:///srv', keyPrefix: 'media/' });
    assert.deepEqual(at('file:///srv', { url: 'file:///other' }), { storeUrl: 'file:///other', keyPrefix: '' });
  });
});
