/** The volume's sizes in block 0's metadata. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatVolumeMetadata, parseVolumeMetadata } from '../../../../src/layout/blocks/volume-metadata.ts';

const info = (metadata: Record<string, string>): Parameters<typeof parseVolumeMetadata>[0] => ({
  key: 'k',
  sizeBytes: 0,
  etag: 'e',
  contentType: undefined,
  contentEncoding: undefined,
  metadata,
  lastModified: undefined,
});

test('sizes are decimal bytes under the names of the format, there and back', () => {
  const sizes = { sizeBytes: 2 ** 44, blockSizeBytes: 1048576, mark: null };
  const metadata = formatVolumeMetadata(sizes);
  assert.deepEqual(metadata, { 's3backer-blocksize': '1048576', 's3backer-filesize': '17592186044416' });
  assert.deepEqual(parseVolumeMetadata(info(metadata)), sizes);
});

test('our mark goes beside them; without all of it nothing says that it was us', () => {
  const marked = { sizeBytes: 8192, blockSizeBytes: 4096, mark: { volumeId: 'b2f0-7', resizes: 12 } };
  const metadata = formatVolumeMetadata(marked);
  assert.deepEqual(metadata, {
    's3backer-blocksize': '4096',
    's3backer-filesize': '8192',
    'bucketdisk-volume': 'b2f0-7',
    'bucketdisk-resizes': '12',
  });
  assert.deepEqual(parseVolumeMetadata(info(metadata)), marked);
  const { 'bucketdisk-volume': _, ...anonymous } = metadata;
  assert.equal(parseVolumeMetadata(info(anonymous))?.mark, null);
  for (const bad of ['', '-1', 'x', '1.5', '1000000001', '9007199254740993'])
    assert.equal(parseVolumeMetadata(info({ ...metadata, 'bucketdisk-resizes': bad }))?.mark, null, bad);
});

test('an id that a header might not carry is left out, and the sizes are written all the same', () => {
  for (const volumeId of ['', ' x', 'a b', 'größe', 'a\r\nb', 'x'.repeat(65)]) {
    const metadata = formatVolumeMetadata({ sizeBytes: 8192, blockSizeBytes: 4096, mark: { volumeId, resizes: 1 } });
    assert.deepEqual(Object.keys(metadata), ['s3backer-blocksize', 's3backer-filesize'], volumeId);
  }
});

test('metadata that is missing, zero or no number says nothing', () => {
  const good = { 's3backer-blocksize': '4096', 's3backer-filesize': '8192' };
  for (const bad of ['', '0', '-1', '4096.0', '4e3', '0x1000', ' 4096', '9007199254740993', '99999999999999999']) {
    assert.equal(parseVolumeMetadata(info({ ...good, 's3backer-blocksize': bad })), null, bad);
    assert.equal(parseVolumeMetadata(info({ ...good, 's3backer-filesize': bad })), null, bad);
  }
  assert.equal(parseVolumeMetadata(info({ 's3backer-blocksize': '4096' })), null);
  assert.equal(parseVolumeMetadata(info({ 's3backer-filesize': '4096' })), null);
  assert.equal(parseVolumeMetadata(info({})), null);
});
