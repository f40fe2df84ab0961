/** The bounds of a FUSE session, whatever the programs on its files do. */

export interface FuseLimits {
  /** Bytes of reads and writes that devices have not answered. At the bound no further request is taken. */
  readonly inFlightBytesMax: number;
  /** Requests that devices have not answered. */
  readonly inFlightRequestsMax: number;
  /** Asynchronous requests that the kernel may have under way, over all files. A loop device has 128 at most. */
  readonly kernelBackgroundMax: number;
  /** So long a read goes on after a signal to the program that waits for it; then it is answered with EINTR. */
  readonly interruptGraceMs: number;
}

export const DEFAULT_LIMITS: FuseLimits = {
  inFlightBytesMax: 128 * 1024 * 1024,
  inFlightRequestsMax: 2048,
  kernelBackgroundMax: 512,
  interruptGraceMs: 2_000,
};
