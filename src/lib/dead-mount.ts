/** How a mount looks whose process is dead. */

/**
 * Whether what stat(1) has said of a mount is that: as the kernel says it to who asks, and to who had asked before the process died. The
 * path is in it too, and may have any words in it.
 */
export function tellsDeath(stderr: string): boolean {
  return /: [^:']*(not connected|connection abort(ed)?)$/i.test(stderr);
}
