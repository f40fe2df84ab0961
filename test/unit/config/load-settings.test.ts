/** The configuration as a whole: layers, sources, secrets, and every error at once. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { loadSettings, type SettingsInput } from '../../../src/config/load-settings.ts';
import { ConfigError, type Problem } from '../../../src/config/problems.ts';

let dir = '';
before(() => {
  dir = mkdtempSync(join(tmpdir(), 'bucketdisk-config-'));
});
after(() => rmSync(dir, { recursive: true }));

function file(name: string, text: string): string {
  writeFileSync(join(dir, name), text);
  return name;
}

function load(input: Partial<SettingsInput> = {}) {
  return loadSettings({ files: [], env: {}, set: [], cwd: dir, ...input });
}

function problems(input: Partial<SettingsInput>): readonly Problem[] {
  try {
    load(input);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    assert.equal(error.code, 'INVALID');
    return error.problems;
  }
  assert.fail('the configuration was accepted');
}

/** The only problem of a configuration given by flags. */
function problem(...set: string[]): Problem {
  const [first, ...more] = problems({ set });
  assert.ok(first);
  assert.deepEqual(more, []);
  return first;
}

const media = 'volumes.media.size=1GiB';

describe('loadSettings', () => {
  it('serves the demo volume from a local directory when nothing is configured', () => {
    const { settings } = load();
    assert.equal(settings.store.url, `file://${dir}/data/bucket`);
    assert.equal(settings.cache.dir, join(dir, 'data/cache'));
    assert.deepEqual(Object.keys(settings.volumes), ['demo']);
    assert.equal(settings.volumes.demo?.sizeBytes, 2 ** 30);
    assert.equal(settings.volumes.demo?.default, true);
    assert.deepEqual(settings.nbd.listen, [{ host: '127.0.0.1', port: 10809 }]);
  });

  it('has schema defaults that are valid without any file', () => {
    const { settings } = load({ defaultsFile: null });
    assert.deepEqual(Object.keys(settings.volumes), []);
    assert.equal(settings.cache.dir, '/var/lib/bucketdisk');
    assert.equal(settings.store.acl, 'private');
  });

  it('puts files over defaults, the environment over files, and flags over all', () => {
    const files = [
      file(
        'one.json5',
        '{ log: { level: "error", format: "json" }, lease: { duration: "10s" }, nbd: { connectionsMax: 1 } }',
      ),
      file('two.json5', '{ log: { level: "warn" }, lease: { duration: "20s" } }'),
    ];
    const env = { BUCKETDISK_LEASE_DURATION: '40s', BUCKETDISK_NBD_CONNECTIONS_MAX: '2' };
    const { settings, entries } = load({ files, env, set: ['nbd.connectionsMax=3', 'nbd.connectionsMax=4'] });
    assert.equal(settings.log.format, 'json');
    assert.equal(settings.log.level, 'warn');
    assert.equal(settings.lease.durationMs, 40_000);
    assert.equal(settings.nbd.connectionsMax, 4);
    const sources = new Map(entries.map(({ path, source }) => [path, source]));
    assert.equal(sources.get('log.format'), 'one.json5:1');
    assert.equal(sources.get('log.level'), 'two.json5:1');
    assert.equal(sources.get('lease.duration'), 'BUCKETDISK_LEASE_DURATION');
    assert.equal(sources.get('nbd.connectionsMax'), '--set nbd.connectionsMax');
    assert.equal(sources.get('cache.dir'), 'config/default.json5:5');
    assert.equal(sources.get('nbd.socket'), 'default');
  });

  it('reads BUCKETDISK_CONFIG as a list, below the files of --config', () => {
    file('a.json5', '{ log: { level: "error" }, lease: { duration: "10s" }, shutdown: { drain: "1s" } }');
    file('b.json5', '{ log: { level: "warn" }, lease: { duration: "20s" } }');
    file('c.json5', '{ log: { level: "debug" } }');
    const { settings, files } = load({ env: { BUCKETDISK_CONFIG: 'a.json5:b.json5' }, files: ['c.json5'] });
    assert.deepEqual(files, ['a.json5', 'b.json5', 'c.json5']);
    assert.equal(settings.log.level, 'debug');
    assert.equal(settings.lease.durationMs, 20_000);
    assert.equal(settings.shutdown.drainMs, 1000);
  });

  it('takes an empty variable as not set, and null where a setting can be without a value', () => {
    const { settings } = load({ env: { BUCKETDISK_LOG_LEVEL: '', BUCKETDISK_STORE_ACL: 'null', OTHER: 'x' } });
    assert.equal(settings.log.level, 'info');
    assert.equal(settings.store.acl, null);
  });

  it('is frozen to the bottom', () => {
    const { settings } = load();
    for (const value of [
      settings,
      settings.store,
      settings.nbd.listen,
      settings.nbd.listen[0],
      settings.volumes,
      settings.volumes.demo,
    ]) {
      assert.ok(Object.isFrozen(value));
    }
  });

  it('finds no volume under the name of something every object has', () => {
    assert.equal(load().settings.volumes.constructor, undefined);
  });
});

describe('volumes', () => {
  it('leave the packaged demo out as soon as another is named, wherever that is', () => {
    const names = (input: Partial<SettingsInput>) => Object.keys(load(input).settings.volumes);
    assert.deepEqual(names({ set: [media] }), ['media']);
    assert.deepEqual(names({ files: [file('v.json5', '{ volumes: { media: {} } }')] }), ['media']);
    assert.deepEqual(names({ env: { BUCKETDISK_VOLUMES: '{ media: { size: "1GiB" } }' } }), ['media']);
    assert.deepEqual(names({ set: ['volumes={media:{size:"1GiB"}}'] }), ['media']);
    assert.deepEqual(names({ set: ['volumes.demo.readOnly=true'] }), ['demo']);
    assert.equal(load({ set: ['volumes.demo.readOnly=true'] }).settings.volumes.demo?.sizeBytes, 2 ** 30);
  });

  it('can be changed by variables of their own', () => {
    const env = { BUCKETDISK_VOLUMES_MY_DISK_BLOCK_SIZE: '64KiB', BUCKETDISK_VOLUMES_MY_DISK_READ_ONLY: 'true' };
    const volume = load({ set: ['volumes.my-disk.size=1GiB'], env }).settings.volumes['my-disk'];
    assert.equal(volume?.blockSizeBytes, 65_536);
    assert.equal(volume?.readOnly, true);
    const [foreign] = problems({ env: { BUCKETDISK_VOLUMES_OTHER_SIZE: '1GiB' } });
    assert.match(foreign?.message ?? '', /no configured volume \(demo\)/);
  });

  it('refuse a variable that two of them could mean', () => {
    const set = ['volumes.a.size=1GiB', 'volumes.a-block.size=1GiB'];
    const [ambiguous] = problems({ set, env: { BUCKETDISK_VOLUMES_A_BLOCK_SIZE: '4KiB' } });
    assert.match(ambiguous?.message ?? '', /volumes\.a\.blockSize or volumes\.a-block\.size/);
  });

  it('need a name that fits keys and exports', () => {
    for (const name of ['Media', '-a', 'a_b', 'x'.repeat(64)]) {
      assert.match(problem(`volumes.${name}.size=1GiB`).message, /not a volume name/);
    }
    assert.ok(load({ set: [`volumes.${'x'.repeat(63)}.size=1GiB`] }));
  });

  it('are encrypted with a cipher under its OpenSSL name, and compressed then', () => {
    const volume = (...set: string[]) => load({ set: [media, ...set] }).settings.volumes.media;
    assert.equal(volume()?.encryption, null);
    assert.equal(volume()?.compress, 'none');
    const encrypted = volume('volumes.media.encrypt=true', 'volumes.media.password=hunter22');
    assert.deepEqual(encrypted?.encryption, { cipher: 'AES-256-CBC', password: 'hunter22', keyLengthBytes: null });
    assert.equal(encrypted?.compress, 'deflate');
    const other = volume('volumes.media.encrypt=aes-128-cbc', 'volumes.media.password=x', 'volumes.media.keyLength=64');
    assert.deepEqual(other?.encryption, { cipher: 'AES-128-CBC', password: 'x', keyLengthBytes: 64 });
    assert.equal(volume('volumes.media.encrypt=false')?.encryption, null);
  });

  it('refuse an encryption that would not be what it says', () => {
    const encrypt = [media, 'volumes.media.encrypt=true', 'volumes.media.password=hunter22'];
    assert.equal(problem(...encrypt, 'volumes.media.compress=none').path, 'volumes.media.compress');
    assert.match(problem(...encrypt, 'volumes.media.keyLength=16').message, /32 to 64 bytes/);
    assert.equal(problem(media, 'volumes.media.encrypt=true').path, 'volumes.media.password');
    assert.equal(problem(media, 'volumes.media.password=x').path, 'volumes.media.password');
    for (const cipher of ['AES-256-CTR', 'AES-256-ECB', 'AES-256-GCM', 'chacha20', 'rot13']) {
      assert.match(problem(media, `volumes.media.encrypt=${cipher}`).message, /CBC/);
    }
  });

  it('have sizes that the format can hold', () => {
    const refuse = (...set: string[]) => problem(...set.map((setting) => `volumes.media.${setting}`)).message;
    assert.match(refuse('size=1500KiB'), /default block size 1MiB, such as "1MiB" or "2MiB"/);
    assert.match(refuse('size=10MiB', 'blockSize=4MiB'), /multiple of 4MiB, such as "8MiB" or "12MiB"/);
    assert.match(refuse('size=1GiB', 'blockSize=100KiB'), /power of two, such as 64KiB or 128KiB/);
    assert.match(refuse('size=1GiB', 'blockSize=2KiB'), /at least 4KiB/);
    assert.match(refuse('size=32TiB', 'blockSize=4KiB'), /too many blocks.*at least "16KiB"/);
    assert.match(refuse('size=0'), /at least 4KiB/);
    assert.match(refuse('size=1073741824'), /write "1GiB"/);
    assert.ok(load({ set: ['volumes.media.size=1500KiB', 'volumes.media.blockSize=4KiB'] }));
  });

  it('have levels that their compressor knows', () => {
    const level = (compress: string, value: number) => [
      media,
      `volumes.media.compress=${compress}`,
      `volumes.media.compressLevel=${value}`,
    ];
    assert.ok(load({ set: level('zstd', 19) }));
    assert.match(problem(...level('deflate', 19)).message, /at most 9 for deflate/);
    assert.match(problem(...level('none', 1)).message, /needs a compress/);
  });

  it('refuse two in one place and two defaults', () => {
    const two = ['volumes.a.size=1GiB', 'volumes.b.size=1GiB'];
    assert.equal(Object.values(load({ set: two }).settings.volumes).filter((volume) => volume.default).length, 0);
    const again = problem(...two, 'volumes.a.default=true', 'volumes.b.default=true');
    assert.deepEqual([again.path, again.source], ['volumes.b.default', '--set volumes.b.default']);
    const s3 = 'store.url=s3://bucket/x';
    assert.match(
      problem(...two, s3, 'volumes.b.url=s3://bucket/x/a/').message,
      /volume a has the same place, s3:\/\/bucket\/x\/a/,
    );
    assert.match(problem(...two, s3, 'volumes.b.keyPrefix=x/a/').message, /volume a has the same place/);
    assert.match(
      problem(...two, 'store.url=file:d', 'volumes.b.url=file:./d/a').message,
      /volume a has the same place/,
    );
    assert.ok(load({ set: [...two, s3, 'volumes.b.url=s3://other/x/a'] }));
  });
});

describe('secrets', () => {
  const keys = ['store.accessKeyId=AKIAEXAMPLE', 'store.secretAccessKey=s3cr3t-value'];

  it('come from files named in the environment or in a file, and later layers win whole', () => {
    file('key', 'from-a-file\n');
    file('other', 'from-another\r\n');
    const config = file('secret.json5', '{ store: { accessKeyId: "AKIAEXAMPLE", secretAccessKeyFile: "key" } }');
    const key = (input: Partial<SettingsInput>) =>
      load({ files: [config], ...input }).settings.store.credentials?.secretAccessKey;
    assert.equal(key({}), 'from-a-file');
    assert.equal(key({ env: { BUCKETDISK_STORE_SECRET_ACCESS_KEY: 'direct' } }), 'direct');
    assert.equal(key({ env: { BUCKETDISK_STORE_SECRET_ACCESS_KEY_FILE: 'other' } }), 'from-another');
    assert.equal(key({ set: ['store.secretAccessKeyFile=other'] }), 'from-another');
    const env = { BUCKETDISK_VOLUMES_MEDIA_PASSWORD_FILE: join(dir, 'key'), BUCKETDISK_VOLUMES_MEDIA_ENCRYPT: 'true' };
    assert.equal(load({ set: [media], env }).settings.volumes.media?.encryption?.password, 'from-a-file');
  });

  it('are refused where a layer gives them twice, or the file is no good', () => {
    const env = { BUCKETDISK_STORE_SESSION_TOKEN: 'a', BUCKETDISK_STORE_SESSION_TOKEN_FILE: 'key' };
    assert.match(problems({ set: keys, env })[0]?.message ?? '', /keep one of them/);
    file('empty', '\n');
    file('huge', 'x'.repeat(70_000));
    assert.match(problem(...keys, 'store.sessionTokenFile=missing').message, /no such file/);
    assert.match(problem(...keys, 'store.sessionTokenFile=empty').message, /not empty/);
    assert.match(problem(...keys, 'store.sessionTokenFile=huge').message, /more than 65536 bytes/);
    assert.match(problem(...keys, 'store.sessionTokenFile=.').message, /is a directory/);
  });

  it('are masked wherever they could be shown', () => {
    const loaded = load({ set: keys });
    assert.deepEqual(loaded.secrets, ['AKIAEXAMPLE', 's3cr3t-value']);
    assert.doesNotMatch(JSON.stringify(loaded.entries), /AKIA|s3cr3t/);
    const config = file(
      'wrong.json5',
      `{ store: { secretAccessKey: 8675309, sessionToken: ["s3cr3t"], secretKey: "s3cr3t" },
      volumes: { media: { pasword: "s3cr3t", url: "s3://me:a/@s3cr3t@bucket" } } }`,
    );
    const env = { BUCKETDISK_STORE_SECRET_KEY: 's3cr3t' };
    const found = problems({ files: [config], env });
    assert.equal(found.length, 6);
    assert.doesNotMatch(JSON.stringify(found), /s3cr3t|8675309/);
  });

  it('are asked for whole', () => {
    assert.equal(problem('store.accessKeyId=a').path, 'store.secretAccessKey');
    assert.equal(problem('store.secretAccessKey=a').path, 'store.accessKeyId');
    assert.equal(problem(...keys, 'store.profile=p').path, 'store.profile');
    assert.equal(problem(...keys, 'store.anonymous=true').path, 'store.anonymous');
  });
});

describe('errors', () => {
  it('are told all at once, each with its path, value, expectation and source', () => {
    const config = file(
      'bad.json5',
      '{\n  log: {\n    level: "loud",\n  },\n  fuss: { dir: "x" },\n  store: { regoin: 1, concurrency: 0 },\n}',
    );
    const found = problems({
      files: [config, 'missing.json5'],
      env: { BUCKETDISK_STOR_URL: 'x', BUCKETDISK_STORE_INSECURE: 'maybe' },
      set: ['cache.size=10', 'nonsense', 'schedule.flush=often', 'volumes.media.layout=log'],
    });
    const told = new Map(found.map((entry) => [entry.path, entry]));
    assert.deepEqual([...told.keys()].sort(), [
      '--set',
      'BUCKETDISK_STOR_URL',
      'cache.size',
      'fuss',
      'log.level',
      'missing.json5',
      'schedule.flush',
      'store.concurrency',
      'store.insecure',
      'store.regoin',
      'volumes.media.layout',
    ]);
    assert.deepEqual(told.get('log.level'), {
      path: 'log.level',
      value: '"loud"',
      message: 'expected one of error, warn, info, debug, not "loud"',
      source: 'bad.json5:3',
    });
    assert.match(told.get('store.regoin')?.message ?? '', /did you mean "region"/);
    assert.equal(told.get('store.regoin')?.source, 'bad.json5:6');
    assert.match(told.get('BUCKETDISK_STOR_URL')?.message ?? '', /did you mean "BUCKETDISK_STORE_URL"/);
    assert.equal(told.get('store.insecure')?.source, 'BUCKETDISK_STORE_INSECURE');
    assert.match(told.get('cache.size')?.message ?? '', /needs a unit/);
    assert.match(told.get('schedule.flush')?.message ?? '', /cron expression/);
    assert.match(told.get('missing.json5')?.message ?? '', /no such file/);
  });

  it('name the place in a file that is no JSON5, and settings given twice in one', () => {
    const [broken] = problems({ files: [file('broken.json5', '{\n  log: {\n    level = 3\n')] });
    assert.match(broken?.message ?? '', /not JSON5: .*3:11/);
    const [twice] = problems({
      files: [file('twice.json5', '{ log: { level: "info" },\n  "log": { level: "debug" } }')],
    });
    assert.deepEqual(
      [twice?.path, twice?.source, twice?.message],
      ['log', 'twice.json5:2', 'given twice in this file'],
    );
    const [list] = problems({ files: [file('list.json5', '[]')] });
    assert.match(list?.message ?? '', /expected an object/);
  });

  it('are told where a setting is that stands outside of its section', () => {
    assert.equal(problem('durability=s3').message, 'unknown setting (did you mean volumes.NAME.durability?)');
    assert.equal(problem('size=1GiB').message, 'unknown setting (did you mean volumes.NAME.size or cache.size?)');
    assert.equal(problem('nothing=1').message, 'unknown setting');
  });

  it('do not change what an object is', () => {
    const found = problems({
      files: [
        file('proto.json5', '{ __proto__: { a: 1 }, constructor: { prototype: { b: 1 } }, store: { toString: 1 } }'),
      ],
    });
    assert.deepEqual(
      found.map(({ message }) => message.slice(0, 15)),
      Array(3).fill('unknown setting'),
    );
    assert.equal(Object.hasOwn(Object.prototype, 'a') || Object.hasOwn(Object.prototype, 'b'), false);
  });

  it('are not made of what Kubernetes and Docker put into the environment', () => {
    assert.ok(
      load({
        env: {
          BUCKETDISK_SERVICE_HOST: '10.0.0.1',
          BUCKETDISK_SERVICE_PORT: '10809',
          BUCKETDISK_SERVICE_PORT_NBD: '10809',
          BUCKETDISK_PORT: 'tcp://10.0.0.1:10809',
          BUCKETDISK_PORT_10809_TCP_ADDR: '10.0.0.1',
          BUCKETDISK_NBD_PORT_10809_TCP: 'tcp://10.0.0.1:10809',
        },
      }),
    );
  });

  it('cover urls, addresses and socket paths', () => {
    for (const url of [
      'bucket',
      's3://',
      's3://a',
      's3://b_',
      's3://bucket//x',
      's3://bucket/../x',
      's3://bucket?x',
      'file:',
      'file://host/x',
      'http://x',
    ]) {
      assert.equal(problem(`store.url=${url}`).path, 'store.url', url);
    }
    for (const address of ['10809', ':10809', '127.0.0.1', 'a:70000', '::1:5', '[::1]']) {
      assert.match(problem(`nbd.listen=${address}`).message, /expected an address and a port/, address);
    }
    assert.deepEqual(load({ set: ['nbd.listen=[]'] }).settings.nbd.listen, []);
    assert.deepEqual(load({ set: ['nbd.listen=["localhost:1", "[::1]:2"]'] }).settings.nbd.listen, [
      { host: 'localhost', port: 1 },
      { host: '::1', port: 2 },
    ]);
    assert.match(problem('nbd.listen=["localhost:1"').message, /expected an address and a port/);
    assert.equal(load({ set: ['nbd.listen=[]', 'fuse.dir=disks'] }).settings.fuse.dir, join(dir, 'disks'));
    assert.equal(load().settings.fuse.dir, null);
    for (const fuseDir of ['data/cache', 'data', '/']) {
      assert.match(problem(`fuse.dir=${fuseDir}`).message, /would be hidden by it/, fuseDir);
    }
    assert.equal(load({ set: ['fuse.dir=data/cache-2'] }).settings.fuse.dir, join(dir, 'data/cache-2'));
    assert.match(problem(`nbd.socket=${'x'.repeat(120)}`).message, /too long for a unix socket/);
    assert.match(problem('store.endpoint=http://user:pw@host').message, /without credentials/);
    const { settings } = load({
      set: ['nbd.listen=[::1]:0, localhost:1', 'nbd.socket=run/s', 'store.endpoint=http://h:1/'],
    });
    assert.deepEqual(settings.nbd.listen, [
      { host: '::1', port: 0 },
      { host: 'localhost', port: 1 },
    ]);
    assert.equal(settings.nbd.socket, join(dir, 'run/s'));
    assert.equal(settings.store.endpoint, 'http://h:1');
  });
});
