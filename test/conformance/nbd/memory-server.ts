/**
 * Serves a device in memory, for trying real clients and for measuring:
 * `node test/conformance/nbd/memory-server.ts [--size BYTES] [--port N] [--socket PATH] [--later]`.
 * Prints where it listens; SIGTERM closes it in good order.
 */
import { parseArgs } from 'node:util';
import { describeError } from '../../../src/lib/errors.ts';
import type { Log } from '../../../src/lib/log.ts';
import { NbdServer } from '../../../src/nbd/server.ts';
import { tableOf } from './export-table.ts';
import { LaterMemoryDevice, MemoryDevice } from './memory-device.ts';

const { values } = parseArgs({
  options: {
    size: { type: 'string', default: String(1024 ** 3) },
    port: { type: 'string' },
    socket: { type: 'string' },
    later: { type: 'boolean', default: false },
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
const server = new NbdServer({ exports: tableOf({ name: 'memory', description: 'a disk in memory', device }), log });
try {
  if (values.socket !== undefined) await server.listen({ path: values.socket });
  if (values.port !== undefined) await server.listen({ host: '127.0.0.1', port: Number(values.port) });
} catch (error) {
  process.stderr.write(`${describeError(error)}\n`);
  process.exitCode = 1;
}
process.stdout.write(`${JSON.stringify(server.addresses())}\n`);
process.on('SIGTERM', () => void server.close({ deadlineMs: 5_000 }));
