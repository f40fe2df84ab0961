/** The handshake, byte by byte. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  decodeInfoRequest,
  decodeMetaContextRequest,
  decodeOptionHeader,
  encodeExportNameReply,
  encodeGreeting,
  encodeInfoBlockSize,
  encodeInfoExport,
  encodeInfoText,
  encodeMetaContext,
  encodeOptionReply,
  encodeServerData,
  protocolString,
} from '../../../src/nbd/option-wire.ts';

const hex = (bytes: Buffer): string => bytes.toString('hex');
const bytes = (text: string): Buffer => Buffer.from(text, 'hex');

test('the greeting: two magics, fixed newstyle, no zeroes', () => {
  assert.equal(hex(encodeGreeting()), '4e42444d41474943' + '49484156454f5054' + '0003');
});

test('an option header', () => {
  const header = decodeOptionHeader(bytes('00' + '49484156454f5054' + '00000007' + '00010002'), 1);
  assert.deepEqual(header, { option: 7, length: 0x10002 });
  assert.equal(decodeOptionHeader(bytes('49484156454f5055' + '00000007' + '00000000'), 0), undefined);
  assert.equal(decodeOptionHeader(bytes('49484157454f5054' + '00000007' + '00000000'), 0), undefined);
});

test('option replies, plain and with text', () => {
  assert.equal(hex(encodeOptionReply(7, 1)), '0003e889045565a9' + '00000007' + '00000001' + '00000000');
  assert.equal(
    hex(encodeOptionReply(5, 2 ** 31 + 2, 'no')),
    '0003e889045565a9' + '00000005' + '80000002' + '00000002' + '6e6f',
  );
});

test('the answer to EXPORT_NAME', () => {
  assert.equal(hex(encodeExportNameReply(2 ** 40, 0x0d6d, false)), '0000010000000000' + '0d6d');
  assert.equal(hex(encodeExportNameReply(2 ** 40, 0x0d6d, true)), `00000100000000000d6d${'00'.repeat(124)}`);
});

test('data of the replies', () => {
  assert.equal(hex(encodeServerData('ab', 'c')), '00000002' + '6162' + '63');
  assert.equal(hex(encodeInfoExport(2 ** 40, 0x0d6d)), '0000' + '0000010000000000' + '0d6d');
  assert.equal(hex(encodeInfoText(2, 'é')), '0002' + 'c3a9');
  assert.equal(hex(encodeMetaContext(1, 'base:allocation')), `00000001${hex(Buffer.from('base:allocation'))}`);
  const geometry = {
    sizeBytes: 0,
    blockSizeMinBytes: 1,
    blockSizePreferredBytes: 4096,
    blockSizeMaxBytes: 2 ** 25,
    readOnly: false,
  };
  assert.equal(hex(encodeInfoBlockSize(geometry)), '0003' + '00000001' + '00001000' + '02000000');
});

test('requests for infos', () => {
  assert.deepEqual(decodeInfoRequest(bytes('00000000' + '0000')), { name: '', infos: [] });
  const request = decodeInfoRequest(bytes('00000002' + '6162' + '0002' + '0003' + 'ffff'));
  assert.deepEqual(request, { name: 'ab', infos: [3, 0xffff] });
});

test('requests for contexts', () => {
  assert.deepEqual(decodeMetaContextRequest(bytes('00000000' + '00000000')), { name: '', queries: [] });
  const request = decodeMetaContextRequest(bytes('00000001' + '61' + '00000002' + '00000000' + '00000002' + '783a'));
  assert.deepEqual(request, { name: 'a', queries: ['', 'x:'] });
});

test('no data, however wrong, is more than malformed', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (data) => {
      decodeInfoRequest(Buffer.from(data));
      decodeMetaContextRequest(Buffer.from(data));
    }),
  );
});

test('long text is cut between characters', () => {
  assert.equal(protocolString('abc', 3).toString(), 'abc');
  assert.equal(protocolString('abcd', 3).toString(), 'abc');
  assert.equal(protocolString('aé', 2).toString(), 'a');
  assert.equal(protocolString('a€€', 6).toString(), 'a€');
  assert.equal(protocolString('x'.repeat(5000)).length, 4096);
});
