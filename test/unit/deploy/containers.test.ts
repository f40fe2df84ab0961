/** docker-compose.yml and the Dockerfiles as they are written: what holds of every service, whatever the daemon makes of it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { parse } from 'yaml';

interface Service {
  readonly build: string;
  readonly restart?: string;
  readonly read_only?: boolean;
  readonly privileged?: boolean;
  readonly user?: string;
  readonly cap_drop?: readonly string[];
  readonly cap_add?: readonly string[];
  readonly security_opt?: readonly string[];
  readonly devices?: readonly string[];
  readonly stop_grace_period?: string;
  readonly healthcheck?: unknown;
  readonly profiles?: readonly string[];
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
}

const read = (path: string): string => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');
const { services } = parse(read('docker-compose.yml'), { merge: true }) as { services: Record<string, Service> };
const MOUNTING = ['bucketdisk', 's3'];

describe('docker-compose.yml', () => {
  test('brings up the drive and its web server, and everything else under a profile', () => {
    const profiles = Object.entries(services).map(([name, { profiles = [] }]) => [name, ...profiles]);
    assert.deepEqual(profiles, [['bucketdisk'], ['web'], ['s3', 's3'], ['nbd', 'nbd'], ['nas', 'nas']]);
  });

  for (const [name, service] of Object.entries(services)) {
    test(`${name} comes back, has time to end, tells its health, and has no more rights than it needs`, () => {
      assert.equal(service.restart, 'unless-stopped');
      assert.equal(service.read_only, true);
      assert.deepEqual(service.cap_drop, ['ALL']);
      assert.equal(service.privileged, undefined);
      assert.ok(service.security_opt?.includes('no-new-privileges:true'));
      // Of the appliance: shutdown.drain, the time to give back a lease, and for a filesystem to write.
      const grace = service.build === '.' ? '60s' : '10s';
      assert.equal(service.stop_grace_period, grace);
      const dockerfile = read(`${service.build}/Dockerfile`);
      assert.ok(service.healthcheck !== undefined || /^HEALTHCHECK /m.test(dockerfile));
      for (const port of service.ports ?? []) assert.match(port, /^(127\.0\.0\.1:|\$\{NAS_LISTEN:-127\.0\.0\.1:)/);
      const rights = { bucketdisk: ['SYS_ADMIN'], s3: ['SYS_ADMIN'], nas: ['SETUID', 'SETGID', 'CHOWN'] };
      assert.deepEqual(service.cap_add, rights[name as keyof typeof rights]);
      for (const [variable, value] of Object.entries(service.environment ?? {})) {
        if (/KEY|PASSWORD|TOKEN/.test(variable)) assert.match(`${variable}=${value}`, /_FILE=\/run\/secrets\//);
      }
    });
  }

  test('has the drives mounted by root with FUSE and loop devices, for others to see', () => {
    for (const name of MOUNTING) {
      const service = services[name];
      assert.equal(service?.user, '0:0');
      assert.deepEqual(service?.devices, ['/dev/fuse', '/dev/loop-control']);
      assert.ok(service?.volumes?.includes(`\${DRIVE_DIR:-./data/drive}:/drive:rshared`));
      assert.equal(service?.environment?.BUCKETDISK_NBD_LISTEN, '[]', 'a mounted disk is nobody else’s');
    }
    assert.ok(services.web?.volumes?.includes(`\${DRIVE_DIR:-./data/drive}:/drive:ro,rslave`));
    assert.ok(services.nas?.volumes?.includes(`\${DRIVE_DIR:-./data/drive}:/drive:rslave`));
  });

  test('has who uses the drive wait until it is mounted', () => {
    for (const name of ['web', 'nas']) {
      assert.deepEqual(services[name]?.depends_on, { bucketdisk: { condition: 'service_healthy' } });
    }
  });
});

describe('the Dockerfile', () => {
  const dockerfile = read('Dockerfile').replaceAll('\\\n', ' ');
  const last = dockerfile.slice(dockerfile.lastIndexOf('\nFROM '));
  /** What the last stage says by that word, once. */
  const said = (word: string): string => {
    const lines = [...last.matchAll(new RegExp(`^${word} +(.*)$`, 'gm'))].map(([, rest = '']) => rest);
    assert.equal(lines.length, 1, word);
    return lines[0] ?? '';
  };

  test('ends in a stage that runs as a user of its own, under tini, and tells its health', () => {
    assert.equal(said('USER'), '10809:10809');
    assert.deepEqual(JSON.parse(said('ENTRYPOINT')), ['/usr/bin/tini', '--', 'bucketdisk']);
    assert.deepEqual(JSON.parse(said('CMD')), ['serve']);
    assert.match(said('HEALTHCHECK'), /--start-period=\S+ .*CMD \["bucketdisk", "health"\]$/);
    assert.deepEqual(JSON.parse(said('VOLUME')), ['/cache', '/bucket']);
    assert.match(last, /^COPY --from=build \/usr\/local\/bin\/node /m);
    assert.doesNotMatch(last, /\bnpm (ci|run|install)\b/);
  });

  test('has the labels of the OCI that say what it is and what it was made from', () => {
    const labels = [...said('LABEL').matchAll(/org\.opencontainers\.image\.([a-z.]+)="([^"]+)"/g)];
    const names = labels.map(([, name]) => name);
    assert.deepEqual(names, ['title', 'description', 'licenses', 'base.name', 'version', 'revision', 'created']);
    const { license } = JSON.parse(read('package.json')) as { license: string };
    assert.equal(labels.find(([, name]) => name === 'licenses')?.[2], license);
    for (const argument of ['VERSION', 'REVISION', 'CREATED']) assert.match(last, new RegExp(`^ARG ${argument}=`, 'm'));
  });
});
