/** The real kernel with more large writes at once than there are buffers of the better kind, on a device that answers late. */
import { join } from 'node:path';
import { it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { FuseServer } from '../../src/fuse/server.ts';
import { SystemClock } from '../../src/lib/clock.ts';
import { silentLog } from '../../src/lib/log.ts';
import type { WriteOptions } from '../../src/volume/block-device.ts';
import { MemoryDevice } from '../conformance/nbd/memory-device.ts';
import { onEnd } from '../support/cleanup.ts';
import { Random } from '../support/random.ts';
import { runCommand } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { requireFacilities, requireTools, toolPath } from '../support/tools.ts';

const MIB = 1024 * 1024;

/** Looks at the data of a write only when it has been asked for a while. */
class LateDevice extends MemoryDevice {
  readonly #random = new Random(1);

  override async write(offset: number, data: Buffer, options: WriteOptions): Promise<void> {
    await delay(1 + this.#random.below(30));
    await super.write(offset, data, options);
  }
}

it('the data of many large writes is theirs until the device has it', { timeout: 120_000 }, async (t) => {
  if (!requireTools(t, ['mount', 'fio']) || !requireFacilities(t, ['root', 'fuse'])) return;
  const dir = await tempDir(t, 'late');
  const device = new LateDevice(128 * MIB);
  device.recordCalls = false;
  const disk = { name: 'disk', device, closed: null };
  const server = new FuseServer({
    files: { list: () => [disk], find: (name) => (name === 'disk' ? disk : undefined) },
    owner: { uid: 0, gid: 0 },
    instance: 'late',
    clock: new SystemClock(),
    log: silentLog,
  });
  await server.mount(dir, AbortSignal.timeout(10_000));
  onEnd(t, async () => {
    await server.close({ deadlineMs: 0 });
  });
  const job = [`--filename=${join(dir, 'disk')}`, '--name=late', '--ioengine=io_uring', '--direct=1', '--iodepth=24'];
  const load = ['--rw=randwrite', '--bsrange=512k-1m', '--size=128m', '--serialize_overlap=1'];
  const verify = ['--verify=crc32c', '--verify_fatal=1', '--do_verify=1', '--verify_state_save=0'];
  await runCommand(toolPath('fio'), [...job, ...load, ...verify]);
});
