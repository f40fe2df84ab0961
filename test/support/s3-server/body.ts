/** Takes a request's body into one buffer of the announced length. */
import type { IncomingMessage } from 'node:http';
import { notImplemented, S3Error } from './errors.ts';
import type { S3Request } from './request.ts';

const NOTHING = Buffer.alloc(0);

/**
 * The whole body. `onReady` is called once the headers have been found good, before anything is read. Rejects with an
 * S3Error for a body that S3 would not take, and with another error where the client went away.
 */
export async function readBody(
  incoming: IncomingMessage,
  { op, headers }: S3Request,
  bytesMax: number,
  onReady: () => void,
): Promise<Buffer> {
  const wantsBody = op === 'PutObject' || op === 'DeleteObjects' || op === 'CreateBucket';
  const announced = headers['content-length'];
  if (headers['transfer-encoding'] !== undefined || (announced === undefined && op === 'PutObject')) {
    throw new S3Error('MissingContentLength', 'You must provide the Content-Length HTTP header.');
  }
  const length = Number(announced ?? 0);
  if (length > bytesMax) {
    throw new S3Error('EntityTooLarge', 'Your proposed upload exceeds the maximum allowed size', {
      details: { ProposedSize: length, MaxSizeAllowed: bytesMax },
    });
  }
  if (length > 0 && !wantsBody) throw notImplemented(`A body with ${op}`);
  onReady();
  if (length === 0) return NOTHING;
  // Not from the pool: the body may live as long as the bucket.
  const body = Buffer.allocUnsafeSlow(length);
  let received = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    received += chunk.copy(body, received);
  }
  return body;
}
