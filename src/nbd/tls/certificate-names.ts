/** What a client's certificate says it is, in the spelling of access lists. The caller has verified the certificate. */
import type { X509Certificate } from 'node:crypto';

/** The kinds of subjectAltName that are taken over, by OpenSSL's names for them. */
const KIND_OF_ALT_NAME: Readonly<Record<string, string>> = {
  DNS: 'dns',
  email: 'email',
  URI: 'uri',
  'IP Address': 'ip',
};

/**
 * `cn:NAME` where the subject has exactly one, then `dns:`, `email:`, `uri:` and `ip:` of the subjectAltName, in order. Each
 * kind has its own prefix, so that what is written in one field of a certificate never counts as another. DNS names are
 * in lower case.
 */
export function certificateNames(certificate: X509Certificate): string[] {
  const names: string[] = [];
  const commonName: unknown = certificate.toLegacyObject().subject?.CN;
  // Of several nobody could say which one the authority meant to vouch for.
  if (typeof commonName === 'string' && commonName !== '') names.push(`cn:${commonName}`);
  for (const [kind, value] of altNames(certificate.subjectAltName ?? '')) {
    const prefix = Object.hasOwn(KIND_OF_ALT_NAME, kind) ? KIND_OF_ALT_NAME[kind] : undefined;
    if (prefix === undefined || value === '') continue;
    names.push(`${prefix}:${prefix === 'dns' ? value.toLowerCase() : value}`);
  }
  return names;
}

/**
 * Takes Node's text of a subjectAltName apart: `DNS:a.example, IP Address:10.0.0.1`. A value with a comma, a quote or a character
 * that does not print is a JSON string there, so that none can look like two.
 */
function* altNames(text: string): Iterable<[kind: string, value: string]> {
  const entry = /([^:,"]+):("(?:[^"\\]|\\.)*"|[^,"]*)(?:, |$)/y;
  for (let at = 0; at < text.length; at = entry.lastIndex) {
    entry.lastIndex = at;
    const [, kind, value] = entry.exec(text) ?? [];
    // A text of another shape is not guessed at.
    if (kind === undefined || value === undefined) return;
    yield [kind, value.startsWith('"') ? String(JSON.parse(value)) : value];
  }
}
