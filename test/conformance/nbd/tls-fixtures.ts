/** TLS for servers of tests, from files as the real one reads them; with pre-shared keys where no certificate is needed. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import { loadCredentials, type TlsFiles } from '../../../src/nbd/tls/credentials.ts';
import { TlsAcceptor, type VerifyClients } from '../../../src/nbd/tls/tls-acceptor.ts';
import type { Lifetime } from '../../support/cleanup.ts';
import { tempDir } from '../../support/temp.ts';

export const NO_FILES: TlsFiles = { certFile: null, keyFile: null, keyPassword: null, caFile: null, pskFile: null };
export const ALICE_KEY = Buffer.alloc(32, 'alice');
export const BOB_KEY = Buffer.alloc(32, 'bob');

export async function pskFile(lifetime: Lifetime): Promise<string> {
  const path = join(await tempDir(lifetime, 'psk'), 'keys.psk');
  await writeFile(path, `alice:${ALICE_KEY.toString('hex')}\nbob:${BOB_KEY.toString('hex')}\n`);
  return path;
}

export async function acceptorOf(
  files: Partial<TlsFiles>,
  verifyClients: VerifyClients = 'none',
): Promise<TlsAcceptor> {
  const acceptor = new TlsAcceptor(verifyClients);
  acceptor.use(await loadCredentials({ ...NO_FILES, ...files }));
  return acceptor;
}

export async function pskAcceptor(lifetime: Lifetime): Promise<TlsAcceptor> {
  return acceptorOf({ pskFile: await pskFile(lifetime) });
}

/** A client with a pre-shared key, which says its user's name and asks for nothing else. */
export function pskClient(
  identity = 'alice',
  psk: Buffer = ALICE_KEY,
  options: ConnectionOptions = {},
): ConnectionOptions {
  return {
    pskCallback: () => ({ identity, psk }),
    ciphers: 'TLS_AES_128_GCM_SHA256:ECDHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES256-GCM-SHA384:PSK-AES128-GCM-SHA256',
    checkServerIdentity: () => undefined,
    ...options,
  };
}
