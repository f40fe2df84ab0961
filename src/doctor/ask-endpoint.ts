/** Asks an S3 service the one thing it answers to anybody: that it is there, what time it has, where the bucket is. */
import { readFileSync } from 'node:fs';
import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { getCACertificates } from 'node:tls';
import type { StoreSettings } from '../config/settings.ts';
import type { EndpointAnswer } from './checks/endpoint.ts';

/** Unsigned: a refusal tells as much. Rejects with the system's error where nothing answers. */
export function askEndpoint(
  store: Pick<StoreSettings, 'endpoint' | 'region' | 'caFile' | 'insecure'>,
  bucket: string,
  signal: AbortSignal,
): Promise<EndpointAnswer> {
  const base = store.endpoint ?? `https://s3.${store.region}.amazonaws.com`;
  const url = new URL(`${base.replace(/\/$/, '')}/${encodeURIComponent(bucket)}`);
  const ca = store.caFile === null ? {} : { ca: [...getCACertificates('default'), readFileSync(store.caFile, 'utf8')] };
  const options = { method: 'HEAD', signal, agent: false };
  return new Promise((resolve, reject) => {
    const startedAt = Date.now();
    const asking =
      url.protocol === 'https:'
        ? requestHttps(url, { ...options, ...ca, rejectUnauthorized: !store.insecure })
        : requestHttp(url, options);
    asking.on('error', reject);
    asking.on('response', (response) => {
      response.resume();
      const { date, 'x-amz-bucket-region': region } = response.headers;
      const theirs = date === undefined ? Number.NaN : Date.parse(date);
      resolve({
        status: response.statusCode ?? 0,
        date: Number.isNaN(theirs) ? null : new Date(theirs),
        ours: new Date((startedAt + Date.now()) / 2),
        region: typeof region === 'string' ? region : null,
      });
    });
    asking.end();
  });
}
