/** Files that are not for others from their first moment on. */

/**
 * Runs `work`, which makes a file within the call, as binding a unix socket does: nobody else may open it before its permissions could
 * be changed. The mask is the whole process's, so that nothing may be awaited under it.
 */
export function withUmask<T>(mask: number, work: () => T): T {
  const before = process.umask(mask);
  try {
    return work();
  } finally {
    process.umask(before);
  }
}
