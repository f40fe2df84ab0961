/** `host:port` as written in a configuration. */
import { show } from './problems.ts';
import type { ListenAddress } from './settings.ts';

/** Throws an Error that says what is expected. IPv6 addresses are in brackets: `[::1]:10809`. */
export function parseListenAddress(text: unknown): ListenAddress {
  const match = typeof text === 'string' ? /^(?:\[([0-9a-f:.]+)\]|([a-z0-9.-]+)):(\d{1,5})$/i.exec(text) : null;
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || !(port <= 65_535)) {
    throw new Error(`expected an address and a port such as "127.0.0.1:10809" or "[::1]:10809", not ${show(text)}`);
  }
  return { host, port };
}
