/** Certificates for servers that tests reach over TLS. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Lifetime } from './cleanup.ts';
import { runCommand } from './run-command.ts';
import { tempDir } from './temp.ts';
import { toolPath } from './tools.ts';

export interface Certificate {
  /** PEM. */
  readonly key: string;
  readonly cert: string;
  /** Files that hold the same; the certificate is its own authority. */
  readonly keyFile: string;
  readonly certFile: string;
}

/** A new self-signed certificate for 127.0.0.1 and localhost. Needs openssl. */
export async function makeCertificate(lifetime: Lifetime): Promise<Certificate> {
  const dir = await tempDir(lifetime, 'tls');
  const keyFile = join(dir, 'key.pem');
  const certFile = join(dir, 'cert.pem');
  await runCommand(toolPath('openssl'), [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'],
    ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'],
    ...['-keyout', keyFile, '-out', certFile],
  ]);
  return { key: await readFile(keyFile, 'utf8'), cert: await readFile(certFile, 'utf8'), keyFile, certFile };
}
