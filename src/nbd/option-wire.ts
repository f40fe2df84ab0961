/** The handshake on the wire: the greeting, options in, option replies out. Pure, all big-endian. */
import type { Geometry } from '../volume/block-device.ts';
import { HandshakeFlag, Info, NBD_MAGIC, OPTION_MAGIC, OPTION_REPLY_MAGIC, STRING_BYTES_MAX } from './constants.ts';
import { writeUInt64 } from './wire.ts';

export const GREETING_BYTES = 18;
export const CLIENT_FLAGS_BYTES = 4;
export const OPTION_HEADER_BYTES = 16;
const OPTION_REPLY_HEADER_BYTES = 20;

export function encodeGreeting(): Buffer {
  const greeting = Buffer.alloc(GREETING_BYTES);
  writeMagic(greeting, 0, NBD_MAGIC);
  writeMagic(greeting, 8, OPTION_MAGIC);
  greeting.writeUInt16BE(HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES, 16);
  return greeting;
}

export interface OptionHeader {
  readonly option: number;
  /** Of the data that follows. */
  readonly length: number;
}

/** Undefined where the magic is wrong: the stream is then lost. */
export function decodeOptionHeader(from: Buffer, at: number): OptionHeader | undefined {
  if (from.readUInt32BE(at) !== OPTION_MAGIC[0] || from.readUInt32BE(at + 4) !== OPTION_MAGIC[1]) return undefined;
  return { option: from.readUInt32BE(at + 8), length: from.readUInt32BE(at + 12) };
}

export function encodeOptionReply(option: number, reply: number, data: Buffer | string = ''): Buffer {
  const body = typeof data === 'string' ? Buffer.from(data, 'utf8') : data;
  const message = Buffer.allocUnsafe(OPTION_REPLY_HEADER_BYTES + body.length);
  writeMagic(message, 0, OPTION_REPLY_MAGIC);
  message.writeUInt32BE(option, 8);
  message.writeUInt32BE(reply, 12);
  message.writeUInt32BE(body.length, 16);
  body.copy(message, OPTION_REPLY_HEADER_BYTES);
  return message;
}

/** The answer to EXPORT_NAME, which has no header and no room for an error. */
export function encodeExportNameReply(sizeBytes: number, transmissionFlags: number, zeroes: boolean): Buffer {
  const reply = Buffer.alloc(zeroes ? 134 : 10);
  writeUInt64(reply, 0, sizeBytes);
  reply.writeUInt16BE(transmissionFlags, 8);
  return reply;
}

/** Data of a SERVER reply: a name with its length, then free text. */
export function encodeServerData(name: string, description: string): Buffer {
  const nameBytes = Buffer.from(name, 'utf8');
  const data = Buffer.allocUnsafe(4 + nameBytes.length);
  data.writeUInt32BE(nameBytes.length, 0);
  nameBytes.copy(data, 4);
  return Buffer.concat([data, protocolString(description)]);
}

export function encodeInfoExport(sizeBytes: number, transmissionFlags: number): Buffer {
  const data = Buffer.allocUnsafe(12);
  data.writeUInt16BE(Info.EXPORT, 0);
  writeUInt64(data, 2, sizeBytes);
  data.writeUInt16BE(transmissionFlags, 10);
  return data;
}

/** NAME or DESCRIPTION. */
export function encodeInfoText(info: number, text: string): Buffer {
  const data = Buffer.allocUnsafe(2);
  data.writeUInt16BE(info, 0);
  return Buffer.concat([data, protocolString(text)]);
}

export function encodeInfoBlockSize(geometry: Geometry): Buffer {
  const data = Buffer.allocUnsafe(14);
  data.writeUInt16BE(Info.BLOCK_SIZE, 0);
  data.writeUInt32BE(geometry.blockSizeMinBytes, 2);
  data.writeUInt32BE(geometry.blockSizePreferredBytes, 6);
  data.writeUInt32BE(geometry.blockSizeMaxBytes, 10);
  return data;
}

/** Data of a META_CONTEXT reply. */
export function encodeMetaContext(id: number, name: string): Buffer {
  const data = Buffer.allocUnsafe(4);
  data.writeUInt32BE(id, 0);
  return Buffer.concat([data, Buffer.from(name, 'utf8')]);
}

export interface InfoRequest {
  readonly name: string;
  readonly infos: readonly number[];
}

/** The data of INFO and GO; undefined where it is malformed. */
export function decodeInfoRequest(data: Buffer): InfoRequest | undefined {
  if (data.length < 6) return undefined;
  const nameLength = data.readUInt32BE(0);
  if (nameLength > STRING_BYTES_MAX || nameLength > data.length - 6) return undefined;
  const name = data.toString('utf8', 4, 4 + nameLength);
  const count = data.readUInt16BE(4 + nameLength);
  const infosAt = 6 + nameLength;
  if (data.length !== infosAt + 2 * count) return undefined;
  const infos: number[] = [];
  for (let i = 0; i < count; i++) infos.push(data.readUInt16BE(infosAt + 2 * i));
  return { name, infos };
}

export interface MetaContextRequest {
  readonly name: string;
  readonly queries: readonly string[];
}

/** The data of LIST_META_CONTEXT and SET_META_CONTEXT; undefined where it is malformed. */
export function decodeMetaContextRequest(data: Buffer): MetaContextRequest | undefined {
  if (data.length < 8) return undefined;
  const nameLength = data.readUInt32BE(0);
  if (nameLength > STRING_BYTES_MAX || nameLength > data.length - 8) return undefined;
  const name = data.toString('utf8', 4, 4 + nameLength);
  const count = data.readUInt32BE(4 + nameLength);
  const queries: string[] = [];
  let at = 8 + nameLength;
  for (let i = 0; i < count; i++) {
    if (data.length - at < 4) return undefined;
    const queryLength = data.readUInt32BE(at);
    at += 4;
    if (queryLength > STRING_BYTES_MAX || queryLength > data.length - at) return undefined;
    queries.push(data.toString('utf8', at, at + queryLength));
    at += queryLength;
  }
  return at === data.length ? { name, queries } : undefined;
}

/** `text` in UTF-8, cut between characters where it would be longer than the protocol's strings may be. */
export function protocolString(text: string, bytesMax = STRING_BYTES_MAX): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  if (bytes.length <= bytesMax) return bytes;
  let end = bytesMax;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return bytes.subarray(0, end);
}

function writeMagic(into: Buffer, at: number, magic: readonly [number, number]): void {
  into.writeUInt32BE(magic[0], at);
  into.writeUInt32BE(magic[1], at + 4);
}
