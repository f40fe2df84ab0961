/** Who is at the other end of a TLS connection: what counts as shown, and what does not. */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import type { ConnectionOptions } from 'node:tls';
import { Command, NbdErrno, Option, OptionReply } from '../../../src/nbd/constants.ts';
import type { VerifyClients } from '../../../src/nbd/tls/tls-acceptor.ts';
import { type Authority, type Certificate, makeAuthority } from '../../support/certificates.ts';
import { requireTools } from '../../support/tools.ts';
import { LogBook } from '../../unit/volume/fixtures.ts';
import { MemoryDevice } from './memory-device.ts';
import type { RawClient } from './raw-client.ts';
import { startServer, type TestServer } from './test-server.ts';
import { ALICE_KEY, acceptorOf, BOB_KEY, pskClient, pskFile } from './tls-fixtures.ts';

interface Setting {
  readonly authority: Authority;
  readonly server: TestServer;
  readonly log: LogBook;
  /** Handshakes, and resolves with who the server takes the client for; rejects where it is refused. */
  identify(options: ConnectionOptions): Promise<{ tls: string | null; names: readonly string[] }>;
  /** The newest reason for which the server closed a connection. */
  reason(): string;
}

async function setting(
  t: TestContext,
  verifyClients: VerifyClients,
  { psk = false, certificate = true } = {},
): Promise<Setting> {
  const authority = await makeAuthority(t);
  const own = await authority.issue({ subject: '/CN=server', altNames: 'DNS:localhost', usage: 'serverAuth' });
  const acceptor = await acceptorOf(
    {
      ...(certificate ? { certFile: own.certFile, keyFile: own.keyFile } : {}),
      ...(verifyClients === 'none' ? {} : { caFile: authority.certFile }),
      ...(psk ? { pskFile: await pskFile(t) } : {}),
    },
    verifyClients,
  );
  const log = new LogBook();
  const server = await startServer(t, new MemoryDevice(4096), {}, { acceptor, tls: 'required', log });
  const identify: Setting['identify'] = async (options) => {
    const client: RawClient = await server.connect();
    await client.greet();
    await client.startTls(options);
    assert.equal((await client.option(Option.LIST)).at(-1)?.type, OptionReply.ACK);
    const identity = server.server.connections().at(-1)?.client;
    client.close();
    while (server.server.connections().length > 0) await new Promise((resolve) => setTimeout(resolve, 1));
    return identity ?? assert.fail('there is no connection');
  };
  const reason = (): string => String(log.lines.findLast(({ fields }) => 'reason' in fields)?.fields.reason ?? '');
  return { authority, server, log, identify, reason };
}

function certificateClient(
  { authority }: Setting,
  shown?: Certificate,
  more: ConnectionOptions = {},
): ConnectionOptions {
  const own = shown === undefined ? {} : { key: shown.key, cert: shown.cert };
  return { ca: authority.cert, servername: 'localhost', ...own, ...more };
}

describe('certificates of clients', () => {
  test('are not asked for where nobody is to be verified', async (t) => {
    if (!requireTools(t, ['openssl'])) return;
    const s = await setting(t, 'none');
    assert.deepEqual(await s.identify(certificateClient(s)), { tls: 'TLSv1.3', names: [] });
    const shown = await s.authority.issue({ subject: '/CN=nas' });
    assert.deepEqual((await s.identify(certificateClient(s, shown))).names, []);
  });

  test('tell who they are', async (t) => {
    if (!requireTools(t, ['openssl'])) return;
    const s = await setting(t, 'require');
    const altNames = 'DNS:NAS.Example.NET,IP:10.0.0.1,URI:spiffe://home/nas,email:me@example.net,RID:1.2.3.4';
    const shown = await s.authority.issue({ subject: '/O=home/CN=nas', altNames });
    const names = ['cn:nas', 'dns:nas.example.net', 'ip:10.0.0.1', 'uri:spiffe://home/nas', 'email:me@example.net'];
    assert.deepEqual(await s.identify(certificateClient(s, shown)), { tls: 'TLSv1.3', names });
    const old = certificateClient(s, shown, { maxVersion: 'TLSv1.2' });
    assert.deepEqual(await s.identify(old), { tls: 'TLSv1.2', names });
  });

  test('are needed where they are required', async (t) => {
    if (!requireTools(t, ['openssl'])) return;
    const s = await setting(t, 'require');
    for (const more of [{}, { maxVersion: 'TLSv1.2' as const }]) {
      await assert.rejects(s.identify(certificateClient(s, undefined, more)));
      assert.match(s.reason(), /shown no certificate/);
    }
  });

  test('that are optional need not be shown, but if they are they must be good', async (t) => {
    if (!requireTools(t, ['openssl'])) return;
    const s = await setting(t, 'optional');
    assert.deepEqual((await s.identify(certificateClient(s))).names, []);
    assert.deepEqual((await s.identify(certificateClient(s, await s.authority.issue()))).names, ['cn:somebody']);
    const stranger = await (await makeAuthority(t, 'another authority')).issue();
    await assert.rejects(s.identify(certificateClient(s, stranger)));
    assert.match(s.reason(), /certificate was refused/);
  });

  test('that are not good are refused, and the log says why', async (t) => {
    if (!requireTools(t, ['openssl'])) return;
    const s = await setting(t, 'require');
    const namesake = await makeAuthority(t);
    const rows: [string, Certificate, RegExp][] = [
      [
        'of another authority',
        await (await makeAuthority(t, 'other')).issue(),
        /UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER/,
      ],
      ['of another authority of the same name', await namesake.issue(), /SIGNATURE|UNABLE_TO/],
      ['of a server', await s.authority.issue({ usage: 'serverAuth' }), /INVALID_PURPOSE/],
      ['expired', await s.authority.issue({ days: -1 }), /CERT_HAS_EXPIRED/],
    ];
    for (const [name, shown, expected] of rows) {
      for (const more of [{}, { maxVersion: 'TLSv1.2' as const }]) {
        await assert.rejects(s.identify(certificateClient(s, shown, more)), name);
        assert.match(s.reason(), expected, name);
      }
    }
    assert.deepEqual((await s.identify(certificateClient(s, await s.authority.issue()))).names, ['cn:somebody']);
  });

  test('that the server presents itself with do not make a client', async (t) => {
    if (!requireTools(t, ['openssl'])) return;
    const s = await setting(t, 'require');
    const own = await s.authority.issue({ subject: '/CN=server', usage: 'serverAuth' });
    await assert.rejects(s.identify(certificateClient(s, own)));
  });

  test('cannot be made to read as other names than they have', async (t) => {
    if (!requireTools(t, ['openssl'])) return;
    const s = await setting(t, 'require');
    const nameOf = async (options: Parameters<Authority['issue']>[0]): Promise<readonly string[]> =>
      (await s.identify(certificateClient(s, await s.authority.issue(options)))).names;
    // One name with a comma in it, and not two names.
    const comma = {
      subject: '/O=x',
      altNames: '@names',
      sections: '[names]\nDNS.1 = "a.example, DNS:admin.example"\n',
    };
    assert.deepEqual(await nameOf(comma), ['dns:a.example, dns:admin.example']);
    const uri = { subject: '/O=x', altNames: '@names', sections: '[names]\nURI.1 = "x:y, IP Address:10.0.0.1"\n' };
    assert.deepEqual(await nameOf(uri), ['uri:x:y, IP Address:10.0.0.1']);
    const quote = { subject: '/O=x', altNames: '@names', sections: '[names]\nemail.1 = "a\\"b@x"\nDNS.2=b.example\n' };
    assert.deepEqual(await nameOf(quote), ['email:a"b@x', 'dns:b.example']);
    // A name of one kind does not count as one of another.
    assert.deepEqual(await nameOf({ subject: '/CN=psk:alice' }), ['cn:psk:alice']);
    assert.deepEqual(await nameOf({ subject: '/CN=x\nCN=admin' }), ['cn:x\nCN=admin']);
    assert.deepEqual(await nameOf({ subject: '/CN=anyone' }), ['cn:anyone']);
    // Of several common names none counts.
    assert.deepEqual(await nameOf({ subject: '/CN=user/CN=admin' }), []);
    assert.deepEqual(await nameOf({ subject: '/CN=user+CN=admin' }), []);
    assert.deepEqual(await nameOf({ subject: '/O=nobody' }), []);
  });
});

describe('pre-shared keys', () => {
  const old: ConnectionOptions = { maxVersion: 'TLSv1.2' };

  test('tell who has them, in TLS 1.3 and 1.2', async (t) => {
    if (!requireTools(t, ['openssl'])) return;
    const s = await setting(t, 'none', { psk: true, certificate: false });
    assert.deepEqual(await s.identify(pskClient()), { tls: 'TLSv1.3', names: ['psk:alice'] });
    assert.deepEqual((await s.identify(pskClient('bob', BOB_KEY))).names, ['psk:bob']);
    for (const ciphers of ['ECDHE-PSK-CHACHA20-POLY1305', 'DHE-PSK-AES256-GCM-SHA384']) {
      assert.deepEqual(await s.identify(pskClient('bob', BOB_KEY, { ...old, ciphers })), {
        tls: 'TLSv1.2',
        names: ['psk:bob'],
      });
    }
  });

  test('that are wrong, and users that are not known, fail in the same way', async (t) => {
    if (!requireTools(t, ['openssl'])) return;
    for (const certificate of [false, true]) {
      const s = await setting(t, 'none', { psk: true, certificate });
      for (const version of [{}, old]) {
        const failures: string[] = [];
        for (const [user, key] of [
          ['alice', BOB_KEY],
          ['carol', ALICE_KEY],
          ['ALICE', ALICE_KEY],
        ] as const) {
          // biome-ignore format: pairs
          await assert.rejects(s.identify(pskClient(user, key, version)), (error: NodeJS.ErrnoException) => {
            failures.push(String(error.code));
            return true;
          });
          assert.match(s.reason(), user === 'alice' ? /of the user "alice" failed/ : /of the unknown user "/);
        }
        assert.equal(new Set(failures).size, 1, failures.join());
        await assert.rejects(s.identify(pskClient('', ALICE_KEY, version)));
      }
    }
  });

  test('that were named are nobody where the handshake was completed by certificate', async (t) => {
    if (!requireTools(t, ['openssl'])) return;
    const s = await setting(t, 'none', { psk: true });
    // A hash that keys are not for: the server passes the key over.
    const other = pskClient('alice', Buffer.alloc(32, 'wrong'), {
      ciphers: 'TLS_AES_256_GCM_SHA384',
      ca: s.authority.cert,
    });
    const completed = { tls: 'TLSv1.3', names: [] };
    assert.deepEqual(await s.identify(other), completed);
    assert.deepEqual(
      await s.identify({ ...other, pskCallback: () => ({ identity: 'alice', psk: ALICE_KEY }) }),
      completed,
    );
  });

  test('serve instead of a certificate where one is required', async (t) => {
    if (!requireTools(t, ['openssl'])) return;
    const s = await setting(t, 'require', { psk: true });
    for (const version of [{}, old]) {
      assert.deepEqual((await s.identify(pskClient('alice', ALICE_KEY, version))).names, ['psk:alice']);
    }
    const shown = await s.authority.issue({ subject: '/CN=nas' });
    assert.deepEqual((await s.identify(certificateClient(s, shown))).names, ['cn:nas']);
    await assert.rejects(s.identify(certificateClient(s)));
  });

  test('are not kept waiting by a server that also has a certificate', async (t) => {
    if (!requireTools(t, ['openssl'])) return;
    const s = await setting(t, 'optional', { psk: true });
    const wide = 'TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256';
    assert.deepEqual((await s.identify(pskClient('alice', ALICE_KEY, { ciphers: wide }))).names, ['psk:alice']);
  });
});

describe('what TLS is not used with', () => {
  test('old versions, and ciphers that do not keep the past a secret', async (t) => {
    if (!requireTools(t, ['openssl'])) return;
    const s = await setting(t, 'none', { psk: true });
    const weak = { minVersion: 'TLSv1' as const, maxVersion: 'TLSv1.1' as const, ciphers: 'DEFAULT@SECLEVEL=0' };
    await assert.rejects(s.identify(certificateClient(s, undefined, weak)));
    const plain = { maxVersion: 'TLSv1.2' as const, ciphers: 'PSK-AES128-GCM-SHA256' };
    await assert.rejects(s.identify(pskClient('alice', ALICE_KEY, plain)));
    const rsa = { maxVersion: 'TLSv1.2' as const, ciphers: 'AES128-GCM-SHA256' };
    await assert.rejects(s.identify(certificateClient(s, undefined, rsa)));
  });

  test('sessions that are resumed: every connection shows anew who it is', async (t) => {
    if (!requireTools(t, ['openssl'])) return;
    const s = await setting(t, 'require');
    const shown = await s.authority.issue({ subject: '/CN=nas' });
    for (const more of [{}, { maxVersion: 'TLSv1.2' as const }]) {
      const client = await s.server.connect();
      await client.greet();
      const secured = await client.startTls(certificateClient(s, shown, more));
      let ticket: Buffer | undefined;
      secured.on('session', (session) => {
        ticket = session;
      });
      await client.option(Option.LIST);
      const session = ticket ?? secured.getSession();
      client.close();
      if (session === undefined) continue;
      // With the session, and without the certificate.
      await assert.rejects(s.identify(certificateClient(s, undefined, { ...more, session })));
    }
  });

  test('renegotiation: a client that asks for it is left as it is', async (t) => {
    if (!requireTools(t, ['openssl'])) return;
    const s = await setting(t, 'none');
    const client = await s.server.connect();
    await client.greet();
    const secured = await client.startTls(certificateClient(s, undefined, { maxVersion: 'TLSv1.2' }));
    const refused = new Promise((resolve) => secured.renegotiate({}, resolve));
    const closed = client.untilClosed().then(() => 'closed');
    assert.ok((await Promise.race([refused, closed])) !== null);
  });
});

test('a client that may only read sees an export that cannot be written', async (t) => {
  const device = new MemoryDevice(4096);
  const server = await startServer(t, [{ name: 'disk', description: '', device, readOnly: true }]);
  const client = await server.attach({ name: 'disk' });
  for (const request of [
    { type: Command.WRITE, payload: Buffer.alloc(512) },
    { type: Command.WRITE_ZEROES, length: 512 },
    { type: Command.TRIM, length: 512 },
  ]) {
    assert.equal((await client.request(request)).errno, NbdErrno.EPERM);
  }
  for (const request of [
    { type: Command.READ, length: 512 },
    { type: Command.FLUSH },
    { type: Command.CACHE, length: 512 },
  ]) {
    // biome-ignore format: one line
    assert.equal((await client.request(request)).errno, NbdErrno.NONE);
  }
  assert.deepEqual(device.calls, ['read 0 512', 'flush', 'prefetch 0 512']);
  assert.equal(server.server.connections()[0]?.readOnly, true);
});
