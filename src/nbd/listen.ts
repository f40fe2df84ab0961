/** Binds a listening socket: TCP, or a unix socket in the place of one that a dead process left behind. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync } from 'node:fs';
import { lstat, unlink } from 'node:fs/promises';
import { connect, createServer, type ListenOptions, type Server } from 'node:net';
import { dirname, resolve as resolvePath } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { StorageError } from '../lib/errors.ts';
import { systemReason } from '../lib/system-reason.ts';
import { withUmask } from '../lib/with-umask.ts';

/** Where to listen. Port 0: the kernel picks. `mode`: permissions of the socket file, 0o600 where left out. */
export type ListenTarget =
  | { readonly host: string; readonly port: number }
  | { readonly path: string; readonly mode?: number };

/** Where a server listens; the port is the real one. */
export type ServerAddress = { readonly host: string; readonly port: number } | { readonly path: string };

/** How often, and after how long each time, somebody who is taking a socket's place is waited for. */
const TURNS_MAX = 100;
const TURN_MS = 20;

/** Rejects with HELD where somebody else listens there, INVALID where the address cannot be listened on. */
export async function listen(server: Server, target: ListenTarget): Promise<ServerAddress> {
  if (!('path' in target)) {
    await bind(server, { host: target.host, port: target.port }, `${target.host}:${target.port}`);
    const bound = server.address();
    if (bound === null || typeof bound === 'string') throw new Error('a TCP server without an address');
    return { host: bound.address, port: bound.port };
  }
  const { path, mode = 0o600 } = target;
  await inTurn(path, async () => {
    try {
      await bind(server, { path }, path);
    } catch (error) {
      if (await isOtherThanSocket(path)) {
        const message = `cannot listen on ${path}: something else than a socket is there: move it away, or choose another path`;
        throw new StorageError('INVALID', message, { cause: error });
      }
      if (!(await isLeftover(path))) throw error;
      await unlink(path).catch((cause: unknown) => {
        throw new StorageError('INVALID', `cannot remove the unused socket ${path}`, { cause });
      });
      await bind(server, { path }, path);
    }
  });
  try {
    // Without a wait: from here on clients come, who want to be told apart and whose errors to be heard.
    chmodSync(path, mode);
  } catch (cause) {
    server.close();
    throw new StorageError('INVALID', `cannot set the permissions of ${path}`, { cause });
  }
  return { path };
}

async function bind(server: Server, options: ListenOptions, where: string): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      // Its permissions are set once it is there, and clients can come by then.
      withUmask(0o077, () =>
        server.listen(options, () => {
          server.removeListener('error', reject);
          resolve();
        }),
      );
    });
  } catch (cause) {
    // Which the system's own answer calls a lack of permission.
    const astray = options.path !== undefined && !existsSync(dirname(options.path));
    const reason = astray ? 'its directory does not exist' : systemReason(cause);
    const held = (cause as NodeJS.ErrnoException).code === 'EADDRINUSE';
    const message = held ? `${where} is in use by somebody else` : `cannot listen on ${where}: ${reason}`;
    throw new StorageError(held ? 'HELD' : 'INVALID', message, { cause });
  }
}

/**
 * Of two servers that find a socket file on which nobody listens, the slower must not take away what the quicker has bound by
 * then: one at a time. The turn is a socket of the abstract namespace (unix(7)), which is gone with its process; servers in
 * different network namespaces have turns of their own.
 */
async function inTurn(path: string, work: () => Promise<void>): Promise<void> {
  const name = createHash('sha256').update(resolvePath(path)).digest('hex').slice(0, 32);
  for (let turn = 0; ; turn++) {
    const place = createServer();
    try {
      place.listen(`\0bucketdisk-listen-${name}`);
      await once(place, 'listening');
    } catch (cause) {
      // Only Linux has that namespace.
      if ((cause as NodeJS.ErrnoException).code !== 'EADDRINUSE') return work();
      if (turn === TURNS_MAX) {
        throw new StorageError('HELD', `somebody else is about to listen on ${path}`, { cause });
      }
      await delay(TURN_MS);
      continue;
    }
    try {
      return await work();
    } finally {
      place.close();
    }
  }
}

/** Which is somebody's and stays. */
async function isOtherThanSocket(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => undefined);
  return found !== undefined && !found.isSocket();
}

/** A socket on which nobody listens any more. */
async function isLeftover(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined || !found.isSocket()) return false;
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(false);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
}
