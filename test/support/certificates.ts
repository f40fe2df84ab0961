/** Certificates for servers and clients of tests. All of it needs openssl. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Lifetime } from './cleanup.ts';
import { runCommand } from './run-command.ts';
import { tempDir } from './temp.ts';
import { toolPath } from './tools.ts';

export interface Certificate {
  /** PEM. */
  readonly key: string;
  readonly cert: string;
  /** Files that hold the same. */
  readonly keyFile: string;
  readonly certFile: string;
}

const EC_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

/** A new self-signed certificate for 127.0.0.1 and localhost, which is its own authority. */
export async function makeCertificate(lifetime: Lifetime): Promise<Certificate> {
  const dir = await tempDir(lifetime, 'tls');
  const names = ['-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
  return selfSigned(dir, '/CN=localhost', names);
}

export interface IssueOptions {
  /** In openssl's spelling, such as `/CN=nas/O=home`. */
  readonly subject?: string;
  /** In openssl's spelling, such as `DNS:nas.example.net,URI:spiffe://x`. */
  readonly altNames?: string;
  /** More lines of an openssl configuration, for what `altNames` cannot say. */
  readonly sections?: string;
  /** What it is for. */
  readonly usage?: 'clientAuth' | 'serverAuth';
  /** Days from now on; negative: it has expired. */
  readonly days?: number;
}

/** Issues certificates for whom a test asks. */
export interface Authority {
  readonly cert: string;
  readonly certFile: string;
  issue(options?: IssueOptions): Promise<Certificate>;
}

export async function makeAuthority(lifetime: Lifetime, name = 'test authority'): Promise<Authority> {
  const dir = await tempDir(lifetime, 'authority');
  const authority = await selfSigned(dir, `/CN=${name}`, ['-addext', 'keyUsage=critical,keyCertSign,cRLSign']);
  let issued = 0;
  return {
    cert: authority.cert,
    certFile: authority.certFile,
    async issue({ subject = '/CN=somebody', altNames, sections = '', usage = 'clientAuth', days = 2 } = {}) {
      const base = join(dir, `issued-${++issued}`);
      const [keyFile, certFile, request, extensions] = ['key', 'cert', 'csr', 'cnf'].map((part) => `${base}.${part}`);
      if (keyFile === undefined || certFile === undefined || request === undefined || extensions === undefined) {
        throw new Error('four files');
      }
      const names = altNames === undefined ? '' : `subjectAltName=${altNames}\n`;
      await writeFile(extensions, `basicConstraints=CA:FALSE\nextendedKeyUsage=${usage}\n${names}${sections}`);
      // Several attributes of one kind, and any character, as they stand.
      const subjectOptions = ['-utf8', '-multivalue-rdn', '-subj', subject];
      await openssl('req', '-new', ...EC_KEY, ...subjectOptions, '-keyout', keyFile, '-out', request);
      const signing = [
        '-CA',
        authority.certFile,
        '-CAkey',
        authority.keyFile,
        '-CAcreateserial',
        '-extfile',
        extensions,
      ];
      // Openssl counts days from now: an expired one is valid until yesterday.
      await openssl('x509', '-req', '-in', request, ...signing, '-days', String(days), '-out', certFile);
      return readCertificate(keyFile, certFile);
    },
  };
}

async function selfSigned(dir: string, subject: string, options: readonly string[]): Promise<Certificate> {
  const [keyFile, certFile] = [join(dir, 'key.pem'), join(dir, 'cert.pem')];
  const what = ['-x509', ...EC_KEY, '-days', '2', '-subj', subject, ...options];
  await openssl('req', ...what, '-keyout', keyFile, '-out', certFile);
  return readCertificate(keyFile, certFile);
}

async function readCertificate(keyFile: string, certFile: string): Promise<Certificate> {
  return { key: await readFile(keyFile, 'utf8'), cert: await readFile(certFile, 'utf8'), keyFile, certFile };
}

async function openssl(...args: string[]): Promise<void> {
  await runCommand(toolPath('openssl'), args);
}
