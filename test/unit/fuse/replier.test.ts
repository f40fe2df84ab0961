/** Where in memory replies are put together. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Replier } from '../../../src/fuse/replier.ts';
import { REPLY_HEADER_BYTES, TRANSFER_BYTES_MAX } from '../../../src/fuse/wire.ts';
import { isChecked } from '../../../src/lib/checksum.ts';

const PAGE_BYTES = 4096;

test('the data of a reply begins with a page, and the largest has room', (t) => {
  const sent: Buffer[] = [];
  const replier = new Replier({
    send: (bytes) => void sent.push(bytes),
    sendWithData: () => assert.fail('not for this'),
    sendAside: (bytes) => sent.push(bytes) > 0,
  });
  replier.succeed(1, 0, PAGE_BYTES);
  const aside = replier.takeAside();
  assert.ok(aside !== null);
  replier.succeedAside(2, 0, aside, TRANSFER_BYTES_MAX);
  assert.equal(sent.length, 2);
  for (const bytes of sent) {
    assert.equal(bytes.length, REPLY_HEADER_BYTES + TRANSFER_BYTES_MAX);
    if (isChecked(bytes)) assert.equal((bytes.byteOffset + REPLY_HEADER_BYTES) % PAGE_BYTES, 0);
    else t.diagnostic('no memory that pages are checked in: it lies where it lies');
  }
});
