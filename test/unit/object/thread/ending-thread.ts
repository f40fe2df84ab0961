/** A thread that ends when it is to get `end`, and finds nothing else. */
import { parentPort } from 'node:worker_threads';
import type { FromThread, ToThread } from '../../../../src/object/thread/messages.ts';

const post = (message: FromThread): void => parentPort?.postMessage(message);

parentPort?.on('message', (message: ToThread) => {
  if (message.kind !== 'call') return;
  const { id, call } = message;
  if (call.name === 'get' && call.key === 'end') throw new Error('it ends');
  if (call.name === 'get' && call.key === 'wait') return;
  post({ kind: 'value', id, value: null });
});
post({ kind: 'ready' });
