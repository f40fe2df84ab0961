/**
 * What a correct server answers to a conversation, told from its bytes as a whole and in the simplest way: no splits, no
 * concurrency, no limits. The numbers are the protocol's own, so that a wrong constant of ours shows.
 */

export const SIZE = 64 * 1024;
/** The device's largest payload. */
export const PAYLOAD_MAX = 48 * 1024;
export const EXPORT_NAME = 'disk';

const MIB = 1024 * 1024;
const EINVAL = 22;
const EIO = 5;
const ENOSPC = 28;

/** An answer in the handshake: to an option, or the unframed one to EXPORT_NAME. */
export type OptionExpected = { readonly option: number; readonly last: number } | { readonly exportNameBytes: number };

export interface ReplyExpected {
  readonly cookie: bigint;
  readonly type: number;
  readonly flags: number;
  readonly errno: number;
  readonly offset: bigint;
  /** Of a READ that succeeds. */
  readonly data: Buffer;
  readonly length: number;
  /** The contexts a BLOCK_STATUS that succeeds is answered in, in order. */
  readonly contexts: readonly number[];
}

export type Framing = 'simple' | 'structured' | 'extended';

export interface Expected {
  readonly options: readonly OptionExpected[];
  readonly framing: Framing;
  readonly replies: readonly ReplyExpected[];
  /** The server closes of itself; else it waits for more. */
  readonly ends: boolean;
}

/** How the device takes a request: some fail, some of those by throwing. The same for the reference and the device. */
export function fate(offset: number, length: number): 'good' | 'rejects' | 'throws' {
  const lot = (offset * 31 + length * 17) % 23;
  if (lot === 3) return 'rejects';
  return lot === 5 ? 'throws' : 'good';
}

const u32 = (bytes: Buffer, at: number): number => bytes.readUInt32BE(at);

/** `initial`: the device's bytes; they are what the conversation leaves of them afterwards. */
export function expect(bytes: Buffer, initial: Buffer): Expected {
  const options: OptionExpected[] = [];
  const replies: ReplyExpected[] = [];
  const state: Negotiation = { framing: 'simple', contexts: [] };
  const result = (ends: boolean): Expected => ({ options, framing: state.framing, replies, ends });
  if (bytes.length < 4) return result(false);
  if (u32(bytes, 0) > 3) return result(true);
  const zeroes = (u32(bytes, 0) & 2) === 0;
  let at = 4;
  for (let total = 0; ; ) {
    if (bytes.length - at < 16) return result(false);
    if (bytes.toString('latin1', at, at + 8) !== 'IHAVEOPT') return result(true);
    const option = u32(bytes, at + 8);
    const length = u32(bytes, at + 12);
    total += 16 + length;
    if (length > 32 * MIB || total > 64 * MIB) return result(true);
    if (bytes.length - at < 16 + length) return result(false);
    const data = bytes.subarray(at + 16, at + 16 + length);
    at += 16 + length;
    const answer = answerOption(option, data, state);
    if (option === 1) {
      const known = data.toString() === EXPORT_NAME || length === 0;
      if (!known || state.framing === 'extended') return result(true);
      options.push({ exportNameBytes: zeroes ? 134 : 10 });
      break;
    }
    options.push({ option, last: answer });
    if (option === 2) return result(true);
    if (option === 7 && answer === 1) break;
  }
  return result(transmission(bytes.subarray(at), initial, state, replies));
}

const ACK = 1;
const UNSUP = 2 ** 31 + 1;
const POLICY = 2 ** 31 + 2;
const INVALID = 2 ** 31 + 3;
const UNKNOWN = 2 ** 31 + 6;
const TOO_BIG = 2 ** 31 + 9;
const EXT_HEADER_REQD = 2 ** 31 + 10;
const CONTEXT_NAMES = ['base:allocation', 'bucketdisk:state'];

interface Negotiation {
  framing: Framing;
  /** Ids of those selected: their places in the list above, from 1 on. */
  contexts: number[];
}

function answerOption(option: number, data: Buffer, state: Negotiation): number {
  if (option === 2) return ACK;
  if (![1, 3, 5, 6, 7, 8, 9, 10, 11].includes(option)) return UNSUP;
  if (data.length > 64 * 1024) return TOO_BIG;
  if (option === 3) return data.length === 0 ? ACK : INVALID;
  if (option === 5) return POLICY;
  if (option === 8) {
    if (data.length > 0) return INVALID;
    if (state.framing !== 'simple') return state.framing === 'extended' ? EXT_HEADER_REQD : INVALID;
    state.framing = 'structured';
    return ACK;
  }
  if (option === 11) {
    if (data.length > 0 || state.framing === 'extended') return INVALID;
    state.framing = 'extended';
    return ACK;
  }
  if (option === 10) state.contexts = [];
  if (option >= 9 && state.framing === 'simple') return INVALID;
  const nameLength = data.length < 4 ? Number.POSITIVE_INFINITY : u32(data, 0);
  const rest = data.subarray(4 + Math.min(nameLength, data.length));
  if (nameLength > Math.min(4096, data.length - 4) || rest.length < (option <= 7 ? 2 : 4)) return INVALID;
  const queries: string[] = [];
  if (option <= 7) {
    if (rest.length !== 2 + 2 * rest.readUInt16BE(0)) return INVALID;
  } else {
    let at = 4;
    for (let left = u32(rest, 0); left > 0; left--) {
      if (rest.length < at + 4 || u32(rest, at) > Math.min(4096, rest.length - at - 4)) return INVALID;
      queries.push(rest.toString('utf8', at + 4, at + 4 + u32(rest, at)));
      at += 4 + u32(rest, at);
    }
    if (at !== rest.length) return INVALID;
  }
  const name = data.toString('utf8', 4, 4 + nameLength);
  if (name !== '' && name !== EXPORT_NAME) return UNKNOWN;
  if (option === 10) state.contexts = [1, 2].filter((id) => queries.includes(CONTEXT_NAMES[id - 1] ?? ''));
  return ACK;
}

const ALLOWED_FLAGS = [1, 1, 0xffff, 1, 1, 1, 1 | 2 | 16, 1 | 8];
const DF = 4;
const PAYLOAD_LEN = 32;

/** Adds what is answered, and returns whether the server closes. */
function transmission(bytes: Buffer, device: Buffer, negotiation: Negotiation, replies: ReplyExpected[]): boolean {
  const { framing, contexts } = negotiation;
  const extended = framing === 'extended';
  const headerBytes = extended ? 32 : 28;
  for (let at = 0; bytes.length - at >= headerBytes; ) {
    if (u32(bytes, at) !== (extended ? 0x21e41c71 : 0x25609513)) return true;
    const flags = bytes.readUInt16BE(at + 4);
    const type = bytes.readUInt16BE(at + 6);
    const cookie = bytes.readBigUInt64BE(at + 8);
    const offset = bytes.readBigUInt64BE(at + 16);
    let length = extended ? bytes.readBigUInt64BE(at + 24) : BigInt(u32(bytes, at + 24));
    at += headerBytes;
    if (type === 2) return true;
    const flagged = (flags & PAYLOAD_LEN) !== 0;
    const payloadLength = type === 1 || (extended && flagged) ? length : 0n;
    const query = extended && flagged && type === 7;
    const ids: number[] = [];
    let errno = flagsAllowed(type, flags, framing) ? 0 : EINVAL;
    if (errno === 0 && !query) errno = rangeError(type, offset, length, contexts.length > 0);
    if (query && (payloadLength < 12n || payloadLength > 8 + 4 * contexts.length || payloadLength % 4n !== 0n)) {
      errno = EINVAL;
    }
    if (payloadLength > 0n) {
      if (errno !== 0 && payloadLength > 64 * MIB) return true;
      if (BigInt(bytes.length - at) < payloadLength) return false;
    }
    const payload = bytes.subarray(at, at + Number(payloadLength));
    at += payload.length;
    if (query && errno === 0) {
      length = payload.readBigUInt64BE(0);
      for (let i = 8; i < payload.length; i += 4) ids.push(u32(payload, i));
      const good = new Set(ids).size === ids.length && ids.every((id) => contexts.includes(id));
      errno = good ? rangeError(type, offset, length, true) : EINVAL;
    }
    let data = Buffer.alloc(0);
    if (errno === 0 && type !== 3 && length > 0n) {
      const [from, size] = [Number(offset), Number(length)];
      if (fate(from, size) !== 'good') errno = EIO;
      else if (type === 0) data = Buffer.from(device.subarray(from, from + size));
      else if (type === 1) payload.copy(device, from);
      else if (type === 4 || type === 6) device.fill(0, from, from + size);
    }
    const answeredIn = type === 7 ? (query ? ids : contexts) : [];
    replies.push({ cookie, type, flags, errno, offset, data, length: Number(length), contexts: answeredIn });
  }
  return false;
}

function flagsAllowed(type: number, flags: number, framing: Framing): boolean {
  const allowed = ALLOWED_FLAGS[type];
  if (allowed === undefined) return false;
  const df = type === 0 && framing !== 'simple' ? DF : 0;
  const payload = (type === 1 || type === 7) && framing === 'extended' ? PAYLOAD_LEN : 0;
  return (flags & ~(allowed | df | payload)) === 0;
}

function rangeError(type: number, offset: bigint, length: bigint, anyContext: boolean): number {
  if (type === 3) return 0;
  if (type <= 1 && length > PAYLOAD_MAX) return EINVAL;
  if (offset + length > BigInt(SIZE)) return type === 1 || type === 6 ? ENOSPC : EINVAL;
  return type === 7 && (!anyContext || length === 0n) ? EINVAL : 0;
}
