/**
 * Records what real clients send, for the fuzz to cut and spoil: `node test/conformance/nbd/fuzz/record.ts`. Each connection
 * becomes a file of test/data/nbd-recordings. The disk is the one that the fuzz plays on, and empty at the start.
 */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { silentLog } from '../../../../src/lib/log.ts';
import { NbdServer } from '../../../../src/nbd/server.ts';
import type { Lifetime } from '../../../support/cleanup.ts';
import { HOST_FROM_GUEST, startGuest } from '../../../support/guest/guest.ts';
import { type GuestImage, guestImage } from '../../../support/guest/guest-image.ts';
import { newerDebian } from '../../../support/newer-debian.ts';
import { type CommandResult, runCommand } from '../../../support/run-command.ts';
import { tempDir } from '../../../support/temp.ts';
import { toolPath } from '../../../support/tools.ts';
import { tableOf } from '../export-table.ts';
import { MemoryDevice } from '../memory-device.ts';
import { RECORDINGS_DIR } from './recordings.ts';
import { EXPORT_NAME, PAYLOAD_MAX, SIZE } from './reference.ts';

/** Every kind of request libnbd has, several under way at once. */
const LIBNBD_SCRIPT = `
import sys, nbd
h = nbd.NBD()
h.set_strict_mode(0)
for context in ("base:allocation", "bucketdisk:state", "x:y"):
    h.add_meta_context(context)
h.connect_uri(sys.argv[1])
h.pwrite(b"abc" * 3000, 1000)
h.pwrite(b"z" * 512, 4096, nbd.CMD_FLAG_FUA)
h.pread(5000, 500)
h.pread_structured(8192, 0, lambda *_: None, nbd.CMD_FLAG_DF)
h.zero(4096, 8192, nbd.CMD_FLAG_NO_HOLE)
h.zero(4096, 16384, nbd.CMD_FLAG_FAST_ZERO)
h.trim(8192, 0, nbd.CMD_FLAG_FUA)
h.cache(65536, 0)
h.flush()
h.block_status(65536, 0, lambda *_: None)
h.block_status(65536, 0, lambda *_: None, nbd.CMD_FLAG_REQ_ONE)
if hasattr(h, "block_status_filter") and h.can_block_status_payload():
    h.block_status_filter(65536, 0, ["bucketdisk:state"], lambda *_: None)
cookies = [h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray([i]) * 700), i * 700) for i in range(8)]
cookies += [h.aio_pread(nbd.Buffer(900), i * 900) for i in range(8)]
while any(not h.aio_command_completed(c) for c in cookies[-1:]):
    h.poll(-1)
for request in (lambda: h.pread(1024, 65000), lambda: h.pwrite(bytes(1024), 65000), lambda: h.pread(49153, 0)):
    try:
        request()
    except nbd.Error:
        pass
h.shutdown()
`;

/** The kernel's own: what its block layer asks for, and that its queue is flushed and cut off in the end. */
const KERNEL_SCRIPT = `
set -euo pipefail
modprobe nbd max_part=0
nbd-client -b 512 -N "$EXPORT" "$HOST" "$PORT" /dev/nbd0
dd if=/dev/urandom of=/tmp/random bs=16k count=2
dd if=/tmp/random of=/dev/nbd0 bs=16k oflag=direct
dd if=/tmp/random of=/dev/nbd0 bs=512 seek=64 count=3 oflag=direct,dsync
dd if=/dev/nbd0 of=/dev/null bs=32k iflag=direct
mkfs.ext4 -q -F -b 1024 -O ^has_journal -N 16 /dev/nbd0
mount -t ext4 -o discard /dev/nbd0 /mnt
dd if=/tmp/random of=/mnt/file bs=4k count=2 conv=fsync
rm /mnt/file
sync
fstrim /mnt
umount /mnt
nbd-client -d /dev/nbd0
`;
const KERNEL_TIMEOUT_MS = 300_000;

interface Client {
  readonly name: string;
  run(uri: string): Promise<unknown>;
}

const QEMU_IO = ['write -P 1 4k 8k', 'write -z 20k 4k', 'discard 4k 4k', 'flush', 'read 0 32k', 'map'].flatMap(
  (one) => ['-c', one],
);
const FIO_JOB = ['--name=record', '--ioengine=nbd', '--rw=randrw', '--bs=2k', '--size=32k', '--iodepth=4', '--fsync=4'];

async function clients(lifetime: Lifetime, dir: string): Promise<Client[]> {
  const newer = await newerDebian();
  const kernel = await guestImage();
  const python = toolPath('python3-libnbd');
  const fio = (uri: string): string[] => [...FIO_JOB, `--uri=${uri}`, '--randseed=3'];
  return [
    { name: 'nbdinfo', run: (uri) => runCommand(toolPath('nbdinfo'), [uri]) },
    { name: 'nbdinfo-map', run: (uri) => runCommand(toolPath('nbdinfo'), ['--map=base:allocation', uri]) },
    { name: 'nbdinfo-list', run: (uri) => runCommand(toolPath('nbdinfo'), ['--list', uri]) },
    { name: 'nbdcopy', run: (uri) => runCommand(toolPath('nbdcopy'), [uri, join(dir, 'copy')]) },
    { name: 'qemu-io', run: (uri) => runCommand(toolPath('qemu-io'), ['-f', 'raw', ...QEMU_IO, uri]) },
    { name: 'qemu-img', run: (uri) => runCommand(toolPath('qemu-img'), ['map', uri]) },
    { name: 'fio', run: (uri) => runCommand(toolPath('fio'), fio(uri), { cwd: dir }) },
    { name: 'libnbd', run: (uri) => runCommand(python, ['-c', LIBNBD_SCRIPT, uri]) },
    { name: 'nbdkit', run: (uri) => runCommand(toolPath('nbdkit'), nbdkit(uri)) },
    // Without a kernel behind it, it hangs up once it has chosen the export. /dev/nbd0 need not be there.
    { name: 'nbd-client', run: (uri) => nbdClient(uri, ['-N', EXPORT_NAME], ['/dev/nbd0']) },
    { name: 'nbd-client-list', run: (uri) => nbdClient(uri, ['-l']) },
    { name: 'nbd.ko', run: (uri) => runInGuest(lifetime, kernel, uri) },
    { name: 'nbdinfo-1.22', run: (uri) => newer.run('nbdinfo', [uri]) },
    { name: 'nbdinfo-1.22-map', run: (uri) => newer.run('nbdinfo', ['--map=bucketdisk:state', uri]) },
    { name: 'libnbd-1.22', run: (uri) => newer.run('python3', ['-c', LIBNBD_SCRIPT, uri]) },
    { name: 'qemu-io-10', run: (uri) => newer.run('qemu-io', ['-f', 'raw', ...QEMU_IO, uri]) },
    { name: 'nbdkit-1.42', run: (uri) => newer.run('nbdkit', nbdkit(uri)) },
  ];
}

function nbdClient(uri: string, before: readonly string[], after: readonly string[] = []): Promise<CommandResult> {
  const { hostname, port } = new URL(uri);
  return runCommand(toolPath('nbd-client'), [...before, hostname, port, ...after], { okCodes: null });
}

async function runInGuest(lifetime: Lifetime, image: GuestImage, uri: string): Promise<string> {
  const { port } = new URL(uri);
  const names = `HOST=${HOST_FROM_GUEST} PORT=${port} EXPORT=${EXPORT_NAME}`;
  const guest = await startGuest(lifetime, image, { job: `${names}\n${KERNEL_SCRIPT}` });
  return guest.finished(KERNEL_TIMEOUT_MS);
}

function nbdkit(uri: string): string[] {
  return ['-U', '-', 'nbd', `uri=${uri}`, '--run', 'nbdinfo "$uri"'];
}

/** Serves an empty disk to one client and keeps what it sends, connection by connection. */
async function record({ run }: Client): Promise<Buffer[]> {
  const device = new MemoryDevice(SIZE, { blockSizeMaxBytes: PAYLOAD_MAX });
  const server = new NbdServer({
    exports: tableOf({ name: EXPORT_NAME, description: 'text', device }),
    log: silentLog,
  });
  const address = await server.listen({ host: '127.0.0.1', port: 0 });
  const recordings: Buffer[][] = [];
  const proxy = createServer((client) => {
    const chunks: Buffer[] = [];
    recordings.push(chunks);
    const upstream = connect({ ...address });
    client.on('data', (chunk: Buffer) => chunks.push(chunk));
    client.pipe(upstream).pipe(client);
    for (const socket of [client, upstream]) socket.on('error', () => {});
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const bound = proxy.address();
  const port = bound !== null && typeof bound !== 'string' ? bound.port : 0;
  try {
    await run(`nbd://127.0.0.1:${port}/${EXPORT_NAME}`);
  } finally {
    proxy.close();
    await server.close({ deadlineMs: 1000 });
  }
  return recordings.map((chunks) => Buffer.concat(chunks)).filter(({ length }) => length > 0);
}

async function main(lifetime: Lifetime): Promise<void> {
  await mkdir(RECORDINGS_DIR, { recursive: true });
  for (const name of await readdir(RECORDINGS_DIR)) await rm(join(RECORDINGS_DIR, name));
  const dir = await tempDir(lifetime, 'record');
  for (const client of await clients(lifetime, dir)) {
    for (const [i, bytes] of (await record(client)).entries()) {
      await writeFile(join(RECORDINGS_DIR, `${client.name}-${i}.bin`), bytes);
      process.stdout.write(`${client.name}-${i}: ${bytes.length} bytes\n`);
    }
  }
}

const ends: (() => void | Promise<void>)[] = [];
try {
  await main({ after: (end) => void ends.push(end), ownsSignals: true });
} finally {
  for (const end of ends.reverse()) await end();
}
