/** What real clients sent, played again: whole, cut short anywhere, and with a piece missing. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { playInput } from './fuzz/lanes.ts';
import { readRecordings } from './fuzz/recordings.ts';
import { EXPORT_NAME, expect, SIZE } from './fuzz/reference.ts';

const CUTS = 40;

describe('recorded clients', () => {
  const recordings = readRecordings();

  test('every client of the interop tests is among them', () => {
    const names = recordings.map(({ name }) => name.replace(/-\d+\.bin$/, ''));
    for (const name of [
      'nbdinfo',
      'nbdcopy',
      'qemu-io',
      'qemu-img',
      'fio',
      'libnbd',
      'nbdkit',
      'nbd-client',
      'nbd.ko',
      'libnbd-1.22',
      'qemu-io-10',
    ]) {
      assert.ok(names.includes(name), name);
    }
    const framings = new Set(recordings.map(({ bytes }) => expect(bytes, Buffer.alloc(SIZE)).framing));
    assert.ok(framings.has('structured') && framings.has('extended'));
    assert.ok(recordings.some(({ bytes }) => bytes.includes(EXPORT_NAME)));
  });

  for (const { name, bytes } of recordings) {
    test(`${name}, whole and cut`, async () => {
      const { replies } = expect(bytes, Buffer.alloc(SIZE));
      await playInput(1, bytes);
      for (let i = 0; i < CUTS; i++) {
        const at = Math.floor((bytes.length * i) / CUTS);
        await playInput(i, bytes.subarray(0, at));
        const resumed = Math.min(bytes.length, at + 1 + ((i * 31) % 200));
        await playInput(i, Buffer.concat([bytes.subarray(0, at), bytes.subarray(resumed)]));
      }
      if (/^(fio-1|libnbd|qemu-io|nbd\.ko)/.test(name)) assert.ok(replies.length >= 5, `${replies.length} requests`);
    });
  }
});
