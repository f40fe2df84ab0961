/** The thread as it is, which ends when it is to get `end`. */
import '../../../../src/object/thread/s3-thread.ts';
import { parentPort } from 'node:worker_threads';
import type { ToThread } from '../../../../src/object/thread/messages.ts';

parentPort?.on('message', (message: ToThread) => {
  if (message.kind === 'call' && message.call.name === 'get' && message.call.key === 'end') throw new Error('it ends');
});
