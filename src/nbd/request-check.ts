/** Which requests are refused before the device sees them, and with what. */
import { Command, CommandFlag, NbdErrno, PAYLOAD_BYTES_MAX } from './constants.ts';
import type { Negotiated } from './handshake.ts';
import type { MetaContext } from './meta-context.ts';
import { QUERY_HEAD_BYTES, QUERY_ID_BYTES, type RequestHeader, readUInt64 } from './wire.ts';

export interface Refusal {
  readonly errno: NbdErrno;
  readonly text: string;
}

const { READ, WRITE, DISC, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS } = Command;
const { FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, PAYLOAD_LEN } = CommandFlag;

/** By command. FUA is allowed, and means nothing, where nothing is written. */
const COMPACT_FLAGS: readonly number[] = flagTable([
  [READ, FUA],
  [WRITE, FUA],
  [DISC, 0xffff],
  [FLUSH, FUA],
  [TRIM, FUA],
  [CACHE, FUA],
  [WRITE_ZEROES, FUA | NO_HOLE | FAST_ZERO],
  [BLOCK_STATUS, FUA | REQ_ONE],
]);
const STRUCTURED_FLAGS = flagTable([...COMPACT_FLAGS.entries(), [READ, FUA | DF]]);
const EXTENDED_FLAGS = flagTable([
  ...STRUCTURED_FLAGS.entries(),
  [WRITE, FUA | PAYLOAD_LEN],
  [BLOCK_STATUS, FUA | REQ_ONE | PAYLOAD_LEN],
]);
const FLAGS_OF_FRAMING = { simple: COMPACT_FLAGS, structured: STRUCTURED_FLAGS, extended: EXTENDED_FLAGS };

function flagTable(entries: Iterable<readonly [number, number]>): number[] {
  const table: number[] = [];
  for (const [command, flags] of entries) table[command] = flags;
  return table;
}

const UNKNOWN_COMMAND: Refusal = { errno: NbdErrno.EINVAL, text: 'unknown command' };
const UNKNOWN_FLAG: Refusal = { errno: NbdErrno.EINVAL, text: 'a flag this command does not have' };
const SHUTTING_DOWN: Refusal = { errno: NbdErrno.ESHUTDOWN, text: 'the server is shutting down' };
const READ_ONLY: Refusal = { errno: NbdErrno.EPERM, text: 'the export is read-only' };
const TOO_LONG: Refusal = { errno: NbdErrno.EINVAL, text: 'longer than the largest payload' };
const PAST_END: Refusal = { errno: NbdErrno.EINVAL, text: 'past the end of the device' };
const PAST_END_WRITE: Refusal = { errno: NbdErrno.ENOSPC, text: 'past the end of the device' };
const NO_CONTEXT: Refusal = { errno: NbdErrno.EINVAL, text: 'no metadata context was negotiated' };
const NO_LENGTH: Refusal = { errno: NbdErrno.EINVAL, text: 'a block status of nothing' };
const BAD_QUERY: Refusal = {
  errno: NbdErrno.EINVAL,
  text: 'not a length and contexts that were negotiated, once each',
};

/** Undefined where the request is good; of a block status with a payload, where its payload is to be looked at. */
export function refusalOf(request: RequestHeader, negotiated: Negotiated, shutdown: boolean): Refusal | undefined {
  const { type, flags } = request;
  if (type === DISC) return undefined;
  if (shutdown) return SHUTTING_DOWN;
  const allowed = FLAGS_OF_FRAMING[negotiated.framing][type];
  if (allowed === undefined) return UNKNOWN_COMMAND;
  if ((flags & ~allowed) !== 0) return UNKNOWN_FLAG;
  // A flush has no range; what its fields say is ignored.
  if (type === FLUSH) return undefined;
  if (type === BLOCK_STATUS && (flags & PAYLOAD_LEN) !== 0) return queryRefusalOf(request.payloadBytes, negotiated);
  return rangeRefusalOf(request, negotiated);
}

function rangeRefusalOf({ type, offset, length }: RequestHeader, negotiated: Negotiated): Refusal | undefined {
  const { geometry, contexts } = negotiated;
  const changes = type === WRITE || type === WRITE_ZEROES || type === TRIM;
  if (changes && geometry.readOnly) return READ_ONLY;
  const hasPayload = type === READ || type === WRITE;
  if (hasPayload && length > Math.min(geometry.blockSizeMaxBytes, PAYLOAD_BYTES_MAX)) return TOO_LONG;
  if (offset + length > geometry.sizeBytes) return type === WRITE || type === WRITE_ZEROES ? PAST_END_WRITE : PAST_END;
  if (type === BLOCK_STATUS && contexts.length === 0) return NO_CONTEXT;
  if (type === BLOCK_STATUS && length === 0) return NO_LENGTH;
  return undefined;
}

/** Each context at most once, and at least one: that bounds the payload. */
function queryRefusalOf(payloadBytes: number, { contexts }: Negotiated): Refusal | undefined {
  const ids = (payloadBytes - QUERY_HEAD_BYTES) / QUERY_ID_BYTES;
  return Number.isInteger(ids) && ids >= 1 && ids <= contexts.length ? undefined : BAD_QUERY;
}

/**
 * Takes the payload of a BLOCK_STATUS apart: the effect length goes into `request`. Returns the contexts it names, in the
 * order they are named, or why the request is refused.
 */
export function readQuery(
  payload: Buffer,
  request: RequestHeader,
  negotiated: Negotiated,
): readonly MetaContext[] | Refusal {
  request.length = readUInt64(payload, 0);
  const named: MetaContext[] = [];
  for (let at = QUERY_HEAD_BYTES; at < payload.length; at += QUERY_ID_BYTES) {
    const id = payload.readUInt32BE(at);
    const context = negotiated.contexts.find((one) => one.id === id);
    if (context === undefined || named.includes(context)) return BAD_QUERY;
    named.push(context);
  }
  return rangeRefusalOf(request, negotiated) ?? named;
}
