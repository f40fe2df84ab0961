/**
 * The S3 test server as a process of its own, with latency, so that what it costs is not on the account of what is measured:
 * `node test/bench/s3-process.ts --bucket NAME [--get-ms N] [--put-ms N]`. Prints where it is as JSON; SIGTERM ends it.
 */
import { parseArgs } from 'node:util';
import { weighExternalMemory } from '../../src/lib/external-memory.ts';
import { startS3Server } from '../support/s3-server/s3-server.ts';

const { values } = parseArgs({
  options: {
    bucket: { type: 'string', default: 'bench' },
    'get-ms': { type: 'string', default: '0' },
    'put-ms': { type: 'string', default: '0' },
  },
});

/** Requests to remember; nobody looks at them here. */
const REQUESTS_MAX = 16;

// It is to be in nobody's way.
weighExternalMemory();
const server = await startS3Server({ buckets: [values.bucket], requestsMax: REQUESTS_MAX });
server.latency.getMs = Number(values['get-ms']);
server.latency.putMs = Number(values['put-ms']);
const { url: endpoint, region, accessKeyId, secretAccessKey } = server;
process.stdout.write(`${JSON.stringify({ endpoint, region, accessKeyId, secretAccessKey })}\n`);
process.on('SIGTERM', () => void server.close());
