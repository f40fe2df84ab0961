/** Why the system refused a call, in words that can end a message. */
import { getSystemErrorMessage } from 'node:util';

/** `no such file or directory (ENOENT)`; the error's own words where it is not of the system. */
export function systemReason(error: unknown): string {
  const { errno, code } = (error ?? {}) as NodeJS.ErrnoException;
  // Some of Node's own calls give the number without its sign.
  const words = typeof errno === 'number' && errno !== 0 ? getSystemErrorMessage(-Math.abs(errno)) : undefined;
  if (words !== undefined) return `${words} (${code})`;
  return error instanceof Error ? error.message : String(error);
}
