/** Learning that whoever asks has gone. */
import type { ServerResponse } from 'node:http';

/** Aborts where the connection ends before the answer has been sent: nobody waits for it any more. */
export function hangUpOf(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  response.once('close', () => {
    if (!response.writableFinished) gone.abort(new Error('whoever asked has hung up'));
  });
  return gone.signal;
}
