/** The settings of TLS, with the checks that need more than one value. */
import { resolve } from 'node:path';
import { ANYONE, kindOf } from './access-rules.ts';
import type { SpelledRoot } from './schema.ts';
import type { TlsSettings, VolumeSettings } from './settings.ts';
import type { Report } from './to-settings.ts';

export function tlsSettings(spelled: SpelledRoot['nbd']['tls'], cwd: string, report: Report): TlsSettings {
  const { mode, certFile, keyFile, keyPassword, caFile, verifyClients, pskFile } = spelled;
  const socketMode = spelled.socketMode ?? mode;
  const used = mode !== 'off' || socketMode !== 'off';
  if (used && certFile === null && pskFile === null) {
    report(
      'nbd.tls.mode',
      'TLS needs a certificate (nbd.tls.certFile and keyFile) or pre-shared keys (nbd.tls.pskFile)',
    );
  }
  if (certFile !== null && keyFile === null) report('nbd.tls.keyFile', 'missing: it belongs to nbd.tls.certFile');
  if (keyFile !== null && certFile === null) report('nbd.tls.certFile', 'missing: it belongs to nbd.tls.keyFile');
  if (keyPassword !== null && keyFile === null) report('nbd.tls.keyPassword', 'needs nbd.tls.keyFile');
  if (verifyClients !== 'none' && caFile === null) {
    report('nbd.tls.caFile', `missing: nbd.tls.verifyClients "${verifyClients}" needs to know whom to believe`);
  }
  if (verifyClients !== 'none' && certFile === null) {
    report('nbd.tls.verifyClients', 'clients show a certificate only to a server that has one: give nbd.tls.certFile');
  }
  if (verifyClients === 'none' && caFile !== null) {
    report(
      'nbd.tls.verifyClients',
      'nbd.tls.caFile is for the certificates of clients: expected "optional" or "require"',
    );
  }
  const path = (file: string | null): string | null => (file === null ? null : resolve(cwd, file));
  return {
    mode,
    socketMode,
    certFile: path(certFile),
    keyFile: path(keyFile),
    keyPassword,
    caFile: path(caFile),
    verifyClients,
    pskFile: path(pskFile),
  };
}

/** An access list is only as good as what clients can show. Paths that are reported are whole: `volumes.media.access`. */
export function checkAccess(tls: TlsSettings, volumes: readonly VolumeSettings[], report: Report): void {
  const used = tls.mode !== 'off' || tls.socketMode !== 'off';
  for (const { name, access } of volumes) {
    const path = `volumes.${name}.access`;
    for (const rule of access ?? []) {
      const kind = kindOf(rule);
      if (kind === null) continue;
      if (!used) report(path, `"${rule.client}" cannot show who it is: nbd.tls.mode is "off"`);
      else if (kind === 'psk' && tls.pskFile === null) {
        report(path, `"${rule.client}" has no key: give nbd.tls.pskFile`);
      } else if (kind !== 'psk' && tls.verifyClients === 'none') {
        report(path, `"${rule.client}" is not asked for its certificate: set nbd.tls.verifyClients and caFile`);
      }
    }
    if (access?.length === 0)
      report(path, `nobody could open the volume: expected at least one entry, such as "${ANYONE}"`);
  }
}
