/** A server on a port of its own for one test, closed when the test ends. */
import type { TestContext } from 'node:test';
import { type Log, silentLog } from '../../../src/lib/log.ts';
import type { NbdExport } from '../../../src/nbd/exports.ts';
import type { NbdLimits } from '../../../src/nbd/limits.ts';
import type { ServerAddress } from '../../../src/nbd/listen.ts';
import { NbdServer } from '../../../src/nbd/server.ts';
import type { TlsAcceptor } from '../../../src/nbd/tls/tls-acceptor.ts';
import type { BlockDevice } from '../../../src/volume/block-device.ts';
import { tableOf } from './export-table.ts';
import { RawClient } from './raw-client.ts';

export interface TestServerOptions {
  readonly tls?: 'off' | 'offered' | 'required';
  readonly acceptor?: TlsAcceptor;
  readonly log?: Log;
}

export interface TestServer {
  readonly server: NbdServer;
  readonly address: ServerAddress;
  /** A client in the transmission phase. */
  attach(options?: Parameters<typeof RawClient.attach>[1]): Promise<RawClient>;
  /** A client that has only connected. */
  connect(): Promise<RawClient>;
}

export async function startServer(
  t: TestContext,
  served: BlockDevice | readonly NbdExport[],
  limits: Partial<NbdLimits> = {},
  { tls, acceptor, log = silentLog }: TestServerOptions = {},
): Promise<TestServer> {
  const exports = 'geometry' in served ? [{ name: 'disk', description: 'a test disk', device: served }] : served;
  const table = tableOf(...exports);
  const server = new NbdServer({ exports: table, log, limits, ...(acceptor === undefined ? {} : { tls: acceptor }) });
  const address = await server.listen({ host: '127.0.0.1', port: 0, ...(tls === undefined ? {} : { tls }) });
  const clients: RawClient[] = [];
  t.after(async () => {
    for (const client of clients) client.close();
    await server.close({ deadlineMs: 0 });
  });
  const keep = (client: RawClient): RawClient => {
    clients.push(client);
    return client;
  };
  return {
    server,
    address,
    attach: async (options) => keep(await RawClient.attach(address, options)),
    connect: async () => keep(await RawClient.connect(address)),
  };
}
