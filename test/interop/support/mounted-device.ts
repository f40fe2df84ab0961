/** A device of a test as a file, `disk`, of a FUSE directory: the real kernel, and no appliance. */
import { join } from 'node:path';
import type { FuseLimits } from '../../../src/fuse/limits.ts';
import { FuseServer } from '../../../src/fuse/server.ts';
import { SystemClock } from '../../../src/lib/clock.ts';
import { silentLog } from '../../../src/lib/log.ts';
import type { BlockDevice } from '../../../src/volume/block-device.ts';
import { type Lifetime, onEnd } from '../../support/cleanup.ts';
import { tempDir } from '../../support/temp.ts';

export interface MountedDevice {
  readonly server: FuseServer;
  readonly file: string;
}

/** Cut off with the lifetime. */
export async function mountDevice(
  lifetime: Lifetime,
  device: BlockDevice,
  limits: Partial<FuseLimits> = {},
): Promise<MountedDevice> {
  const dir = await tempDir(lifetime, 'mounted-device');
  const disk = { name: 'disk', device, closed: null };
  const server = new FuseServer({
    files: { list: () => [disk], find: (name) => (name === 'disk' ? disk : undefined) },
    owner: { uid: 0, gid: 0 },
    instance: 'mounted-device',
    clock: new SystemClock(),
    log: silentLog,
    limits,
  });
  await server.mount(dir, AbortSignal.timeout(10_000));
  onEnd(lifetime, async () => {
    await server.close({ deadlineMs: 0 });
  });
  return { server, file: join(dir, 'disk') };
}
