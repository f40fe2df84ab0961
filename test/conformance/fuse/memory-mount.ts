/**
 * Mounts devices in memory, for trying real programs and for measuring:
 * `node test/conformance/fuse/memory-mount.ts DIR [--size BYTES] [--later] [--socket PATH]`. With `--socket` the same device
 * is served over NBD as well. Prints a line once it is mounted; SIGTERM unmounts.
 */
import { parseArgs } from 'node:util';
import { FuseServer } from '../../../src/fuse/server.ts';
import { SystemClock } from '../../../src/lib/clock.ts';
import { describeError } from '../../../src/lib/errors.ts';
import type { Log } from '../../../src/lib/log.ts';
import { NbdServer } from '../../../src/nbd/server.ts';
import { tableOf } from '../nbd/export-table.ts';
import { LaterMemoryDevice, MemoryDevice } from '../nbd/memory-device.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    size: { type: 'string', default: String(1024 ** 3) },
    later: { type: 'boolean', default: false },
    socket: { type: 'string' },
    verbose: { type: 'boolean', default: false },
  },
});

const log: Log = {
  debug: values.verbose ? print : () => {},
  info: values.verbose ? print : () => {},
  warn: print,
  error: print,
  child: () => log,
};

function print(message: string, fields?: unknown): void {
  process.stderr.write(`${message} ${JSON.stringify(fields ?? {})}\n`);
}

const device = new (values.later ? LaterMemoryDevice : MemoryDevice)(Number(values.size));
device.recordCalls = false;
device.copyReads = false;
const file = { name: 'memory', device };
const clock = new SystemClock();
const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
const files = { list: () => [file], find: (name: string) => (name === file.name ? file : undefined) };
const fuse = new FuseServer({ files, owner, instance: 'memory', clock, log });
const nbd = new NbdServer({ exports: tableOf({ name: 'memory', description: 'a disk in memory', device }), log });
try {
  if (values.socket !== undefined) await nbd.listen({ path: values.socket });
  await fuse.mount(positionals[0] ?? '', new AbortController().signal);
  process.stdout.write(`${JSON.stringify(fuse.status())}\n`);
  process.once(
    'SIGTERM',
    () => void Promise.all([fuse.close({ deadlineMs: 5_000 }), nbd.close({ deadlineMs: 5_000 })]),
  );
} catch (error) {
  process.stderr.write(`${describeError(error)}\n`);
  process.exitCode = 1;
  await nbd.close({ deadlineMs: 0 });
}
