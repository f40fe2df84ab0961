/** The JSON object that comes with a request, within bounds. */
import type { IncomingMessage } from 'node:http';
import { StorageError } from '../lib/errors.ts';

const REQUEST_BODY_BYTES_MAX = 64 * 1024;

/** An empty body is an empty object. Rejects with INVALID for anything else, CANCELLED where the client is gone. */
export async function readJsonObject(request: IncomingMessage): Promise<Readonly<Record<string, unknown>>> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of request) {
      length += chunk.length;
      // Read to its end all the same: whoever is still sending would not see the answer.
      if (length <= REQUEST_BODY_BYTES_MAX) chunks.push(chunk);
    }
  } catch (cause) {
    throw new StorageError('CANCELLED', 'the request was cut short', { cause });
  }
  if (length > REQUEST_BODY_BYTES_MAX) throw new StorageError('INVALID', 'the request is too large');
  if (length === 0) return {};
  let body: unknown;
  try {
    body = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (cause) {
    throw new StorageError('INVALID', 'the request is not JSON', { cause });
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw new StorageError('INVALID', 'the request is not a JSON object');
  return body as Readonly<Record<string, unknown>>;
}
