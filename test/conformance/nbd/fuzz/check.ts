/** Holds what a server sent against what it should have sent: complete, in step, each answer once. */
import assert from 'node:assert/strict';
import type { Expected, ReplyExpected } from './reference.ts';

/** Throws where `output` is not exactly the greeting and the answers expected, those to requests in any order. */
export function check(output: Buffer, expected: Expected): void {
  const reader = new Reader(output);
  assert.equal(reader.take(16).toString('latin1'), 'NBDMAGICIHAVEOPT');
  reader.take(2);
  for (const answer of expected.options) {
    if ('exportNameBytes' in answer) reader.take(answer.exportNameBytes);
    else assert.deepEqual(optionAnswer(reader), answer);
  }
  const open = new Map<bigint, ReplyExpected[]>();
  for (const reply of expected.replies) open.set(reply.cookie, [...(open.get(reply.cookie) ?? []), reply]);
  for (let left = expected.replies.length; left > 0; left--) takeReply(reader, open, expected.structured);
  assert.equal(reader.left, 0, 'bytes after the last answer');
}

/** Accidents repeat cookies now and then; which answer is whose cannot be told then. */
export function isAmbiguous({ replies }: Expected): boolean {
  return new Set(replies.map(({ cookie }) => cookie)).size < replies.length;
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  take(length: number): Buffer {
    assert.ok(length <= this.left, `${length} bytes expected, ${this.left} are there`);
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }
}

function optionAnswer(reader: Reader): { option: number; last: number } {
  for (;;) {
    const header = reader.take(20);
    assert.equal(header.toString('hex', 0, 8), '0003e889045565a9');
    reader.take(header.readUInt32BE(16));
    const [option, last] = [header.readUInt32BE(8), header.readUInt32BE(12)];
    if (last === 1 || last >= 2 ** 31) return { option, last };
  }
}

function takeReply(reader: Reader, open: Map<bigint, ReplyExpected[]>, structured: boolean): void {
  const head = reader.take(16);
  const cookie = head.readBigUInt64BE(8);
  const expected = open.get(cookie)?.pop();
  assert.ok(expected !== undefined, `an answer to ${cookie}, which was not asked or has been answered`);
  const { type, errno, data } = expected;
  if (head.readUInt32BE(0) === 0x67446698) {
    assert.equal(head.readUInt32BE(4), errno);
    if (structured) assert.ok(type !== 0 && type !== 7 && errno === 0, 'a simple reply where a structured one is due');
    if (errno === 0) assert.ok(reader.take(data.length).equals(data), 'other bytes');
    return;
  }
  assert.equal(head.readUInt32BE(0), 0x668e33ef, 'not a reply');
  assert.ok(structured, 'a structured reply nobody asked for');
  // Of our server each reply is one chunk, as there is one context.
  assert.equal(head.readUInt16BE(4), 1);
  const kind = head.readUInt16BE(6);
  const body = reader.take(reader.take(4).readUInt32BE(0));
  if (kind === 32_769) {
    assert.equal(body.readUInt32BE(0), errno);
    assert.equal(body.length, 6 + body.readUInt16BE(4));
    return;
  }
  assert.equal(errno, 0);
  if (kind === 1) assert.ok(body.subarray(8).equals(data), 'other bytes');
  else if (kind === 2) {
    assert.equal(body.readUInt32BE(8), data.length);
    assert.ok(data.every((byte) => byte === 0));
  } else if (kind === 5) checkStatus(body, expected);
  else assert.ok(kind === 0 && type === 0 && data.length === 0, `chunk ${kind}`);
}

function checkStatus(body: Buffer, { type, flags, length }: ReplyExpected): void {
  assert.equal(type, 7);
  assert.equal(body.readUInt32BE(0), 1);
  let covered = 0;
  for (let at = 4; at < body.length; at += 8) covered += body.readUInt32BE(at);
  if ((flags & 8) === 0) assert.equal(covered, length);
  else assert.ok(body.length === 12 && covered >= 1 && covered <= length);
}
