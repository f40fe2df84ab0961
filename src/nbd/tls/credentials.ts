/** What the server shows and what it believes in a TLS handshake, read from files and checked before it is used. */
import { constants, createPrivateKey, X509Certificate } from 'node:crypto';
import { open } from 'node:fs/promises';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { StorageError } from '../../lib/errors.ts';
import { systemReason } from '../../lib/system-reason.ts';
import { type PskKeys, parsePskFile } from './psk-file.ts';

/** Paths of PEM files, and of one in psktool's format; null: not used. */
export interface TlsFiles {
  /** The server's certificate, followed by those between it and its authority. */
  readonly certFile: string | null;
  readonly keyFile: string | null;
  /** Of an encrypted key. */
  readonly keyPassword: string | null;
  /** The authorities that certificates of clients are to come from. */
  readonly caFile: string | null;
  readonly pskFile: string | null;
}

export interface TlsCredentials {
  readonly context: SecureContextOptions;
  /** Null: no client may use a pre-shared key. */
  readonly pskKeys: PskKeys | null;
  /** The server's own certificate, for people. */
  readonly certificate: { readonly subject: string; readonly validTo: Date } | null;
}

const FILE_BYTES_MAX = 1024 * 1024;

/**
 * With a cipher that hashes by SHA-256 first, as pre-shared keys of TLS 1.3 are for that hash: were another one chosen, the key
 * would be passed over, and the certificate used instead.
 */
const TLS13_CIPHERS = ['TLS_AES_128_GCM_SHA256', 'TLS_CHACHA20_POLY1305_SHA256', 'TLS_AES_256_GCM_SHA384'];
/** Of TLS 1.2 only those that keep what was sent a secret when a key gets out later. */
const CERTIFICATE_CIPHERS = [
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
];
const PSK_CIPHERS = [
  'ECDHE-PSK-CHACHA20-POLY1305',
  'DHE-PSK-AES128-GCM-SHA256',
  'DHE-PSK-AES256-GCM-SHA384',
  'DHE-PSK-CHACHA20-POLY1305',
];

/** Rejects with INVALID where a file cannot be read, is not what it should be, or does not go with another. */
export async function loadCredentials(files: TlsFiles): Promise<TlsCredentials> {
  const { certFile, keyFile, keyPassword, caFile, pskFile } = files;
  const [cert, key, ca, psk] = await Promise.all([certFile, keyFile, caFile, pskFile].map(readText));
  if (certFile !== null) checkCertificates(cert ?? '', certFile);
  if (caFile !== null) checkCertificates(ca ?? '', caFile);
  if (keyFile !== null) checkKey(key ?? '', keyFile, keyPassword);
  const pskKeys = pskFile === null ? null : parsePskFile(psk ?? '', pskFile);
  const context: SecureContextOptions = {
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(keyPassword === null ? {} : { passphrase: keyPassword }),
    // Without authorities of its own OpenSSL would believe those of the whole web.
    ca: ca ?? [],
    ciphers: [
      ...TLS13_CIPHERS,
      ...(certFile === null ? [] : CERTIFICATE_CIPHERS),
      ...(pskFile === null ? [] : PSK_CIPHERS),
    ].join(':'),
    dhparam: 'auto',
    honorCipherOrder: true,
    minVersion: 'TLSv1.2',
    // A disk stays attached for days: there is nothing to be won by resuming a session, and a ticket would be one more secret.
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
  };
  try {
    createSecureContext(context);
  } catch (cause) {
    const message = `${certFile} and ${keyFile} do not go together: ${openSslReason(cause)}`;
    throw new StorageError('INVALID', message, { cause });
  }
  return { context, pskKeys, certificate: cert === undefined ? null : describeCertificate(cert) };
}

async function readText(path: string | null): Promise<string | undefined> {
  if (path === null) return undefined;
  try {
    const file = await open(path);
    try {
      const buffer = Buffer.alloc(FILE_BYTES_MAX + 1);
      let length = 0;
      for (;;) {
        const { bytesRead } = await file.read(buffer, length, buffer.length - length, null);
        length += bytesRead;
        if (length > FILE_BYTES_MAX) throw new Error(`it has more than ${FILE_BYTES_MAX} bytes`);
        if (bytesRead === 0) return buffer.toString('utf8', 0, length);
      }
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new StorageError('INVALID', `cannot read ${path}: ${systemReason(cause)}`, { cause });
  }
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

/** Every one of them: OpenSSL passes over in silence what it does not understand after the first. */
function checkCertificates(pem: string, path: string): void {
  const blocks = pem.match(PEM_CERTIFICATE) ?? [];
  if (blocks.length === 0) throw new StorageError('INVALID', `${path} has no certificate in PEM format`);
  for (const block of blocks) {
    try {
      new X509Certificate(block);
    } catch (cause) {
      throw new StorageError('INVALID', `${path} has a broken certificate: ${openSslReason(cause)}`, { cause });
    }
  }
}

function checkKey(pem: string, path: string, password: string | null): void {
  try {
    createPrivateKey({ key: pem, ...(password === null ? {} : { passphrase: password }) });
  } catch (cause) {
    throw new StorageError('INVALID', `${path} ${keyFault(pem, password)}`, { cause });
  }
}

function keyFault(pem: string, password: string | null): string {
  if (!/^(?:Proc-Type: .*|-----BEGIN )ENCRYPTED/m.test(pem)) return 'is no private key in PEM format';
  return password === null
    ? 'is encrypted: give its password (nbd.tls.keyPassword)'
    : 'does not open with nbd.tls.keyPassword';
}

function describeCertificate(pem: string): TlsCredentials['certificate'] {
  const certificate = new X509Certificate(pem);
  return { subject: certificate.subject.replaceAll('\n', ', '), validTo: new Date(certificate.validTo) };
}

function openSslReason(error: unknown): string {
  const { reason } = error as { reason?: unknown };
  return typeof reason === 'string' ? reason : systemReason(error);
}
