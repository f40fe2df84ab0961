/** The bounds of a FUSE session, whatever the programs on its files do. */

export interface FuseLimits {
  /** Bytes of reads and writes that devices have not answered. At the bound what is asked of files waits. */
  readonly inFlightBytesMax: number;
  /** Requests that devices have not answered. */
  readonly inFlightRequestsMax: number;
  /** Bytes of requests that wait. At the bound nothing more is read, be it that a program is told to end. */
  readonly waitingBytesMax: number;
  /** Asynchronous requests that the kernel may have under way, over all files. A loop device has 128 at most. */
  readonly kernelBackgroundMax: number;
  /** So long a read goes on after a signal to the program that waits for it; then it is answered with EINTR. */
  readonly interruptGraceMs: number;
}

export const DEFAULT_LIMITS: FuseLimits = {
  inFlightBytesMax: 128 * 1024 * 1024,
  inFlightRequestsMax: 2048,
  waitingBytesMax: 16 * 1024 * 1024,
  kernelBackgroundMax: 512,
  interruptGraceMs: 2_000,
};
