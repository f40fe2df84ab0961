/**
 * The first table of docs/INTEROP.md, measured: every client does all it can over a connection that is listened to, and what
 * it was seen to make use of is what its column says. The kernel's column is measured in a guest by kernel-client.test.ts.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { silentLog } from '../../src/lib/log.ts';
import { NbdServer } from '../../src/nbd/server.ts';
import { tableOf } from '../conformance/nbd/export-table.ts';
import { MemoryDevice } from '../conformance/nbd/memory-device.ts';
import { type NewerDebian, requireNewerDebian } from '../support/newer-debian.ts';
import { type CommandOptions, type CommandResult, runCommand } from '../support/run-command.ts';
import { tempDir } from '../support/temp.ts';
import { requireTools, type Tool, toolPath } from '../support/tools.ts';
import { type Feature, Tap } from './support/nbd-traffic.ts';

const MIB = 1024 * 1024;
const SIZE = 64 * MIB;
/** Whoever reads here finds the connection broken off, the first time. */
const CUT_AT = 48 * MIB;

const FEATURES: readonly Feature[] = [
  'FLUSH',
  'FUA',
  'TRIM',
  'WRITE_ZEROES',
  'FAST_ZERO',
  'CACHE',
  'DF',
  '`base:allocation`',
  '`bucketdisk:state`',
  'BLOCK_STATUS_PAYLOAD',
];
const FRAMING = 'framing';
const TRANSPORTS = 'TCP / unix socket';
const SEVERAL = 'several connections to one volume';
const HOLES = 'reads with holes';
const GOES_ON = 'goes on when the server was killed and is back';

/** Where a client finds the disk, in every spelling that they have. */
interface Target {
  readonly uri: string;
  /** For qemu, which has its own. */
  readonly address: string;
}

type Run = (program: Tool, args: readonly string[], options?: CommandOptions) => Promise<CommandResult>;

interface Client {
  /** The head of its column. */
  readonly column: string;
  readonly tools: readonly Tool[];
  readonly newer: boolean;
  /** Each does something; together they do all that the client can. */
  readonly deeds: readonly ((run: Run, target: Target) => Promise<unknown>)[];
  /** Reads at CUT_AT and fails where it does not get an answer. */
  readonly survive: (run: Run, target: Target) => Promise<unknown>;
}

/** Everything libnbd has a call for, as far as the server offers it. */
const LIBNBD = `
import sys, nbd
def connect():
    h = nbd.NBD()
    for context in ("base:allocation", "bucketdisk:state"):
        h.add_meta_context(context)
    h.connect_uri(sys.argv[1])
    return h
h = connect()
h.pwrite(b"a" * 65536, 0)
h.pwrite(b"b" * 512, 4096, nbd.CMD_FLAG_FUA)
h.pread_structured(262144, 0, lambda *_: None)
if h.can_df():
    h.pread_structured(65536, 0, lambda *_: None, nbd.CMD_FLAG_DF)
h.zero(65536, 65536)
if h.can_fast_zero():
    h.zero(65536, 65536, nbd.CMD_FLAG_FAST_ZERO)
h.trim(65536, 131072)
if h.can_cache():
    h.cache(65536, 0)
for context in ("base:allocation", "bucketdisk:state"):
    if h.can_meta_context(context):
        h.block_status(1048576, 0, lambda *_: None)
        break
if hasattr(h, "can_block_status_payload") and h.can_block_status_payload():
    h.block_status_filter(1048576, 0, ["base:allocation"], lambda *_: None)
h.flush()
if h.can_multi_conn():
    others = [connect() for _ in range(3)]
    assert all(other.pread(65536, 0)[0:1] == b"a" for other in others)
h.shutdown()
`;
const READ_AT_CUT = `
import sys, nbd
h = nbd.NBD()
h.connect_uri(sys.argv[1])
h.pread(65536, ${CUT_AT})
`;

const QEMU_IO = ['write -P 1 0 1M', 'write -f -P 2 64k 4k', 'write -z 1M 64k', 'discard 2M 1M', 'flush', 'read 0 4M'];

const NOTHING = `json:{"driver":"raw","file":{"driver":"null-co","size":${SIZE}}}`;

const libnbd = (column: string, newer: boolean): Client => ({
  column,
  tools: newer ? [] : ['python3-libnbd', 'nbdcopy', 'nbdinfo'],
  newer,
  deeds: [
    (run, { uri }) => run('python3-libnbd', ['-c', LIBNBD, uri]),
    (run, { uri }) => run('nbdinfo', ['--map=bucketdisk:state', uri]),
    (run, { uri }) => run('nbdcopy', ['--connections=4', uri, 'null:']),
  ],
  survive: (run, { uri }) => run('python3-libnbd', ['-c', READ_AT_CUT, uri]),
});

const qemu = (column: string, newer: boolean): Client => ({
  column,
  tools: newer ? [] : ['qemu-io', 'qemu-img'],
  newer,
  deeds: [
    (run, { uri }) => run('qemu-io', ['-f', 'raw', ...QEMU_IO.flatMap((one) => ['-c', one]), uri]),
    (run, { uri }) => run('qemu-img', ['map', '-f', 'raw', uri]),
    // Zeroes the whole of its target first, if that is quick.
    (run, { uri }) => run('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', NOTHING, uri]),
    (run, { uri }) => run('qemu-img', ['bench', '-f', 'raw', '-c', '200', '-d', '16', uri]),
  ],
  survive: (run, { address }) =>
    run('qemu-io', [
      '--image-opts',
      '-c',
      `read ${CUT_AT} 64k`,
      `driver=nbd,${address},export=disk,reconnect-delay=30`,
    ]),
});

const FIO = ['--name=features', '--ioengine=nbd', '--size=8M', '--bs=16k', '--iodepth=8', '--fsync=16', '--thread'];

const fio = (column: string): Client => ({
  column,
  tools: ['fio'],
  newer: false,
  deeds: [
    (run, { uri }) => run('fio', [...FIO, '--rw=randrw', '--numjobs=4', `--uri=${uri}`]),
    (run, { uri }) => run('fio', [...FIO, '--rw=randtrim', `--uri=${uri}`]),
    (run, { uri }) => run('fio', [...FIO, '--rw=write', '--sync=1', `--uri=${uri}`]),
  ],
  survive: (run, { uri }) => run('fio', [...FIO, '--rw=read', `--offset=${CUT_AT}`, `--uri=${uri}`]),
});

const through = (uri: string, command: string, ...more: string[]): string[] => [
  '-U',
  '-',
  'nbd',
  `uri=${uri}`,
  ...more,
  '--run',
  command,
];
const python = (script: string): string => `/usr/bin/python3 -c '${script}' "$uri"`;

const nbdkit = (column: string, newer: boolean): Client => ({
  column,
  tools: newer ? [] : ['nbdkit', 'python3-libnbd', 'nbdinfo'],
  newer,
  deeds: [
    (run, { uri }) => run('nbdkit', through(uri, python(LIBNBD))),
    (run, { uri }) => run('nbdkit', through(uri, 'nbdinfo --map "$uri"')),
  ],
  survive: (run, { uri }) => run('nbdkit', through(uri, python(READ_AT_CUT), 'retry=5')),
});

const CLIENTS: readonly Client[] = [
  libnbd('libnbd 1.14, nbdinfo, nbdcopy', false),
  libnbd('libnbd 1.22, nbdinfo, nbdcopy', true),
  qemu('qemu 7.2', false),
  qemu('qemu 10', true),
  fio('fio 3.33'),
  nbdkit("nbdkit 1.32's nbd plugin", false),
  nbdkit("nbdkit 1.42's nbd plugin", true),
];

const KERNEL = 'nbd.ko 6.1, nbd-client 3.24';

const TABLE = readTable(readFileSync(join(import.meta.dirname, '../../docs/INTEROP.md'), 'utf8'));

for (const client of CLIENTS) {
  describe(client.column, () => {
    it('makes use of what its column says, over TCP and a unix socket', { timeout: 900_000 }, async (t) => {
      const machine = await machineFor(t, client);
      if (machine === null) return;
      const device = new MemoryDevice(SIZE);
      const measured: Record<string, string> = {};
      const transports: string[] = [];
      for (const transport of ['tcp', 'unix'] as const) {
        const { tap, target } = await serve(t, device, transport === 'unix' ? machine : null);
        for (const deed of client.deeds) await deed(machine.run, target);
        const traffic = tap.traffic();
        transports.push(yesOrNo(traffic.length > 0));
        const seen = new Set(traffic.flatMap(({ features }) => [...features]));
        const framings = new Set(traffic.map(({ framing }) => framing));
        measured[FRAMING] = ['extended', 'structured', 'simple'].find((one) => framings.has(one as 'simple')) ?? '';
        for (const feature of FEATURES) measured[feature] = yesOrNo(seen.has(feature));
        // Whoever has structured replies is sent holes where it reads zeros, and all of them did.
        measured[HOLES] = yesOrNo(measured[FRAMING] !== 'simple');
        measured[SEVERAL] = yesOrNo(tap.openMax >= 4);
      }
      measured[TRANSPORTS] = transports.join(' / ');
      measured[GOES_ON] = yesOrNo(await survives(t, client, machine));
      const told = [...TABLE].map(([row, cells]) => [row, cells.get(client.column)]);
      assert.deepEqual(measured, Object.fromEntries(told), 'docs/INTEROP.md says what was seen');
    });
  });
}

it('the table has no cell that nobody looks at, and no column', () => {
  for (const [row, cells] of TABLE) {
    assert.deepEqual([...cells.keys()], [KERNEL, ...CLIENTS.map(({ column }) => column)], row);
    for (const [column, value] of cells) {
      if (column !== KERNEL) assert.match(value, /^(yes|no|simple|structured|extended)/, `${row}, ${column}`);
    }
  }
});

interface Machine {
  readonly run: Run;
  /** Of the machine that the test runs on, and how its programs see it. */
  readonly dir: string;
  readonly seenAs: string;
}

/** Null where the test has been skipped. */
async function machineFor(t: TestContext, { newer, tools }: Client): Promise<Machine | null> {
  if (!newer) {
    if (!requireTools(t, tools)) return null;
    const dir = await tempDir(t, 'features');
    return {
      run: (tool, args, options) => runCommand(toolPath(tool), args, { cwd: dir, ...options }),
      dir,
      seenAs: dir,
    };
  }
  const debian: NewerDebian | null = await requireNewerDebian(t);
  if (debian === null) return null;
  const { dir, seenAs } = await debian.tempDir(t);
  return { run: (tool, args, options) => debian.run(tool.replace(/-libnbd$/, ''), args, options), dir, seenAs };
}

let sockets = 0;

/** A server and somebody who listens to what is said; at a unix socket of the machine, or by TCP. */
async function serve(
  t: TestContext,
  device: MemoryDevice,
  unix: Machine | null,
): Promise<{ tap: Tap; target: Target }> {
  const server = new NbdServer({ exports: tableOf({ name: 'disk', description: '', device }), log: silentLog });
  t.after(() => server.close({ deadlineMs: 0 }));
  const upstream = await server.listen({ host: '127.0.0.1', port: 0 });
  if (unix === null) {
    const { tap, at } = await Tap.open(t, upstream);
    const address = `server.type=inet,server.host=127.0.0.1,server.port=${at}`;
    return { tap, target: { uri: `nbd://127.0.0.1:${at}/disk`, address } };
  }
  const name = `nbd${sockets++}`;
  const { tap } = await Tap.open(t, upstream, join(unix.dir, name));
  const path = join(unix.seenAs, name);
  return { tap, target: { uri: `nbd+unix:///disk?socket=${path}`, address: `server.type=unix,server.path=${path}` } };
}

/** Whether the client gets its answer though the connection was broken off while it waited for it. */
async function survives(t: TestContext, { survive }: Client, { run }: Machine): Promise<boolean> {
  const device = new MemoryDevice(SIZE);
  let cut = false;
  const { tap, target } = await serve(t, device, null);
  const read = device.read.bind(device);
  device.read = (offset, length) => {
    if (offset !== CUT_AT || cut) return read(offset, length);
    cut = true;
    tap.cut();
    return read(offset, length);
  };
  const survived = await survive(run, target).then(
    () => true,
    () => false,
  );
  assert.ok(cut, 'it came so far as to be cut off');
  return survived;
}

function yesOrNo(value: boolean): string {
  return value ? 'yes' : 'no';
}

/** The first table: by the head of the row, and by that of the column. What follows a comma in a cell is for people. */
function readTable(text: string): Map<string, Map<string, string>> {
  const lines = text.split('\n');
  const first = lines.findIndex((line) => line.startsWith('| '));
  const cells = (line: string): string[] =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim());
  const table = new Map<string, Map<string, string>>();
  const [, ...columns] = cells(lines[first] ?? '');
  for (let i = first + 2; lines[i]?.startsWith('| '); i++) {
    const [row = '', ...values] = cells(lines[i] ?? '');
    table.set(row, new Map(columns.map((column, c) => [column, (values[c] ?? '').replace(/,.*/, '')])));
  }
  return table;
}
