/** The AWS SDK, as it comes and as bucketdisk sets it, takes this server for S3. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListObjectsCommand,
  PutObjectCommand,
  paginateListObjectsV2,
  S3Client,
  type S3ClientConfig,
} from '@aws-sdk/client-s3';
import { startS3Server } from '../../../support/s3-server/s3-server.ts';

const server = await startS3Server();
after(() => server.close());

const required: S3ClientConfig = {
  requestChecksumCalculation: 'WHEN_REQUIRED',
  responseChecksumValidation: 'WHEN_REQUIRED',
};

for (const [name, Bucket, config] of [
  ['as it comes', 'as-it-comes', {}],
  ['with checksums where required', 'where-required', required],
] as const) {
  describe(name, () => {
    const { accessKeyId, secretAccessKey, region } = server;
    const client = new S3Client({
      endpoint: server.url,
      region,
      forcePathStyle: true,
      credentials: { accessKeyId, secretAccessKey },
      maxAttempts: 1,
      ...config,
    });
    after(() => client.destroy());

    test('a bucket', async () => {
      await assert.rejects(client.send(new HeadBucketCommand({ Bucket })), { name: 'NotFound' });
      await client.send(new CreateBucketCommand({ Bucket }));
      await client.send(new HeadBucketCommand({ Bucket }));
    });

    test('an object with an awkward key, there and back', async () => {
      const Key = "a b/c+d&é😀'!()*~%20//x";
      const Body = Buffer.from('hello world');
      const Metadata = { 's3backer-hmac': '"0123"' };
      const put = await client.send(new PutObjectCommand({ Bucket, Key, Body, Metadata, ContentEncoding: 'deflate' }));
      const got = await client.send(new GetObjectCommand({ Bucket, Key }));
      assert.equal(await got.Body?.transformToString(), 'hello world');
      assert.deepEqual(got.Metadata, Metadata);
      assert.equal(got.ContentEncoding, 'deflate');
      assert.equal(got.ETag, put.ETag);
      const part = await client.send(new GetObjectCommand({ Bucket, Key, Range: 'bytes=-5' }));
      assert.equal(await part.Body?.transformToString(), 'world');
      assert.equal((await client.send(new HeadObjectCommand({ Bucket, Key }))).ContentLength, 11);
      await client.send(new DeleteObjectCommand({ Bucket, Key }));
      await assert.rejects(client.send(new GetObjectCommand({ Bucket, Key })), { name: 'NoSuchKey' });
    });

    test('conditions', async () => {
      const Key = 'conditional';
      const first = await client.send(new PutObjectCommand({ Bucket, Key, Body: '1', IfNoneMatch: '*' }));
      const lost = { name: 'PreconditionFailed' };
      await assert.rejects(client.send(new PutObjectCommand({ Bucket, Key, Body: '2', IfNoneMatch: '*' })), lost);
      await client.send(new PutObjectCommand({ Bucket, Key, Body: '3', IfMatch: first.ETag }));
      await assert.rejects(client.send(new PutObjectCommand({ Bucket, Key, Body: '4', IfMatch: first.ETag })), lost);
    });

    test('listings and multi-delete', async () => {
      const keys = Array.from({ length: 25 }, (_, i) => `list/${String(i).padStart(2, '0')}&`);
      for (const Key of keys) await client.send(new PutObjectCommand({ Bucket, Key, Body: Key }));
      const found: (string | undefined)[] = [];
      for await (const page of paginateListObjectsV2({ client, pageSize: 10 }, { Bucket, Prefix: 'list/' })) {
        found.push(...(page.Contents ?? []).map((object) => object.Key));
      }
      assert.deepEqual(found, keys);
      const rolled = await client.send(new ListObjectsCommand({ Bucket, Delimiter: '/', Prefix: 'l' }));
      assert.deepEqual(rolled.CommonPrefixes, [{ Prefix: 'list/' }]);
      const Objects = keys.map((Key) => ({ Key }));
      const deleted = await client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
      assert.equal(deleted.Deleted?.length, 25);
      assert.deepEqual([...server.bucket(Bucket).keys()], ['conditional']);
    });
  });
}
