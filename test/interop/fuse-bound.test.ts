/** The real kernel where as many requests as may be are under way, and none of them is answered. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { FuseServer } from '../../src/fuse/server.ts';
import { SystemClock } from '../../src/lib/clock.ts';
import { silentLog } from '../../src/lib/log.ts';
import { HeldMemoryDevice } from '../conformance/nbd/memory-device.ts';
import { onEnd } from '../support/cleanup.ts';
import { startProcess } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { requireFacilities, requireTools } from '../support/tools.ts';

it('programs that read can be killed, and others look around, at the bound of requests', {
  timeout: 60_000,
}, async (t) => {
  if (!requireTools(t, ['mount']) || !requireFacilities(t, ['root', 'fuse'])) return;
  const dir = await tempDir(t, 'bound');
  const device = new HeldMemoryDevice(1024 * 1024);
  const disk = { name: 'disk', device, closed: null };
  const server = new FuseServer({
    files: { list: () => [disk], find: (name) => (name === 'disk' ? disk : undefined) },
    owner: { uid: 0, gid: 0 },
    instance: 'bound',
    clock: new SystemClock(),
    log: silentLog,
    limits: { inFlightRequestsMax: 2, interruptGraceMs: 100 },
  });
  await server.mount(dir, AbortSignal.timeout(10_000));
  onEnd(t, async () => {
    await server.close({ deadlineMs: 0 });
  });
  const read = (block: number) =>
    startProcess(t, 'dd', [
      `if=${join(dir, 'disk')}`,
      'of=/dev/null',
      'bs=4k',
      'count=1',
      `skip=${block}`,
      'iflag=direct',
    ]);
  const readers = [];
  const soon = AbortSignal.timeout(20_000);
  for (let count = 1; count <= 5; count++) {
    readers.push(read(count));
    while ((server.status()?.requestsInFlight ?? 0) < count) await delay(10, undefined, { signal: soon });
  }
  assert.equal(device.held.length, 2);
  const looking = startProcess(t, 'stat', [join(dir, 'disk')]);
  assert.equal((await looking.exited).code, 0);
  for (const reader of readers) reader.signal('SIGKILL');
  for (const reader of readers) assert.equal((await reader.exited).signal, 'SIGKILL');
  assert.equal(device.held.length, 2, 'what was asked of the device is still there');
  for (const { complete } of [...device.held]) complete();
  assert.equal(await server.close({ deadlineMs: 5_000 }), true);
});
