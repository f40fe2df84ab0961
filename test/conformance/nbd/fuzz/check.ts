/** Holds what a server sent against what it should have sent: complete, in step, each answer once. */
import assert from 'node:assert/strict';
import type { Expected, Framing, ReplyExpected } from './reference.ts';

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
  for (let left = expected.replies.length; left > 0; left--) takeReply(reader, open, expected.framing);
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

function takeReply(reader: Reader, open: Map<bigint, ReplyExpected[]>, framing: Framing): void {
  const head = reader.take(16);
  const cookie = head.readBigUInt64BE(8);
  const expected = open.get(cookie)?.pop();
  assert.ok(expected !== undefined, `an answer to ${cookie}, which was not asked or has been answered`);
  const { type, errno, data, contexts } = expected;
  if (head.readUInt32BE(0) === 0x67446698) {
    assert.ok(framing !== 'extended', 'a simple reply after extended headers');
    assert.equal(head.readUInt32BE(4), errno);
    if (framing === 'structured') assert.ok(type !== 0 && type !== 7 && errno === 0, 'a structured reply is due');
    if (errno === 0) assert.ok(reader.take(data.length).equals(data), 'other bytes');
    return;
  }
  const first = takeChunk(reader, head, framing, expected);
  if (first.kind === 32_769) {
    assert.ok(first.done);
    assert.equal(first.body.readUInt32BE(0), errno);
    assert.equal(first.body.length, 6 + first.body.readUInt16BE(4));
    return;
  }
  assert.equal(errno, 0);
  if (type === 7) {
    // Of our server the chunks of a reply are not torn apart.
    let chunk = first;
    contexts.forEach((id, i) => {
      checkStatus(chunk, expected, framing, id);
      assert.equal(chunk.done, i === contexts.length - 1);
      if (!chunk.done) chunk = takeChunk(reader, reader.take(16), framing, expected);
    });
    return;
  }
  assert.ok(first.done);
  if (first.kind === 1 || first.kind === 2) assert.equal(first.body.readBigUInt64BE(0), expected.offset);
  if (first.kind === 1) assert.ok(first.body.subarray(8).equals(data), 'other bytes');
  else if (first.kind === 2) {
    assert.equal(first.body.readUInt32BE(8), data.length);
    assert.ok(data.every((byte) => byte === 0));
  } else assert.ok(first.kind === 0 && data.length === 0 && first.body.length === 0, `chunk ${first.kind}`);
}

interface Chunk {
  readonly kind: number;
  readonly done: boolean;
  readonly body: Buffer;
}

function takeChunk(reader: Reader, head: Buffer, framing: Framing, { cookie, offset }: ReplyExpected): Chunk {
  assert.ok(framing !== 'simple', 'a structured reply nobody asked for');
  assert.equal(head.readUInt32BE(0), framing === 'extended' ? 0x6e8a278c : 0x668e33ef, 'not a reply');
  assert.equal(head.readBigUInt64BE(8), cookie);
  const flags = head.readUInt16BE(4);
  assert.ok(flags <= 1);
  if (framing === 'extended') assert.equal(reader.take(8).readBigUInt64BE(0), offset);
  const length = framing === 'extended' ? Number(reader.take(8).readBigUInt64BE(0)) : reader.take(4).readUInt32BE(0);
  return { kind: head.readUInt16BE(6), done: flags === 1, body: reader.take(length) };
}

function checkStatus({ kind, body }: Chunk, { flags, length }: ReplyExpected, framing: Framing, id: number): void {
  const extended = framing === 'extended';
  assert.equal(kind, extended ? 6 : 5);
  assert.equal(body.readUInt32BE(0), id);
  const [headBytes, runBytes] = extended ? [8, 16] : [4, 8];
  const runs = (body.length - headBytes) / runBytes;
  assert.ok(Number.isInteger(runs) && runs >= 1);
  if (extended) assert.equal(body.readUInt32BE(4), runs);
  let covered = 0;
  for (let at = headBytes; at < body.length; at += runBytes) {
    const run = extended ? Number(body.readBigUInt64BE(at)) : body.readUInt32BE(at);
    assert.ok(run >= 1);
    covered += run;
  }
  if ((flags & 8) === 0) assert.equal(covered, length);
  else assert.ok(runs === 1 && covered <= length);
}
