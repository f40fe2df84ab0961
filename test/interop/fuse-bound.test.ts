/** The real kernel where as many requests as may be are under way, and none of them is answered. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { HeldMemoryDevice } from '../conformance/nbd/memory-device.ts';
import { startProcess } from '../support/run-command.ts';
import { requireFacilities, requireTools } from '../support/tools.ts';
import { mountDevice } from './support/mounted-device.ts';

it('programs that read can be killed, and others look around, at the bound of requests', {
  timeout: 60_000,
}, async (t) => {
  if (!requireTools(t, ['mount']) || !requireFacilities(t, ['root', 'fuse'])) return;
  const device = new HeldMemoryDevice(1024 * 1024);
  const { server, file } = await mountDevice(t, device, { inFlightRequestsMax: 2, interruptGraceMs: 100 });
  const read = (block: number) =>
    startProcess(t, 'dd', [`if=${file}`, 'of=/dev/null', 'bs=4k', 'count=1', `skip=${block}`, 'iflag=direct']);
  const readers = [];
  const soon = AbortSignal.timeout(20_000);
  for (let count = 1; count <= 5; count++) {
    readers.push(read(count));
    while ((server.status()?.requestsInFlight ?? 0) < count) await delay(10, undefined, { signal: soon });
  }
  assert.equal(device.held.length, 2);
  const looking = startProcess(t, 'stat', [file]);
  assert.equal((await looking.exited).code, 0);
  for (const reader of readers) reader.signal('SIGKILL');
  for (const reader of readers) assert.equal((await reader.exited).signal, 'SIGKILL');
  assert.equal(device.held.length, 2, 'what was asked of the device is still there');
  for (const { complete } of [...device.held]) complete();
  assert.equal(await server.close({ deadlineMs: 5_000 }), true);
});
