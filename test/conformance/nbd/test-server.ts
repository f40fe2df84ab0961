/** A server on a port of its own for one test, closed when the test ends. */
import type { TestContext } from 'node:test';
import { silentLog } from '../../../src/lib/log.ts';
import type { NbdExport } from '../../../src/nbd/exports.ts';
import type { NbdLimits } from '../../../src/nbd/limits.ts';
import type { ServerAddress } from '../../../src/nbd/listen.ts';
import { NbdServer } from '../../../src/nbd/server.ts';
import type { BlockDevice } from '../../../src/volume/block-device.ts';
import { tableOf } from './export-table.ts';
import { RawClient } from './raw-client.ts';

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
): Promise<TestServer> {
  const exports = 'geometry' in served ? [{ name: 'disk', description: 'a test disk', device: served }] : served;
  const server = new NbdServer({ exports: tableOf(...exports), log: silentLog, limits });
  const address = await server.listen({ host: '127.0.0.1', port: 0 });
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
