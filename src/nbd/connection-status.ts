/** A connection as it is shown to people. */
import type { ClientIdentity } from './exports.ts';

/** `tls`: its TLS handshake is under way. `closing`: nothing more is taken from it. */
export type ConnectionState = 'handshake' | 'tls' | 'attached' | 'closing';

export interface ConnectionStatus {
  readonly id: number;
  /** `host:port`, or `unix:path`. */
  readonly peer: string;
  readonly state: ConnectionState;
  readonly client: ClientIdentity;
  /** Null until the client has chosen one. */
  readonly export: string | null;
  /** Whether the client may only read. Null until it has chosen an export. */
  readonly readOnly: boolean | null;
  readonly since: Date;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly requests: number;
  /** Requests the device has not answered. */
  readonly requestsInFlight: number;
  /** Payload bytes of requests under way, reads until they have been sent. */
  readonly bytesInFlight: number;
  readonly bytesUnsent: number;
}
