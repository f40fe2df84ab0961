/** The real kernel with many large requests at once: on a device that answers late, and where they are cut off. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { FuseServer } from '../../src/fuse/server.ts';
import { SystemClock } from '../../src/lib/clock.ts';
import { silentLog } from '../../src/lib/log.ts';
import type { WriteOptions } from '../../src/volume/block-device.ts';
import { MemoryDevice } from '../conformance/nbd/memory-device.ts';
import { onEnd } from '../support/cleanup.ts';
import { Random } from '../support/random.ts';
import { runCommand, startProcess } from '../support/run-command.ts';
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

/** Has all that is read at hand. */
class ReadyDevice extends MemoryDevice {
  readInto(target: Buffer, offset: number): boolean {
    this.bytes.copy(target, 0, offset, offset + target.length);
    return true;
  }
}

async function mountDisk(t: TestContext, device: MemoryDevice): Promise<{ server: FuseServer; file: string }> {
  const dir = await tempDir(t, 'large');
  device.recordCalls = false;
  const disk = { name: 'disk', device, closed: null };
  const server = new FuseServer({
    files: { list: () => [disk], find: (name) => (name === 'disk' ? disk : undefined) },
    owner: { uid: 0, gid: 0 },
    instance: 'large',
    clock: new SystemClock(),
    log: silentLog,
  });
  await server.mount(dir, AbortSignal.timeout(10_000));
  onEnd(t, async () => {
    await server.close({ deadlineMs: 0 });
  });
  return { server, file: join(dir, 'disk') };
}

function requireAll(t: TestContext): boolean {
  return requireTools(t, ['mount', 'fio']) && requireFacilities(t, ['root', 'fuse']);
}

it('the data of many large writes is theirs until the device has it', { timeout: 120_000 }, async (t) => {
  if (!requireAll(t)) return;
  const { file } = await mountDisk(t, new LateDevice(128 * MIB));
  const job = [`--filename=${file}`, '--name=late', '--ioengine=io_uring', '--direct=1', '--iodepth=24'];
  const load = ['--rw=randwrite', '--bsrange=512k-1m', '--size=128m', '--serialize_overlap=1'];
  const verify = ['--verify=crc32c', '--verify_fatal=1', '--do_verify=1', '--verify_state_save=0'];
  await runCommand(toolPath('fio'), [...job, ...load, ...verify]);
});

it('cut off while other threads hand over large reads, it ends, and nothing else does', {
  timeout: 120_000,
}, async (t) => {
  if (!requireAll(t)) return;
  for (let round = 0; round < 8; round++) {
    const { server, file } = await mountDisk(t, new ReadyDevice(64 * MIB));
    const job = [`--filename=${file}`, '--name=cut', '--ioengine=io_uring', '--direct=1', '--iodepth=16', '--rw=read'];
    const load = ['--bs=1m', '--size=64m', '--time_based', '--runtime=60s'];
    const reader = startProcess(t, toolPath('fio'), [...job, ...load]);
    const soon = AbortSignal.timeout(20_000);
    while ((server.status()?.requests ?? 0) < 200 + 37 * round) await delay(1, undefined, { signal: soon });
    assert.equal(await server.close({ deadlineMs: 0 }), false);
    assert.notEqual((await reader.exited).code, 0, 'it was told');
  }
});
