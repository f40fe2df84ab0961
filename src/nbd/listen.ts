/** Binds a listening socket: TCP, or a unix socket in the place of one that a dead process left behind. */
import { chmodSync, existsSync } from 'node:fs';
import { lstat, rename, unlink } from 'node:fs/promises';
import { connect, type ListenOptions, type Server } from 'node:net';
import { dirname } from 'node:path';
import { StorageError } from '../lib/errors.ts';
import { systemReason } from '../lib/system-reason.ts';

/** Where to listen. Port 0: the kernel picks. `mode`: permissions of the socket file, 0o600 where left out. */
export type ListenTarget =
  | { readonly host: string; readonly port: number }
  | { readonly path: string; readonly mode?: number };

/** Where a server listens; the port is the real one. */
export type ServerAddress = { readonly host: string; readonly port: number } | { readonly path: string };

/** Rejects with HELD where somebody else listens there, INVALID where the address cannot be listened on. */
export async function listen(server: Server, target: ListenTarget): Promise<ServerAddress> {
  if (!('path' in target)) {
    await bind(server, { host: target.host, port: target.port }, `${target.host}:${target.port}`);
    const bound = server.address();
    if (bound === null || typeof bound === 'string') throw new Error('a TCP server without an address');
    return { host: bound.address, port: bound.port };
  }
  const { path, mode = 0o600 } = target;
  try {
    await bind(server, { path }, path);
  } catch (error) {
    if (!(await removeLeftover(path))) throw error;
    await bind(server, { path }, path);
  }
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
      // A socket file is made within the call: nobody else may connect before its permissions have been set.
      const umask = process.umask(0o077);
      try {
        server.listen(options, () => {
          server.removeListener('error', reject);
          resolve();
        });
      } finally {
        process.umask(umask);
      }
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
 * Takes away a socket file on which nobody listens; false where there is none. Of two servers that find one, the slower must
 * not take away what the quicker has bound by then: so it is moved aside and looked at once more.
 */
async function removeLeftover(path: string): Promise<boolean> {
  if (!(await isLeftover(path))) return false;
  const aside = `${path}.${process.pid}`;
  try {
    await rename(path, aside);
    if (await isLeftover(aside)) {
      await unlink(aside);
      return true;
    }
    await rename(aside, path);
    return false;
  } catch (error) {
    // Somebody else was quicker; who of us can bind will show.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true;
    throw new StorageError('INVALID', `cannot replace the unused socket ${path}`, { cause: error });
  }
}

/** Anything that is not a socket is somebody's and stays. */
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
