/** Certificates and keys that change while disks are attached: new clients get the new ones, and broken ones change nothing. */
import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { copyFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { Option } from '../../../src/nbd/constants.ts';
import { CredentialFiles } from '../../../src/nbd/tls/credential-files.ts';
import { loadCredentials, type TlsFiles } from '../../../src/nbd/tls/credentials.ts';
import { TlsAcceptor } from '../../../src/nbd/tls/tls-acceptor.ts';
import { makeAuthority } from '../../support/certificates.ts';
import { tempDir } from '../../support/temp.ts';
import { requireTools } from '../../support/tools.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { LogBook } from '../../unit/volume/fixtures.ts';
import { MemoryDevice } from './memory-device.ts';
import { startServer } from './test-server.ts';
import { ALICE_KEY, BOB_KEY, NO_FILES, pskClient } from './tls-fixtures.ts';

const LOOK_MS = 5_000;
const ALICE = `alice:${ALICE_KEY.toString('hex')}\n`;
const BOB = `bob:${BOB_KEY.toString('hex')}\n`;

async function machine(t: TestContext, files: TlsFiles) {
  const clock = new VirtualClock();
  const log = new LogBook();
  const acceptor = new TlsAcceptor('none');
  const kept = new CredentialFiles({ files, acceptor, clock, log });
  const server = await startServer(t, new MemoryDevice(4096), {}, { acceptor, tls: 'required' });
  const stop = new AbortController();
  t.after(() => stop.abort());
  const attach = async (...args: Parameters<typeof pskClient>) => {
    const client = await server.connect();
    await client.greet();
    const secured = await client.startTls(pskClient(...args));
    await client.option(Option.LIST);
    return { client, secured };
  };
  /** Lets the watch look at the files, which real calls do, and waits until it sleeps again. */
  const look = async (): Promise<void> => {
    await clock.advance(LOOK_MS);
    while (clock.sleeping === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  };
  return { clock, log, acceptor, kept, stop, attach, look };
}

describe('a file of keys that changes', () => {
  async function watched(t: TestContext) {
    const pskFile = join(await tempDir(t, 'psk'), 'keys.psk');
    await writeFile(pskFile, ALICE);
    const m = await machine(t, { ...NO_FILES, pskFile });
    await m.kept.load();
    const watching = m.kept.watch(m.stop.signal);
    return { ...m, pskFile, watching };
  }

  test('is read once it has stayed the same from one look to the next', async (t) => {
    const m = await watched(t);
    await assert.rejects(m.attach('bob', BOB_KEY));
    await m.look();
    await m.look();
    assert.deepEqual(m.log.messages('info'), [], 'nothing has changed');
    await writeFile(m.pskFile, ALICE + BOB);
    await m.look();
    await assert.rejects(m.attach('bob', BOB_KEY));
    await m.look();
    await m.attach('bob', BOB_KEY);
    assert.deepEqual(m.log.messages('info'), ['the TLS files were read again']);
    await m.look();
    assert.deepEqual(m.log.messages('info').length, 1, 'once is enough');
  });

  test('is noticed whichever way it is replaced', async (t) => {
    const m = await watched(t);
    await writeFile(`${m.pskFile}.new`, BOB);
    await rename(`${m.pskFile}.new`, m.pskFile);
    await m.look();
    await m.look();
    await m.attach('bob', BOB_KEY);
    await assert.rejects(m.attach());
  });

  test('does not touch who is attached', async (t) => {
    const m = await watched(t);
    const { client } = await m.attach();
    await writeFile(m.pskFile, BOB);
    await m.kept.reload();
    assert.equal((await client.option(Option.LIST)).length, 2);
    await assert.rejects(m.attach());
  });

  test('into something broken keeps the old one in use, says so, and recovers', async (t) => {
    const m = await watched(t);
    for (const broken of ['', 'alice', `alice:${'zz'.repeat(32)}\n`, `${ALICE}${ALICE}`]) {
      await writeFile(m.pskFile, broken);
      await m.look();
      await m.look();
      await m.attach();
      assert.match(m.kept.failure ?? '', /keys\.psk/);
    }
    await rm(m.pskFile);
    await m.look();
    await m.look();
    await m.attach();
    assert.match(m.kept.failure ?? '', /no such file/);
    assert.deepEqual(
      new Set(m.log.messages('error')),
      new Set(['the TLS files cannot be used; new clients get what was read before']),
    );
    assert.equal(m.log.messages('error').length, 5);
    await writeFile(m.pskFile, BOB);
    await m.look();
    await m.look();
    await m.attach('bob', BOB_KEY);
    assert.equal(m.kept.failure, null);
  });

  test('is read at once where that is asked for, as often as it is', async (t) => {
    const m = await watched(t);
    await writeFile(m.pskFile, BOB);
    await Promise.all([m.kept.reload(), m.kept.reload(), m.kept.reload()]);
    await m.attach('bob', BOB_KEY);
    m.stop.abort();
    await m.watching;
    assert.equal(m.clock.sleeping, 0);
  });
});

describe('a certificate that changes', () => {
  test('is that of new connections, and its key must belong to it', async (t) => {
    if (!requireTools(t, ['openssl'])) return;
    const dir = await tempDir(t, 'renewed');
    const authority = await makeAuthority(t);
    const issue = (subject: string) => authority.issue({ subject, altNames: 'DNS:localhost', usage: 'serverAuth' });
    const [first, second] = [await issue('/CN=first'), await issue('/CN=second')];
    const files = { ...NO_FILES, certFile: join(dir, 'cert.pem'), keyFile: join(dir, 'key.pem') };
    await copyFile(first.certFile, files.certFile);
    await copyFile(first.keyFile, files.keyFile);
    const m = await machine(t, files);
    await m.kept.load();
    const subject = async (): Promise<string | undefined> => {
      const options = { ca: authority.cert, servername: 'localhost', pskCallback: undefined, ciphers: undefined };
      const { secured } = await m.attach('', undefined, options as never);
      return String(secured.getPeerCertificate().subject.CN);
    };
    assert.equal(await subject(), 'first');
    await copyFile(second.certFile, files.certFile);
    await m.kept.reload();
    assert.match(m.kept.failure ?? '', /cert\.pem and .*key\.pem do not go together/);
    assert.equal(await subject(), 'first');
    await copyFile(second.keyFile, files.keyFile);
    await m.kept.reload();
    assert.equal(m.kept.failure, null);
    assert.equal(await subject(), 'second');
  });

  test('is told of when it has expired, or soon will have', async (t) => {
    if (!requireTools(t, ['openssl'])) return;
    const authority = await makeAuthority(t);
    for (const [days, level, expected] of [
      [-1, 'error', /has expired/],
      [2, 'warn', /expires soon/],
      [100, 'warn', null],
    ] as const) {
      const { certFile, keyFile } = await authority.issue({ days, usage: 'serverAuth' });
      const log = new LogBook();
      const clock = new VirtualClock();
      const advance = Date.now() - clock.date().getTime();
      await clock.advance(Math.max(0, advance));
      const kept = new CredentialFiles({
        files: { ...NO_FILES, certFile, keyFile },
        acceptor: new TlsAcceptor('none'),
        clock,
        log,
      });
      await kept.load();
      if (expected === null) assert.deepEqual([...log.messages('warn'), ...log.messages('error')], []);
      else assert.match(log.messages(level).join(), expected);
    }
  });
});

describe('files that are no good', () => {
  test('are refused with their path, and nothing of a secret', async (t) => {
    if (!requireTools(t, ['openssl'])) return;
    const dir = await tempDir(t, 'bad');
    const { certFile, keyFile, cert } = await (await makeAuthority(t)).issue();
    const path = async (name: string, text: string): Promise<string> => {
      await writeFile(join(dir, name), text);
      return join(dir, name);
    };
    const garbage = await path('garbage.pem', 'x');
    const broken = await path('broken.pem', `${cert}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`);
    const large = await path('large.pem', 'x'.repeat(2 ** 20 + 1));
    const rows: [Partial<TlsFiles>, RegExp][] = [
      [{ certFile: join(dir, 'none.pem'), keyFile }, /cannot read .*none\.pem: no such file/],
      [{ certFile: dir, keyFile }, /cannot read .*: illegal operation on a directory/],
      [{ certFile: large, keyFile }, /cannot read .*large\.pem: it has more than/],
      [{ certFile: garbage, keyFile }, /garbage\.pem has no certificate/],
      [{ certFile: broken, keyFile }, /broken\.pem has a broken certificate/],
      [{ certFile, keyFile: garbage }, /garbage\.pem is no private key/],
      [{ certFile, keyFile: certFile }, /is no private key/],
      [{ certFile, keyFile, caFile: garbage }, /garbage\.pem has no certificate/],
      [{ pskFile: garbage }, /garbage\.pem, line 1/],
    ];
    for (const [files, expected] of rows) {
      await assert.rejects(loadCredentials({ ...NO_FILES, ...files }), { code: 'INVALID', message: expected });
    }
  });

  test('an encrypted key opens with its password only', async (t) => {
    if (!requireTools(t, ['openssl'])) return;
    const dir = await tempDir(t, 'encrypted');
    const { certFile, key } = await (await makeAuthority(t)).issue();
    const keyFile = join(dir, 'key.pem');
    const options = { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'swordfish' } as const;
    await writeFile(keyFile, createPrivateKey(key).export(options));
    const load = (keyPassword: string | null) => loadCredentials({ ...NO_FILES, certFile, keyFile, keyPassword });
    await assert.rejects(load(null), { message: /is encrypted: give its password \(nbd\.tls\.keyPassword\)/ });
    await assert.rejects(load('wrong'), { message: /does not open with nbd\.tls\.keyPassword/ });
    assert.equal((await load('swordfish')).certificate?.subject, 'CN=somebody');
  });
});
