/**
 * Conversations over real sockets, cut anywhere: each is answered as a simple reference says, or left in the midst, and
 * nothing is left taken.
 */
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { silentLog } from '../../../../src/lib/log.ts';
import { NbdServer } from '../../../../src/nbd/server.ts';
import { Random } from '../../lease/random.ts';
import { tableOf } from '../export-table.ts';
import { check, isAmbiguous } from './check.ts';
import { someInput } from './conversation.ts';
import { FuzzDevice } from './fuzz-device.ts';
import { EXPORT_NAME, expect, SIZE } from './reference.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Sends the input in pieces, ends its side, and returns all that came until the server closed. */
async function converse(random: Random, socket: Socket, tcp: boolean, input: Buffer, leaves: boolean): Promise<Buffer> {
  const received: Buffer[] = [];
  const closed = new Promise<void>((resolve) => socket.once('close', resolve));
  socket.on('error', () => {});
  socket.on('data', (bytes: Buffer) => received.push(bytes));
  for (let at = 0; at < input.length && !socket.destroyed; ) {
    const length = random.int(1, random.chance(0.5) ? 100 : 40_000);
    socket.write(input.subarray(at, at + length));
    at += length;
    if (random.chance(0.1)) socket.pause();
    if (random.chance(0.5)) await turn();
    socket.resume();
    if (leaves && random.chance(0.1)) break;
  }
  if (!leaves) socket.end();
  else if (tcp && random.chance(0.5)) socket.resetAndDestroy();
  else socket.destroy();
  await closed;
  return Buffer.concat(received);
}

/** Plays the conversation of a seed; unix sockets are made in `dir`. */
export async function playSocketSeed(seed: number, dir: string): Promise<void> {
  const random = new Random(seed);
  const device = new FuzzDevice(random, random.chance(0.7));
  const server = new NbdServer({
    exports: tableOf({ name: EXPORT_NAME, description: 'text', device }),
    log: silentLog,
    limits: {
      inFlightRequestsMax: random.int(1, 8),
      inFlightBytesMax: random.int(1, 200_000),
      unsentBytesMax: random.int(0, 50_000),
    },
  });
  const address = await server.listen(
    random.chance(0.5) ? { host: '127.0.0.1', port: 0 } : { path: join(dir, String(seed)) },
  );
  const input = someInput(random);
  const leaves = random.chance(0.2);
  const socket = connect({ ...address, allowHalfOpen: true });
  let over = false;
  const output = converse(random, socket, 'port' in address, input, leaves).finally(() => {
    over = true;
  });
  while (!over || device.pending > 0 || server.connections().length > 0) {
    if (device.pending > 0) device.completeOne();
    else await turn();
    if (random.chance(0.3)) await turn();
  }
  while (server.bytesInFlight > 0) await turn();
  await server.close({ deadlineMs: 0 });
  const bytes = Buffer.alloc(SIZE);
  const expected = expect(input, bytes);
  if (leaves || isAmbiguous(expected)) return;
  check(await output, expected);
  assert.ok(device.bytes.equals(bytes), 'the device holds other bytes');
}
