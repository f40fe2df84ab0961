/** The settings of TLS and of who may open a volume: how they are written, and what does not fit together. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type LoadedSettings, loadSettings } from '../../../src/config/load-settings.ts';
import { ConfigError, type Problem } from '../../../src/config/problems.ts';
import type { AccessRule } from '../../../src/config/settings.ts';

const MEDIA = 'volumes.media.size=1GiB';
const CERTIFICATE = ['nbd.tls.mode=on', 'nbd.tls.certFile=c.pem', 'nbd.tls.keyFile=/k.pem'];
const CLIENTS = [...CERTIFICATE, 'nbd.tls.caFile=ca.pem', 'nbd.tls.verifyClients=require', 'nbd.tls.pskFile=keys.psk'];

function load(set: readonly string[], env: Record<string, string> = {}): LoadedSettings {
  return loadSettings({ defaultsFile: null, files: [], env, set: [MEDIA, ...set], cwd: '/etc/disks' });
}

function problems(...set: string[]): readonly Problem[] {
  try {
    load(set);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  assert.fail('the configuration was accepted');
}

function problem(...set: string[]): string {
  const [first, ...more] = problems(...set);
  assert.ok(first);
  assert.deepEqual(more, []);
  return `${first.path}: ${first.message}`;
}

function accessOf(spelled: string): readonly AccessRule[] | null | undefined {
  return load([...CLIENTS, `volumes.media.access=${spelled}`]).settings.volumes.media?.access;
}

describe('nbd.tls', () => {
  it('is off, and asks for nothing, unless told otherwise', () => {
    const { tls } = load([]).settings.nbd;
    assert.deepEqual(tls, {
      mode: 'off',
      socketMode: 'off',
      certFile: null,
      keyFile: null,
      keyPassword: null,
      caFile: null,
      verifyClients: 'none',
      pskFile: null,
    });
  });

  it('has paths that are taken from the current directory, and a mode of its own for the socket', () => {
    const { tls } = load([...CLIENTS, 'nbd.tls.mode=required', 'nbd.tls.socketMode=off']).settings.nbd;
    assert.deepEqual(tls, {
      mode: 'required',
      socketMode: 'off',
      certFile: '/etc/disks/c.pem',
      keyFile: '/k.pem',
      keyPassword: null,
      caFile: '/etc/disks/ca.pem',
      verifyClients: 'require',
      pskFile: '/etc/disks/keys.psk',
    });
    assert.equal(load(CERTIFICATE).settings.nbd.tls.socketMode, 'on');
  });

  it('is set by variables too, and keeps its password to itself', () => {
    const env = {
      BUCKETDISK_NBD_TLS_MODE: 'required',
      BUCKETDISK_NBD_TLS_CERT_FILE: '/c',
      BUCKETDISK_NBD_TLS_KEY_FILE: '/k',
      BUCKETDISK_NBD_TLS_KEY_PASSWORD: 'swordfish',
    };
    const { settings, entries, secrets } = load([], env);
    assert.equal(settings.nbd.tls.keyPassword, 'swordfish');
    assert.deepEqual(secrets, ['swordfish']);
    assert.equal(entries.find(({ path }) => path === 'nbd.tls.keyPassword')?.value, '***');
  });

  it('needs what belongs together', () => {
    assert.match(problem('nbd.tls.mode=on'), /^nbd\.tls\.mode: TLS needs a certificate .* or pre-shared keys/);
    assert.match(problem('nbd.tls.socketMode=required'), /^nbd\.tls\.mode: TLS needs a certificate/);
    assert.match(problem('nbd.tls.mode=always'), /expected one of off, on, required/);
    assert.match(problem('nbd.tls.certFile=c'), /^nbd\.tls\.keyFile: missing/);
    assert.match(problem('nbd.tls.keyFile=k'), /^nbd\.tls\.certFile: missing/);
    assert.match(problem('nbd.tls.keyPassword=p'), /^nbd\.tls\.keyPassword: needs nbd\.tls\.keyFile/);
    assert.match(problem(...CERTIFICATE, 'nbd.tls.verifyClients=require'), /^nbd\.tls\.caFile: missing/);
    assert.match(problem(...CERTIFICATE, 'nbd.tls.caFile=ca'), /^nbd\.tls\.verifyClients: .*expected "optional"/);
    const psk = ['nbd.tls.mode=on', 'nbd.tls.pskFile=k', 'nbd.tls.caFile=ca', 'nbd.tls.verifyClients=optional'];
    assert.match(problem(...psk), /^nbd\.tls\.verifyClients: .*give nbd\.tls\.certFile/);
  });
});

describe('the access list of a volume', () => {
  it('is written in one line, or as objects', () => {
    const rules = [
      { client: 'cn:nas', readOnly: false },
      { client: 'dns:viewer.example.net', readOnly: true },
      { client: 'psk:alice', readOnly: false },
      { client: 'socket', readOnly: false },
      { client: 'anyone', readOnly: true },
    ];
    assert.deepEqual(accessOf('cn:nas, dns:Viewer.Example.NET(ro), psk:alice, socket, anyone (ro)'), rules);
    assert.deepEqual(
      accessOf('["cn:nas", { client: "dns:viewer.example.net", readOnly: true }, "psk:alice", "socket", "anyone(ro)"]'),
      rules,
    );
    assert.deepEqual(accessOf('[{ client: "cn:a, b(ro)" }]'), [{ client: 'cn:a, b(ro)', readOnly: false }]);
    assert.deepEqual(accessOf('uri:spiffe://home/nas'), [{ client: 'uri:spiffe://home/nas', readOnly: false }]);
    assert.equal(accessOf('null'), null);
    const env = { BUCKETDISK_VOLUMES_MEDIA_ACCESS: 'psk:alice(ro),socket' };
    assert.equal(load(CLIENTS, env).settings.volumes.media?.access?.length, 2);
  });

  it('names clients of a kind, and each of them once', () => {
    for (const wrong of ['nas', 'CN:nas', 'cn:', 'cn', 'user:alice', 'anyone:x', '(ro)', 'psk:a,,psk:b']) {
      assert.match(problem(...CLIENTS, `volumes.media.access=${wrong}`), /access: expected a client such as/, wrong);
    }
    for (const wrong of [
      '[7]',
      '[null]',
      '[{}]',
      '[{ client: "cn:x", ro: true }]',
      '[{ client: "cn:x", readOnly: 1 }]',
    ]) {
      assert.match(problem(...CLIENTS, `volumes.media.access=${wrong}`), /access: expected/, wrong);
    }
    assert.match(problem(...CLIENTS, 'volumes.media.access=[oops'), /expected a list such as/);
    assert.match(problem(...CLIENTS, 'volumes.media.access=cn:a,cn:a(ro)'), /"cn:a" comes after "cn:a"/);
    assert.match(problem(...CLIENTS, 'volumes.media.access=anyone(ro),cn:a'), /"cn:a" comes after "anyone"/);
    assert.match(problem(...CLIENTS, 'volumes.media.access=[]'), /nobody could open the volume/);
  });

  it('names only clients that can show who they are', () => {
    assert.match(
      problem('volumes.media.access=psk:alice'),
      /"psk:alice" cannot show who it is: nbd\.tls\.mode is "off"/,
    );
    assert.match(problem(...CERTIFICATE, 'volumes.media.access=psk:alice'), /has no key: give nbd\.tls\.pskFile/);
    assert.match(problem(...CERTIFICATE, 'volumes.media.access=cn:nas'), /is not asked for its certificate/);
    assert.ok(load(['volumes.media.access=socket,anyone(ro)']));
    assert.ok(load([...CERTIFICATE, 'nbd.tls.pskFile=k', 'volumes.media.access=psk:alice']));
  });
});
