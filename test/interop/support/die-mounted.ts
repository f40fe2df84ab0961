/** `die-mounted.ts DIR INSTANCE`: mounts on the directory, as an appliance does, and is killed before it has done anything else. */
import { FuseChannel } from '../../../src/fuse/channel.ts';
import { MountPoint } from '../../../src/fuse/mount-point.ts';
import { RECEIVE_BYTES } from '../../../src/fuse/session.ts';
import { SystemClock } from '../../../src/lib/clock.ts';
import { silentLog } from '../../../src/lib/log.ts';

const [dir = '', instance = ''] = process.argv.slice(2);
const point = await MountPoint.prepare(dir, new SystemClock(), silentLog);
const { fd } = new FuseChannel(RECEIVE_BYTES, silentLog);
const signal = AbortSignal.timeout(10_000);
await point.mount({ fd, uid: 0, gid: 0, instance, readBytesMax: 4096, signal });
process.kill(process.pid, 'SIGKILL');
