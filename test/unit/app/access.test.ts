/** Who may open which volume, through the whole appliance: on TCP, on the unix socket, with and without a key. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { Appliance, runAppliance } from '../../../src/appliance.ts';
import { loadSettings } from '../../../src/config/load-settings.ts';
import { SystemClock } from '../../../src/lib/clock.ts';
import { StateDir } from '../../../src/lib/state-dir.ts';
import { Command, NbdErrno, Option, OptionReply } from '../../../src/nbd/constants.ts';
import type { ServerAddress } from '../../../src/nbd/listen.ts';
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import { Stores } from '../../../src/stores.ts';
import type { Logger } from '../../../src/telemetry/logger.ts';
import { infoData, RawClient } from '../../conformance/nbd/raw-client.ts';
import { ALICE_KEY, BOB_KEY, pskClient } from '../../conformance/nbd/tls-fixtures.ts';
import { tempDir } from '../../support/temp.ts';
import { LogBook } from '../volume/fixtures.ts';

const KEYS = { alice: ALICE_KEY, bob: BOB_KEY };

class BannerBook extends LogBook implements Logger {
  readonly style = 'json';

  announce(_text: string, message: string, fields: Readonly<Record<string, unknown>>): void {
    this.info(message, fields);
  }

  tap(): void {}

  async close(): Promise<void> {}
}

/** An appliance that serves, with keys for Alice and Bob. */
async function serving(t: TestContext, set: readonly string[]) {
  const dir = await tempDir(t, 'access');
  const pskFile = join(dir, 'keys.psk');
  const users = (names: readonly (keyof typeof KEYS)[]): string =>
    names.map((name) => `${name}:${KEYS[name].toString('hex')}\n`).join('');
  await writeFile(pskFile, users(['alice', 'bob']));
  const { settings } = loadSettings({
    defaultsFile: null,
    files: [],
    env: {},
    cwd: dir,
    set: [
      'store.url=memory:',
      `cache.dir=${dir}`,
      'nbd.socket=nbd.sock',
      'nbd.listen=127.0.0.1:0',
      `nbd.tls.pskFile=${pskFile}`,
      'nbd.tls.mode=on',
      ...['media', 'private', 'public'].map((name) => `volumes.${name}.size=1MiB`),
      'volumes.media.access=psk:alice,psk:bob(ro)',
      'volumes.private.access=psk:alice,socket(ro)',
      'volumes.public.access=anyone',
      'volumes.media.default=true',
      ...set,
    ],
  });
  const log = new BannerBook();
  const clock = new SystemClock();
  const stateDir = new StateDir(dir);
  const bucket = new MemoryObjectStore();
  const stores = new Stores({ settings, clock, log, open: async () => bucket });
  const claimant = { instance: 'first', host: 'here', pid: 7 };
  const appliance = new Appliance({ settings, stores, stateDir, claimant, clock, log, version: '0.0.0' });
  const [stop, ready] = [new AbortController(), Promise.withResolvers<() => void>()];
  const options = { takeOver: [], stop: stop.signal, onReload: ready.resolve };
  const run = runAppliance(appliance, options, new AbortController().signal);
  run.catch(ready.reject);
  const clients: RawClient[] = [];
  t.after(async () => {
    for (const client of clients) client.close();
    stop.abort();
    await run.catch(() => {});
    stateDir.close();
  });
  const hangUp = await ready.promise;
  const port = Number(/:(\d+)$/.exec(appliance.status().nbd[0] ?? '')?.[1]);
  const addresses = { tcp: { host: '127.0.0.1', port }, socket: { path: join(dir, 'nbd.sock') } } as const;
  const connect = async (address: ServerAddress, user?: keyof typeof KEYS): Promise<RawClient> => {
    const client = await RawClient.connect(address);
    clients.push(client);
    await client.greet();
    if (user !== undefined) await client.startTls(pskClient(user, KEYS[user]));
    return client;
  };
  return {
    appliance,
    log,
    hangUp,
    connect,
    ...addresses,
    writeUsers: (...names: Parameters<typeof users>[0]) => writeFile(pskFile, users(names)),
  };
}

async function listed(client: RawClient): Promise<string[]> {
  const answers = await client.option(Option.LIST);
  assert.equal(answers.at(-1)?.type, OptionReply.ACK);
  return answers.slice(0, -1).map(({ data }) => data.toString('utf8', 4, 4 + data.readUInt32BE(0)));
}

async function opens(client: RawClient, name: string): Promise<number | undefined> {
  return (await client.option(Option.GO, infoData(name))).at(-1)?.type;
}

describe('volumes', () => {
  test('are listed for those who may open them', async (t) => {
    const { connect, tcp, socket } = await serving(t, []);
    assert.deepEqual(await listed(await connect(tcp)), ['public']);
    assert.deepEqual(await listed(await connect(socket)), ['private', 'public']);
    assert.deepEqual(await listed(await connect(tcp, 'alice')), ['media', 'private', 'public']);
    assert.deepEqual(await listed(await connect(tcp, 'bob')), ['media', 'public']);
    assert.deepEqual(await listed(await connect(socket, 'bob')), ['media', 'private', 'public']);
  });

  test('are not there for others, also not as the default one, and say nothing of why', async (t) => {
    const { connect, tcp } = await serving(t, []);
    const client = await connect(tcp);
    for (const option of [Option.INFO, Option.GO]) {
      const [absent] = await client.option(option, infoData('nosuch'));
      for (const name of ['media', 'private', '']) {
        const [hidden] = await client.option(option, infoData(name));
        assert.deepEqual(hidden, absent, name);
      }
      assert.equal(absent?.type, OptionReply.ERR_UNKNOWN);
    }
    assert.equal(await opens(client, 'public'), OptionReply.ACK);
  });

  test('can be written, or only read, as the list says', async (t) => {
    const { connect, tcp, socket, appliance } = await serving(t, []);
    const write = { type: Command.WRITE, payload: Buffer.alloc(512, 7) };
    const [alice, bob, local] = [await connect(tcp, 'alice'), await connect(tcp, 'bob'), await connect(socket)];
    assert.deepEqual([await opens(alice, ''), await opens(bob, 'media'), await opens(local, 'private')], [1, 1, 1]);
    assert.equal((await alice.request(write)).errno, NbdErrno.NONE);
    assert.equal((await bob.request(write)).errno, NbdErrno.EPERM);
    assert.equal((await local.request(write)).errno, NbdErrno.EPERM);
    assert.equal((await bob.request({ type: Command.READ, length: 512 })).data[0], 7);
    const shown = appliance.status().connections.map(({ client, tls, volume, readOnly, state, requests }) => {
      return { client, tls, volume, readOnly, state, requests };
    });
    const common = { state: 'attached', tls: 'TLSv1.3' };
    assert.deepEqual(shown, [
      { ...common, client: ['psk:alice'], volume: 'media', readOnly: false, requests: 1 },
      { ...common, client: ['psk:bob'], volume: 'media', readOnly: true, requests: 2 },
      { ...common, tls: null, client: ['socket'], volume: 'private', readOnly: true, requests: 1 },
    ]);
  });
});

describe('TLS', () => {
  test('that is required on TCP may be spared on the socket', async (t) => {
    const { connect, tcp, socket } = await serving(t, ['nbd.tls.mode=required', 'nbd.tls.socketMode=on']);
    assert.equal(await opens(await connect(tcp), 'public'), OptionReply.ERR_TLS_REQD);
    assert.equal(await opens(await connect(tcp, 'bob'), 'public'), OptionReply.ACK);
    assert.equal(await opens(await connect(socket), 'public'), OptionReply.ACK);
  });

  test('goes by what its file says when it is told to read it again', async (t) => {
    const { appliance, connect, tcp, hangUp, log, writeUsers } = await serving(t, []);
    const bob = await connect(tcp, 'bob');
    await opens(bob, 'media');
    await writeUsers('alice');
    hangUp();
    while (!log.messages('info').includes('the TLS files were read again')) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal(appliance.status().tls?.pskUsers, 1);
    await assert.rejects(connect(tcp, 'bob'));
    assert.equal((await bob.request({ type: Command.READ, length: 512 })).errno, NbdErrno.NONE, 'he stays attached');
    await writeUsers();
    hangUp();
    while (log.messages('error').length === 0) await new Promise((resolve) => setImmediate(resolve));
    assert.match(appliance.status().tls?.error ?? '', /has no user in it/);
    assert.equal(await opens(await connect(tcp, 'alice'), 'media'), OptionReply.ACK);
  });

  test('with files that are no good does not begin to serve', async (t) => {
    await assert.rejects(serving(t, ['nbd.tls.pskFile=/nonexistent/keys']), {
      code: 'INVALID',
      message: /cannot read \/nonexistent\/keys: no such file/,
    });
  });
});
