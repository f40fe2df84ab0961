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
  const sizes = { sizeBytes: 2 ** 44, blockSizeBytes: 1048576 };
  const metadata = formatVolumeMetadata(sizes);
  assert.deepEqual(metadata, { 's3backer-blocksize': '1048576', 's3backer-filesize': '17592186044416' });
  assert.deepEqual(parseVolumeMetadata(info(metadata)), sizes);
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
