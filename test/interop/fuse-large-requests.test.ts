/** The real kernel with many large requests at once: on a device that answers late, and where they are cut off. */
import assert from 'node:assert/strict';
import { it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { WriteOptions } from '../../src/volume/block-device.ts';
import { MemoryDevice } from '../conformance/nbd/memory-device.ts';
import { Random } from '../support/random.ts';
import { runCommand, startProcess } from '../support/run-command.ts';
import { requireFacilities, requireTools, toolPath } from '../support/tools.ts';
import { mountDevice } from './support/mounted-device.ts';

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

/** There are many calls. */
function unrecorded(device: MemoryDevice): MemoryDevice {
  device.recordCalls = false;
  return device;
}

function requireAll(t: TestContext): boolean {
  return requireTools(t, ['mount', 'fio']) && requireFacilities(t, ['root', 'fuse']);
}

it('the data of many large writes is theirs until the device has it', { timeout: 120_000 }, async (t) => {
  if (!requireAll(t)) return;
  const { file } = await mountDevice(t, unrecorded(new LateDevice(128 * MIB)));
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
    const { server, file } = await mountDevice(t, unrecorded(new ReadyDevice(64 * MIB)));
    const job = [`--filename=${file}`, '--name=cut', '--ioengine=io_uring', '--direct=1', '--iodepth=16', '--rw=read'];
    const load = ['--bs=1m', '--size=64m', '--time_based', '--runtime=60s'];
    const reader = startProcess(t, toolPath('fio'), [...job, ...load]);
    const soon = AbortSignal.timeout(20_000);
    while ((server.status()?.requests ?? 0) < 200 + 37 * round) await delay(1, undefined, { signal: soon });
    assert.equal(await server.close({ deadlineMs: 0 }), false);
    assert.notEqual((await reader.exited).code, 0, 'it was told');
  }
});
