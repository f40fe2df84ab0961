/** NBD servers to measure, each a process of its own: ours in memory, and nbdkit. */
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Lifetime } from '../support/cleanup.ts';
import { type RunningProcess, startProcess } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { toolPath } from '../support/tools.ts';

export interface NbdTarget {
  readonly unixUri: string;
  readonly tcpUri: string;
  readonly pid: number;
}

const MEMORY_SERVER = fileURLToPath(new URL('../conformance/nbd/memory-server.ts', import.meta.url));
const UP_TIMEOUT_MS = 20_000;

/** Our NBD server over a device in memory, without a volume behind it. */
export async function startMemoryServer(
  lifetime: Lifetime,
  sizeBytes: number,
  env: Readonly<Record<string, string>>,
): Promise<NbdTarget> {
  const dir = await tempDir(lifetime, 'memory');
  const socket = join(dir, 'nbd.sock');
  const args = [MEMORY_SERVER, '--size', String(sizeBytes), '--socket', socket, '--port', '0'];
  const server = startProcess(lifetime, process.execPath, args, { env });
  const line = await server.until(
    'it tells where it listens',
    () => /^\[.*\]$/m.exec(server.stdout)?.[0],
    UP_TIMEOUT_MS,
  );
  const addresses = JSON.parse(line) as readonly { readonly port?: number }[];
  const port = addresses.find((address) => address.port !== undefined)?.port;
  return { unixUri: `nbd+unix:///?socket=${socket}`, tcpUri: `nbd://127.0.0.1:${port}/`, pid: server.pid };
}

export interface Nbdkit {
  readonly uri: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/** nbdkit on a unix socket, with a plugin: `memory` and a size, or `file` and a path. */
export async function startUnixNbdkit(lifetime: Lifetime, plugin: readonly string[]): Promise<Nbdkit> {
  const socket = join(await tempDir(lifetime, 'nbdkit'), 'nbd.sock');
  return launch(lifetime, `nbd+unix:///?socket=${socket}`, ['-U', socket], plugin);
}

/** The same over TCP: it serves on one address only. */
export async function startTcpNbdkit(lifetime: Lifetime, plugin: readonly string[]): Promise<Nbdkit> {
  const port = await freePort();
  return launch(lifetime, `nbd://127.0.0.1:${port}/`, ['-i', '127.0.0.1', '-p', String(port)], plugin);
}

async function launch(
  lifetime: Lifetime,
  uri: string,
  listen: readonly string[],
  plugin: readonly string[],
): Promise<Nbdkit> {
  const pidFile = join(await tempDir(lifetime, 'nbdkit'), 'pid');
  const server = startProcess(lifetime, toolPath('nbdkit'), ['-f', '-P', pidFile, ...listen, ...plugin]);
  await whenExists(pidFile, server);
  return { uri, pid: server.pid, stop: async () => void (await server.stop()) };
}

/** nbdkit writes its pid file once it accepts connections. */
async function whenExists(file: string, server: RunningProcess): Promise<void> {
  const deadline = performance.now() + UP_TIMEOUT_MS;
  while (!existsSync(file)) {
    if (!server.running) throw new Error(`${server.description} ended: ${server.stderr}`);
    if (performance.now() > deadline) throw new Error(`${server.description} is not up after ${UP_TIMEOUT_MS} ms`);
    await delay(20);
  }
}

/** A port nobody has at the moment, for a program that cannot tell which one the kernel gave it. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
