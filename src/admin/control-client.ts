/** Asks a running appliance over its control socket. */
import { type IncomingMessage, request } from 'node:http';
import { type ErrorCode, StorageError } from '../lib/errors.ts';
import { HTTP_STATUS } from './http-status.ts';

/** A question is answered from memory; a change may take as long as the bucket does. */
const ANSWER_TIMEOUT_MS = { GET: 10_000, POST: 10 * 60_000 };
/** What ends when we hang up, and may have to upload, or to delete, for as long as it takes. */
const WITHOUT_TIMEOUT = new Set(['/v1/resize']);
/** EINVAL: the path is longer than any socket's, so nothing listens there. */
const NOT_RUNNING = new Set(['ENOENT', 'ECONNREFUSED', 'ENOTDIR', 'EINVAL']);

/** The answer, or null where no appliance listens there. Rejects with the StorageError the appliance answered with. */
export async function askAppliance(
  socketPath: string,
  method: 'GET' | 'POST',
  path: string,
  body?: object,
  signal?: AbortSignal,
): Promise<unknown> {
  let response: IncomingMessage;
  try {
    response = await send(socketPath, method, path, body, signal);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? '';
    if (NOT_RUNNING.has(code)) return null;
    if (signal?.aborted) throw new StorageError('CANCELLED', 'gave up asking the appliance', { cause });
    if (code === 'EACCES') {
      throw new StorageError(
        'ACCESS_DENIED',
        `may not open the control socket ${socketPath}: use the account the appliance runs as`,
        { cause },
      );
    }
    throw new StorageError('UNAVAILABLE', `the appliance at ${socketPath} does not answer`, { cause });
  }
  const answer = await readJson(response, socketPath, signal);
  if (response.statusCode === 200) return answer;
  const { error } = answer as { error?: { code?: string; message?: string } };
  const code =
    error?.code !== undefined && Object.hasOwn(HTTP_STATUS, error.code) ? (error.code as ErrorCode) : 'UNAVAILABLE';
  throw new StorageError(code, error?.message ?? `the appliance answered ${response.statusCode}`);
}

function send(
  socketPath: string,
  method: 'GET' | 'POST',
  path: string,
  body: object | undefined,
  signal: AbortSignal | undefined,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const options = {
      socketPath,
      method,
      path,
      // The agent that all share gives every request up that has no answer after five seconds, unless it says otherwise.
      agent: false as const,
      ...(WITHOUT_TIMEOUT.has(path) ? {} : { timeout: ANSWER_TIMEOUT_MS[method] }),
      ...(signal === undefined ? {} : { signal }),
    };
    const asking = request(options, resolve);
    asking.on('timeout', () => asking.destroy(new Error(`no answer within ${ANSWER_TIMEOUT_MS[method] / 1000} s`)));
    asking.on('error', reject);
    asking.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

async function readJson(
  response: IncomingMessage,
  socketPath: string,
  signal: AbortSignal | undefined,
): Promise<unknown> {
  try {
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk);
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (cause) {
    if (signal?.aborted) throw new StorageError('CANCELLED', 'gave up asking the appliance', { cause });
    throw new StorageError('UNAVAILABLE', `the answer of the appliance at ${socketPath} was cut short`, { cause });
  }
}
