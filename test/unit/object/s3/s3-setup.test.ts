/** How an S3 store is set up: credentials, addresses, TLS, and what is on the wire for each setting. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it, type TestContext } from 'node:test';
import { StorageError } from '../../../../src/lib/errors.ts';
import { S3ObjectStore } from '../../../../src/object/s3/s3-object-store.ts';
import type { S3StoreOptions } from '../../../../src/object/s3/s3-options.ts';
import { s3OptionsFor } from '../../../conformance/object-store/s3-options.ts';
import { rejectsWith } from '../../../conformance/object-store/suite.ts';
import { status } from '../../../support/s3-server/faults.ts';
import { type S3Server, type S3ServerOptions, startS3Server } from '../../../support/s3-server/s3-server.ts';

/** What the SDK's default chain reads. */
const AWS_VARIABLES = [
  'AWS_ACCESS_KEY_ID',
  'AWS_SECRET_ACCESS_KEY',
  'AWS_SESSION_TOKEN',
  'AWS_PROFILE',
  'AWS_SHARED_CREDENTIALS_FILE',
  'AWS_CONFIG_FILE',
  'AWS_EC2_METADATA_DISABLED',
  'AWS_EC2_METADATA_SERVICE_ENDPOINT',
  'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI',
  'AWS_CONTAINER_CREDENTIALS_FULL_URI',
  'AWS_WEB_IDENTITY_TOKEN_FILE',
];

describe('the setup of S3ObjectStore', () => {
  let directory: string;
  const saved = new Map<string, string | undefined>();
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'bucketdisk-s3-setup-'));
    for (const name of AWS_VARIABLES) {
      saved.set(name, process.env[name]);
      delete process.env[name];
    }
    process.env.AWS_SHARED_CREDENTIALS_FILE = join(directory, 'credentials');
    process.env.AWS_CONFIG_FILE = join(directory, 'config');
    process.env.AWS_EC2_METADATA_DISABLED = 'true';
  });
  afterEach(async () => {
    for (const [name, value] of saved) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
    await rm(directory, { recursive: true });
  });

  async function start(t: TestContext, options: S3ServerOptions = {}): Promise<S3Server> {
    const server = await startS3Server({ buckets: ['disk'], ...options });
    t.after(() => server.close());
    return server;
  }

  function openOn(t: TestContext, server: S3Server, options: Partial<S3StoreOptions> = {}): S3ObjectStore {
    const { url: endpoint, region, accessKeyId, secretAccessKey } = server;
    const store = new S3ObjectStore(s3OptionsFor({ endpoint, region, accessKeyId, secretAccessKey }, 'disk', options));
    t.after(() => store.close());
    return store;
  }

  it('sends a put with its digest, signed, at once, and nothing a plain server does not know', async (t) => {
    const server = await start(t);
    const store = openOn(t, server);
    const body = Buffer.from('body');
    await store.put('key', body);
    const headers = server.requests.at(-1)?.headers ?? {};
    assert.equal(headers['content-md5'], createHash('md5').update(body).digest('base64'));
    assert.equal(headers['x-amz-content-sha256'], createHash('sha256').update(body).digest('hex'));
    assert.equal(headers['content-length'], '4');
    for (const name of [
      'expect',
      'transfer-encoding',
      'x-amz-sdk-checksum-algorithm',
      'x-amz-checksum-crc32',
      'x-amz-acl',
    ]) {
      assert.equal(headers[name], undefined, name);
    }
    await store.delete(['a', 'b']);
    const request = server.requests.at(-1);
    assert.ok(request?.headers['content-md5'] !== undefined);
    assert.equal(request?.headers['x-amz-checksum-crc32'], undefined);
  });

  it('asks once for each call', async (t) => {
    const server = await start(t);
    const store = openOn(t, server);
    server.faults.add(status(500));
    await assert.rejects(store.put('key', Buffer.from('x')));
    await assert.rejects(store.get('key'));
    assert.equal(server.requests.length, 2);
  });

  it('sends the ACL, the encryption and the storage class with every put', async (t) => {
    const server = await start(t);
    const acl = 'bucket-owner-full-control';
    await openOn(t, server, { acl, sse: 'AES256', storageClass: 'STANDARD_IA' }).put('a', Buffer.from('x'));
    await openOn(t, server, { sse: 'aws:kms', sseKmsKeyId: 'key-1' }).put('b', Buffer.from('x'));
    const [a, b] = server.requests.map((request) => request.headers);
    assert.equal(a?.['x-amz-acl'], acl);
    assert.equal(a?.['x-amz-server-side-encryption'], 'AES256');
    assert.equal(a?.['x-amz-storage-class'], 'STANDARD_IA');
    assert.equal(b?.['x-amz-server-side-encryption'], 'aws:kms');
    assert.equal(b?.['x-amz-server-side-encryption-aws-kms-key-id'], 'key-1');
  });

  it('keeps its connections, as many as it may have', async () => {
    let connections = 0;
    const server = createServer((_, response) => {
      response.setHeader('etag', '"e"');
      setImmediate(() => response.end());
    });
    server.on('connection', () => (connections += 1));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const address = { endpoint, region: 'us-east-1', accessKeyId: 'id', secretAccessKey: 'secret' };
    const store = new S3ObjectStore(s3OptionsFor(address, 'disk', { concurrency: 3 }));
    for (let i = 0; i < 5; i++) {
      await Promise.all(Array.from({ length: 6 }, (_, j) => store.put(`key${j}`, Buffer.from('x'))));
    }
    await store.close();
    assert.equal(connections, 3);
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  it('finds buckets by their host name where path style is off', async (t) => {
    const address = {
      endpoint: 'http://s3.invalid',
      region: 'us-east-1',
      accessKeyId: 'id',
      secretAccessKey: 'secret',
    };
    const store = new S3ObjectStore(s3OptionsFor(address, 'disk', { forcePathStyle: false }));
    t.after(() => store.close());
    // The name does not resolve; what was looked up is in the cause.
    await assert.rejects(store.get('key'), (error) => {
      assert.ok(rejectsWith('UNAVAILABLE')(error) && error instanceof StorageError);
      return (error.cause as { hostname?: string }).hostname === 'disk.s3.invalid';
    });
  });

  describe('credentials', () => {
    it('are taken from the settings, with a session token', async (t) => {
      const server = await start(t, { sessionToken: 'token' });
      const { accessKeyId, secretAccessKey } = server;
      const store = openOn(t, server, { credentials: { accessKeyId, secretAccessKey, sessionToken: 'token' } });
      assert.equal(await store.get('key'), null);
      await assert.rejects(openOn(t, server).get('key'), rejectsWith('ACCESS_DENIED'));
    });

    it('are taken from the environment', async (t) => {
      const server = await start(t);
      process.env.AWS_ACCESS_KEY_ID = server.accessKeyId;
      process.env.AWS_SECRET_ACCESS_KEY = server.secretAccessKey;
      assert.equal(await openOn(t, server, { credentials: null }).get('key'), null);
    });

    it('are taken from a named profile, before the environment', async (t) => {
      const server = await start(t);
      process.env.AWS_ACCESS_KEY_ID = 'wrong';
      process.env.AWS_SECRET_ACCESS_KEY = 'wrong';
      const profile = `[disks]\naws_access_key_id = ${server.accessKeyId}\naws_secret_access_key = ${server.secretAccessKey}\n`;
      await writeFile(join(directory, 'credentials'), profile);
      assert.equal(await openOn(t, server, { credentials: null, profile: 'disks' }).get('key'), null);
    });

    it('are taken from the metadata service of the instance', async (t) => {
      const server = await start(t, { sessionToken: 'from-imds' });
      const paths: string[] = [];
      const imds = createServer((request, response) => {
        paths.push(`${request.method} ${request.url}`);
        if (request.method === 'PUT') return response.end('imds-token');
        assert.equal(request.headers['x-aws-ec2-metadata-token'], 'imds-token', 'IMDSv2');
        if (request.url?.endsWith('/security-credentials/')) return response.end('role');
        return response.end(
          JSON.stringify({
            Code: 'Success',
            AccessKeyId: server.accessKeyId,
            SecretAccessKey: server.secretAccessKey,
            Token: 'from-imds',
            Expiration: new Date(Date.now() + 3600_000).toISOString(),
          }),
        );
      });
      await new Promise<void>((resolve) => imds.listen(0, '127.0.0.1', resolve));
      t.after(() => imds.close());
      delete process.env.AWS_EC2_METADATA_DISABLED;
      process.env.AWS_EC2_METADATA_SERVICE_ENDPOINT = `http://127.0.0.1:${(imds.address() as AddressInfo).port}`;
      const store = openOn(t, server, { credentials: null });
      assert.equal(await store.get('key'), null);
      const asked = paths.length;
      assert.ok(asked >= 2);
      assert.equal(await store.get('key'), null);
      assert.equal(paths.length, asked, 'they are kept');
      // A server that calls them expired has them asked for again.
      server.faults.add(status(400, { code: 'ExpiredToken' }), { times: 1 });
      await assert.rejects(
        store.get('key'),
        (error) => rejectsWith('ACCESS_DENIED')(error) && (error as StorageError).retryable,
      );
      assert.ok(paths.length > asked);
      assert.equal(await store.get('key'), null);
      imds.closeAllConnections();
    });

    it('are named as missing where there are none, with what to do', async (t) => {
      const store = openOn(t, await start(t), { credentials: null });
      await assert.rejects(store.get('key'), (error) => {
        assert.ok(rejectsWith('ACCESS_DENIED')(error) && error instanceof StorageError);
        assert.match(error.message, /no credentials were found .*AWS_ACCESS_KEY_ID.*store\.anonymous/);
        return !error.retryable;
      });
    });

    it('that expired and were given in the settings are not tried again', async (t) => {
      const server = await start(t);
      server.faults.add(status(400, { code: 'ExpiredToken' }));
      await assert.rejects(openOn(t, server).get('key'), (error) => {
        return rejectsWith('ACCESS_DENIED')(error) && !(error as StorageError).retryable;
      });
    });

    it('are not needed for a public bucket', async (t) => {
      const server = await start(t, { buckets: [] });
      server.createBucket('disk', 'public-read').put('key', 'body');
      const store = openOn(t, server, { credentials: null, anonymous: true });
      assert.equal((await store.get('key'))?.body.toString(), 'body');
      assert.equal(server.requests.at(-1)?.headers.authorization, undefined);
      await assert.rejects(store.put('key', Buffer.from('x')), rejectsWith('ACCESS_DENIED'));
    });
  });

  describe('TLS', () => {
    async function startTls(t: TestContext): Promise<{ server: S3Server; caFile: string }> {
      const [key, caFile] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
      const subject = ['-subj', '/CN=bucketdisk test', '-addext', 'subjectAltName=IP:127.0.0.1'];
      const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
      execFileSync(
        'openssl',
        ['req', '-x509', ...curve, '-nodes', '-keyout', key, '-out', caFile, '-days', '2', ...subject],
        {
          stdio: 'ignore',
        },
      );
      const tls = { key: await readFile(key, 'utf8'), cert: await readFile(caFile, 'utf8') };
      return { server: await start(t, { tls }), caFile };
    }

    it('trusts the authorities of a file, and does not hash the body twice', async (t) => {
      const { server, caFile } = await startTls(t);
      const store = openOn(t, server, { caFile });
      await store.put('key', Buffer.from('body'));
      const headers = server.requests.at(-1)?.headers ?? {};
      assert.equal(headers['x-amz-content-sha256'], 'UNSIGNED-PAYLOAD');
      assert.equal(headers['content-md5'], createHash('md5').update('body').digest('base64'));
      assert.equal((await store.get('key'))?.body.toString(), 'body');
      await store.delete(['key', 'other']);
      assert.equal(await store.head('key'), null);
    });

    it('refuses a file without a certificate, which TLS would pass over', async (t) => {
      const server = await start(t);
      const caFile = join(directory, 'not-a-certificate.pem');
      await writeFile(caFile, 'text\n');
      assert.throws(() => openOn(t, server, { caFile }), {
        code: 'INVALID',
        message: /store\.caFile.* no certificate/,
      });
    });

    it('refuses a certificate it does not know, and says what to do', async (t) => {
      const { server } = await startTls(t);
      await assert.rejects(openOn(t, server).get('key'), (error) => {
        assert.ok(rejectsWith('UNAVAILABLE')(error) && error instanceof StorageError);
        assert.match(error.message, /store\.caFile/);
        return !error.retryable;
      });
      assert.equal(await openOn(t, server, { insecure: true }).get('key'), null);
    });

    it('names an endpoint that does not speak it', async (t) => {
      const server = await start(t);
      const store = openOn(t, server, { endpoint: server.url.replace('http:', 'https:') });
      await assert.rejects(store.get('key'), (error) => {
        return rejectsWith('UNAVAILABLE')(error) && /does not speak TLS/.test((error as StorageError).message);
      });
    });

    it('names a file of authorities that cannot be read', () => {
      const address = { endpoint: 'https://127.0.0.1', region: 'r', accessKeyId: 'a', secretAccessKey: 's' };
      const options = s3OptionsFor(address, 'disk', { caFile: join(directory, 'missing.pem') });
      assert.throws(() => new S3ObjectStore(options), { code: 'INVALID', message: /missing\.pem/ });
    });
  });
});
