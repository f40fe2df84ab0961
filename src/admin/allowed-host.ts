/** Which Host a request may name: a page of somebody else's that has its own name point here must not be answered. */
import { isIP } from 'node:net';

const HOST = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?$/i;

/**
 * Addresses are allowed, as only names can be made to point elsewhere; so are `localhost` and what is below it, and `names`
 * (in lower case), which are this machine's.
 */
export function isAllowedHost(header: string | undefined, names: readonly string[]): boolean {
  const match = HOST.exec(header ?? '');
  const host = (match?.[1] ?? match?.[2])?.toLowerCase().replace(/\.$/, '');
  if (host === undefined) return false;
  return isIP(host) !== 0 || host === 'localhost' || host.endsWith('.localhost') || names.includes(host);
}
