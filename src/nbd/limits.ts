/** The bounds a server keeps to, whatever its clients do. */

export interface NbdLimits {
  /** Further connections are closed before a greeting. */
  readonly connectionsMax: number;
  /** From the accept until a client has chosen an export. */
  readonly handshakeTimeoutMs: number;
  /** Payload bytes of requests under way, reads until they have been sent: of one connection and of all. */
  readonly inFlightBytesPerConnectionMax: number;
  readonly inFlightBytesMax: number;
  /** Requests of one connection that the device has not answered yet. */
  readonly inFlightRequestsMax: number;
  /** The same of all connections to one volume. A lone one gets half of it, which is what the Linux kernel's client sends at most. */
  readonly inFlightRequestsPerVolumeMax: number;
  /** No further request is taken while this much output of the connection is unsent. Where large reads are at hand, it is less. */
  readonly unsentBytesMax: number;
  /** A peer in the midst of a payload or with replies to read, of which not even 512 KiB get through in this time, is disconnected. */
  readonly stallTimeoutMs: number;
}

export const DEFAULT_LIMITS: NbdLimits = {
  connectionsMax: 256,
  handshakeTimeoutMs: 15_000,
  inFlightBytesPerConnectionMax: 64 * 1024 * 1024,
  inFlightBytesMax: 128 * 1024 * 1024,
  inFlightRequestsMax: 1024,
  inFlightRequestsPerVolumeMax: 256,
  unsentBytesMax: 1024 * 1024,
  stallTimeoutMs: 60_000,
};
