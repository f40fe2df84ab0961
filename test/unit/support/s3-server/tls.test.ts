/** The server over TLS: only clients that know its certificate come in. */
import assert from 'node:assert/strict';
import { Agent } from 'node:https';
import { test } from 'node:test';
import { GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { makeCertificate } from '../../../support/certificates.ts';
import { startS3Server } from '../../../support/s3-server/s3-server.ts';
import { requireTools } from '../../../support/tools.ts';

test('https, with a certificate of our own', async (t) => {
  if (!requireTools(t, ['openssl'])) return;
  const certificate = await makeCertificate(t);
  await using server = await startS3Server({ tls: certificate, buckets: ['b'] });
  const { url: endpoint, region, accessKeyId, secretAccessKey } = server;
  const clientWith = (httpsAgent: Agent): S3Client =>
    new S3Client({
      endpoint,
      region,
      forcePathStyle: true,
      maxAttempts: 1,
      credentials: { accessKeyId, secretAccessKey },
      requestHandler: new NodeHttpHandler({ httpsAgent }),
    });
  const trusting = clientWith(new Agent({ ca: certificate.cert, keepAlive: true }));
  await trusting.send(new PutObjectCommand({ Bucket: 'b', Key: 'k', Body: 'over TLS' }));
  const got = await trusting.send(new GetObjectCommand({ Bucket: 'b', Key: 'k' }));
  assert.equal(await got.Body?.transformToString(), 'over TLS');
  trusting.destroy();
  const wary = clientWith(new Agent());
  await assert.rejects(wary.send(new GetObjectCommand({ Bucket: 'b', Key: 'k' })), /self-signed certificate/);
  wary.destroy();
});
