/** Which requests are refused before the device sees them, and with what. */
import { Command, CommandFlag, NbdErrno, PAYLOAD_BYTES_MAX } from './constants.ts';
import type { Negotiated } from './handshake.ts';
import type { RequestHeader } from './wire.ts';

export interface Refusal {
  readonly errno: NbdErrno;
  readonly text: string;
}

/** FUA is allowed, and means nothing, where nothing is written. */
const FLAGS_OF_COMMAND: ReadonlyMap<number, number> = new Map([
  [Command.READ, CommandFlag.FUA],
  [Command.WRITE, CommandFlag.FUA],
  [Command.DISC, 0xffff],
  [Command.FLUSH, CommandFlag.FUA],
  [Command.TRIM, CommandFlag.FUA],
  [Command.CACHE, CommandFlag.FUA],
  [Command.WRITE_ZEROES, CommandFlag.FUA | CommandFlag.NO_HOLE | CommandFlag.FAST_ZERO],
  [Command.BLOCK_STATUS, CommandFlag.FUA | CommandFlag.REQ_ONE],
]);

const UNKNOWN_COMMAND: Refusal = { errno: NbdErrno.EINVAL, text: 'unknown command' };
const UNKNOWN_FLAG: Refusal = { errno: NbdErrno.EINVAL, text: 'a flag this command does not have' };
const SHUTTING_DOWN: Refusal = { errno: NbdErrno.ESHUTDOWN, text: 'the server is shutting down' };
const READ_ONLY: Refusal = { errno: NbdErrno.EPERM, text: 'the export is read-only' };
const TOO_LONG: Refusal = { errno: NbdErrno.EINVAL, text: 'longer than the largest payload' };
const PAST_END: Refusal = { errno: NbdErrno.EINVAL, text: 'past the end of the device' };
const PAST_END_WRITE: Refusal = { errno: NbdErrno.ENOSPC, text: 'past the end of the device' };
const NO_CONTEXT: Refusal = { errno: NbdErrno.EINVAL, text: 'no metadata context was negotiated' };
const NO_LENGTH: Refusal = { errno: NbdErrno.EINVAL, text: 'a block status of nothing' };

/** Undefined where the request is good. */
export function refusalOf(request: RequestHeader, negotiated: Negotiated, shutdown: boolean): Refusal | undefined {
  const { type, flags, offset, length } = request;
  if (type === Command.DISC) return undefined;
  if (shutdown) return SHUTTING_DOWN;
  const allowed = FLAGS_OF_COMMAND.get(type);
  if (allowed === undefined) return UNKNOWN_COMMAND;
  const dfAllowed = type === Command.READ && negotiated.structuredReplies;
  if ((flags & ~(dfAllowed ? allowed | CommandFlag.DF : allowed)) !== 0) return UNKNOWN_FLAG;
  // A flush has no range; what its fields say is ignored.
  if (type === Command.FLUSH) return undefined;

  const { geometry, contexts } = negotiated;
  const changes = type === Command.WRITE || type === Command.WRITE_ZEROES || type === Command.TRIM;
  if (changes && geometry.readOnly) return READ_ONLY;
  const hasPayload = type === Command.READ || type === Command.WRITE;
  if (hasPayload && length > Math.min(geometry.blockSizeMaxBytes, PAYLOAD_BYTES_MAX)) return TOO_LONG;
  if (offset + length > geometry.sizeBytes) {
    return type === Command.WRITE || type === Command.WRITE_ZEROES ? PAST_END_WRITE : PAST_END;
  }
  if (type === Command.BLOCK_STATUS && contexts.length === 0) return NO_CONTEXT;
  if (type === Command.BLOCK_STATUS && length === 0) return NO_LENGTH;
  return undefined;
}
