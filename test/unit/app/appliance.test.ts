/** The appliance as an object, on a bucket in memory and real sockets: started, served, taken over, stopped in every way. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { askAppliance } from '../../../src/admin/control-client.ts';
import { Appliance, runAppliance } from '../../../src/appliance.ts';
import type { ApplianceStatus } from '../../../src/cli/actions.ts';
import { exitCodeOf } from '../../../src/cli/exit-code.ts';
import { loadSettings } from '../../../src/config/load-settings.ts';
import type { Settings } from '../../../src/config/settings.ts';
import { StorageError } from '../../../src/lib/errors.ts';
import { StateDir } from '../../../src/lib/state-dir.ts';
import { Command, CommandFlag, Info, NbdErrno, Option, OptionReply } from '../../../src/nbd/constants.ts';
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import type { ObjectStore } from '../../../src/object/object-store.ts';
import { Stores } from '../../../src/stores.ts';
import type { Logger } from '../../../src/telemetry/logger.ts';
import type { Closed } from '../../../src/volume/volume.ts';
import { infoData, RawClient } from '../../conformance/nbd/raw-client.ts';
import { tempDir } from '../../support/temp.ts';
import { settle, VirtualClock } from '../../support/virtual-clock.ts';
import { LogBook } from '../volume/fixtures.ts';
import { HookedStore, type Operation } from '../volume/hooked-store.ts';

const LIFE_MS = 30_000;
const DATA = Buffer.alloc(4096, 'data');

class BannerBook extends LogBook implements Logger {
  readonly style = 'json';

  announce(_text: string, message: string, fields: Readonly<Record<string, unknown>>): void {
    this.info(message, fields);
  }

  tap(): void {}

  async close(): Promise<void> {}
}

interface Machine {
  readonly appliance: Appliance;
  readonly store: HookedStore;
  readonly clock: VirtualClock;
  readonly log: BannerBook;
  readonly settings: Settings;
  readonly stop: AbortController;
  readonly hurry: AbortController;
  readonly socket: string;
  /** Runs it until it is stopped. */
  run(takeOver?: readonly string[]): Promise<Closed>;
  attach(name?: string): Promise<RawClient>;
}

async function machine(
  t: TestContext,
  options: {
    bucket?: ObjectStore;
    clock?: VirtualClock;
    set?: readonly string[];
    instance?: string;
    dir?: string;
  } = {},
): Promise<Machine> {
  const dir = options.dir ?? (await tempDir(t, 'app'));
  const socket = join(dir, 'nbd.sock');
  const { settings } = loadSettings({
    defaultsFile: null,
    files: [],
    env: {},
    cwd: dir,
    set: [
      'store.url=memory:',
      'store.retryDeadline=0',
      'cache.size=0',
      `cache.dir=${dir}`,
      `nbd.socket=${socket}`,
      'nbd.listen=127.0.0.1:0',
      `lease.duration=${LIFE_MS}ms`,
      ...(options.set ?? ['volumes.vol.size=256KiB', 'volumes.vol.blockSize=4KiB']),
    ],
  });
  const store = new HookedStore(options.bucket ?? new MemoryObjectStore());
  const clock = options.clock ?? new VirtualClock();
  const log = new BannerBook();
  const stateDir = new StateDir(dir);
  const stores = new Stores({ settings, clock, log, open: async () => store });
  const instance = options.instance ?? 'first';
  const claimant = { instance, host: `${instance}.example`, pid: 7 };
  const appliance = new Appliance({ settings, stores, stateDir, claimant, clock, log, version: '0.0.0' });
  const stop = new AbortController();
  const hurry = new AbortController();
  const running: Promise<unknown>[] = [];
  const clients: RawClient[] = [];
  t.after(async () => {
    for (const client of clients) client.close();
    stop.abort();
    hurry.abort();
    await clock.run(Promise.allSettled(running));
    stateDir.close();
  });
  return {
    appliance,
    store,
    clock,
    log,
    settings,
    stop,
    hurry,
    socket,
    run: (takeOver = []) => {
      const run = runAppliance(appliance, { takeOver, stop: stop.signal }, hurry.signal);
      running.push(run.catch(() => {}));
      return run;
    },
    attach: async (name = '') => {
      const client = await RawClient.attach({ path: socket }, { name });
      clients.push(client);
      return client;
    },
  };
}

/** Waits, turn by turn, for something that comes without a clock: sockets, and what follows from them. */
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let turns = 0; !(await condition()); turns++) {
    assert.ok(turns < 100_000, 'it never came');
    await settle(1);
  }
}

/** Runs it, and returns once it serves; rejects with what it failed with. */
async function started(m: Machine): Promise<{ readonly run: Promise<Closed> }> {
  const run = m.run();
  let failed: { readonly error: unknown } | null = null;
  run.catch((error: unknown) => {
    failed = { error };
  });
  await until(() => failed !== null || m.log.messages('info').includes('ready'));
  if (failed !== null) await run;
  return { run };
}

async function isReleased(store: HookedStore, name = 'vol'): Promise<boolean> {
  const lease = await store.inner.get(`${name}/bucketdisk-lease.json`);
  return lease !== null && JSON.parse(lease.body.toString()).released;
}

function isPutOfBlock({ kind, keys }: Operation, block: number): boolean {
  return kind === 'put' && keys[0] === `vol/${block.toString(16).padStart(8, '0')}`;
}

function writeOf(block: number) {
  return { type: Command.WRITE, offset: block * 4096, payload: DATA, cookie: BigInt(block + 1) };
}

const readOf = (block: number) => ({ type: Command.READ, offset: block * 4096, length: 4096 });

describe('serving', () => {
  test('from the start to a stop that nobody has to hurry: what was answered is in the bucket, the lease is given back', async (t) => {
    const m = await machine(t);
    const { run } = await started(m);
    const client = await m.attach('vol');
    assert.equal((await client.request(writeOf(3))).errno, NbdErrno.NONE);
    assert.equal((await client.request({ type: Command.FLUSH })).errno, NbdErrno.NONE);
    assert.deepEqual((await client.request(readOf(3))).data, DATA);
    m.stop.abort();
    await run;
    assert.deepEqual((await m.store.inner.get('vol/00000003'))?.body, DATA);
    assert.equal(await isReleased(m.store), true);
    assert.equal(await m.store.inner.head('vol/s3backer-mounted'), null);
    assert.equal(m.clock.sleeping, 0);
    assert.equal(await askAppliance(join(m.settings.cache.dir, 'control.sock'), 'GET', '/v1/status'), null);
    await assert.rejects(once(connect(m.socket), 'connect'), { code: 'ENOENT' });
  });

  test('tells its state over the control socket', async (t) => {
    const m = await machine(t);
    await started(m);
    await m.attach('vol');
    await m.clock.advance(1000);
    const control = join(m.settings.cache.dir, 'control.sock');
    const status = (await askAppliance(control, 'GET', '/v1/status')) as ApplianceStatus;
    assert.equal(status.running, true);
    assert.equal(status.pid, process.pid);
    assert.equal(status.uptimeMs, 1000);
    assert.equal(status.nbd.length, 2);
    assert.ok(status.nbd.includes(`unix:${m.socket}`));
    assert.equal(status.connections.length, 1);
    assert.equal(status.connections[0]?.volume, 'vol');
    assert.equal(status.store.health, 'ok');
    const [volume] = status.volumes;
    assert.equal(volume?.state, 'serving');
    assert.equal(volume?.sizeBytes, 256 * 1024);
    assert.equal(volume?.blockSizeBytes, 4096);
    assert.equal(volume?.connections, 1);
    assert.deepEqual(volume?.lease, { holder: 'first.example:7', state: 'held', renewedAgoMs: 1000 });
    assert.equal(JSON.stringify(status).includes('password'), false);
  });

  test('resizes on request: larger at once, smaller with force and without clients', async (t) => {
    const m = await machine(t);
    await started(m);
    const control = join(m.settings.cache.dir, 'control.sock');
    const resize = (body: object) => askAppliance(control, 'POST', '/v1/resize', body);
    assert.deepEqual(await resize({ name: 'vol', sizeBytes: 512 * 1024, force: false }), {
      name: 'vol',
      oldSizeBytes: 256 * 1024,
      newSizeBytes: 512 * 1024,
      deletedBlocks: 0,
    });
    const client = await m.attach('vol');
    assert.equal((await client.request(writeOf(127))).errno, NbdErrno.NONE);
    await assert.rejects(resize({ name: 'vol', sizeBytes: 256 * 1024, force: true }), {
      code: 'HELD',
      message: /has 1 client attached:/,
    });
    client.close();
    await until(() => m.appliance.status().connections.length === 0);
    await assert.rejects(resize({ name: 'vol', sizeBytes: 256 * 1024, force: false }), { code: 'INVALID' });
    assert.equal(
      ((await resize({ name: 'vol', sizeBytes: 256 * 1024, force: true })) as { deletedBlocks: number }).deletedBlocks,
      1,
    );
    await assert.rejects(resize({ name: 'none', sizeBytes: 4096, force: false }), { code: 'NOT_FOUND' });
    for (const body of [
      {},
      { name: 'vol' },
      { name: 'vol', sizeBytes: '1GiB', force: false },
      { name: 7, sizeBytes: 1, force: true },
    ]) {
      await assert.rejects(resize(body), { code: 'INVALID' });
    }
    await assert.rejects(resize({ name: 'vol', sizeBytes: 1.5, force: true }), { code: 'INVALID' });
  });
});

describe('while a volume is made smaller', () => {
  const SMALL = 128 * 1024;

  interface Shrinking {
    readonly m: Machine;
    readonly control: string;
    /** Rejects where it fails. */
    readonly shrunk: Promise<unknown>;
    /** What it waits for: block 0's put, with the new size, which the record has already. */
    readonly gate: PromiseWithResolvers<void>;
    /** A client that has said nothing yet. */
    readonly early: RawClient;
  }

  /** A shrink that has come as far as block 0. */
  async function shrinking(t: TestContext): Promise<Shrinking> {
    const m = await machine(t);
    await started(m);
    const client = await m.attach('vol');
    for (const block of [0, 40]) assert.equal((await client.request(writeOf(block))).errno, NbdErrno.NONE);
    client.close();
    await until(() => m.appliance.status().connections.length === 0);
    const early = await connected(t, m);
    const gate = Promise.withResolvers<void>();
    m.store.before = (operation) => (isPutOfBlock(operation, 0) ? gate.promise : undefined);
    const control = join(m.settings.cache.dir, 'control.sock');
    const shrunk = askAppliance(control, 'POST', '/v1/resize', { name: 'vol', sizeBytes: SMALL, force: true });
    shrunk.catch(() => {});
    await until(() => m.store.operations.filter((operation) => isPutOfBlock(operation, 0)).length === 2);
    return { m, control, shrunk, gate, early };
  }

  async function connected(t: TestContext, m: Machine): Promise<RawClient> {
    const client = await RawClient.connect({ path: m.socket });
    t.after(() => client.close());
    await client.greet();
    return client;
  }

  /** What GO is answered with at last. */
  async function go(client: RawClient): Promise<{ type: number; text: string }> {
    const last = (await client.option(Option.GO, infoData('vol'))).at(-1);
    return { type: last?.type ?? 0, text: last?.data.toString() ?? '' };
  }

  test('nobody attaches, in whatever way, and who has come before that neither; then they do', async (t) => {
    const { m, control, shrunk, gate, early } = await shrinking(t);
    const why = /^volume vol is being made smaller: attach once "bucketdisk resize" has ended$/;
    const late = await connected(t, m);
    for (const client of [early, late]) {
      const answer = await go(client);
      assert.equal(answer.type, OptionReply.ERR_POLICY);
      assert.match(answer.text, why);
    }
    assert.equal((await late.option(Option.INFO, infoData('vol'))).at(-1)?.type, OptionReply.ACK);
    const dir = join(m.settings.cache.dir, 'mnt');
    for (const via of ['nbd', 'fuse', 'auto']) {
      const mount = askAppliance(control, 'POST', '/v1/mount', { name: 'vol', dir, fs: null, via });
      await assert.rejects(mount, { code: 'HELD', message: why });
    }
    // What the appliance itself does goes on.
    assert.ok(await askAppliance(control, 'POST', '/v1/flush', { name: 'vol' }));
    await assert.rejects(askAppliance(control, 'POST', '/v1/resize', { name: 'vol', sizeBytes: SMALL, force: true }), {
      code: 'CONFLICT',
    });
    assert.equal((await go(late)).type, OptionReply.ERR_POLICY, 'a second resize that is refused ends nothing');
    gate.resolve();
    await shrunk;
    assert.equal((await go(early)).type, OptionReply.ACK);
    assert.equal(m.appliance.status().volumes[0]?.sizeBytes, SMALL);
  });

  test('and it fails, they may attach as before', async (t) => {
    const { shrunk, gate, early } = await shrinking(t);
    gate.reject(new StorageError('ACCESS_DENIED', 'no'));
    await assert.rejects(shrunk, { code: 'ACCESS_DENIED' });
    assert.equal((await go(early)).type, OptionReply.ACK);
    early.framing = 'simple';
    assert.equal((await early.request(readOf(31), 4096)).errno, NbdErrno.NONE);
  });

  test('and waits for the bucket, it ends when whoever asked for it hangs up: then they may attach', async (t) => {
    const m = await machine(t);
    await started(m);
    const client = await m.attach('vol');
    assert.equal((await client.request(writeOf(40))).errno, NbdErrno.NONE);
    client.close();
    await until(() => m.appliance.status().connections.length === 0);
    const away = Promise.withResolvers<void>();
    let asked = false;
    m.store.before = ({ kind, keys: [key] }) => {
      if (kind !== 'put' || key !== 'vol/bucketdisk-volume.json') return;
      asked = true;
      return away.promise;
    };
    const late = await connected(t, m);
    const control = join(m.settings.cache.dir, 'control.sock');
    const hangUp = new AbortController();
    const body = { name: 'vol', sizeBytes: SMALL, force: true };
    const shrunk = assert.rejects(askAppliance(control, 'POST', '/v1/resize', body, hangUp.signal), {
      code: 'CANCELLED',
    });
    await until(() => asked);
    assert.equal((await go(late)).type, OptionReply.ERR_POLICY);
    hangUp.abort();
    await shrunk;
    let next = late;
    while ((await go(next)).type !== OptionReply.ACK) {
      next.close();
      next = await connected(t, m);
    }
    next.close();
    await until(() => m.appliance.status().connections.length === 0);
    assert.equal(m.appliance.status().volumes[0]?.sizeBytes, 256 * 1024);
    away.resolve();
    assert.deepEqual(await askAppliance(control, 'POST', '/v1/resize', body), {
      name: 'vol',
      oldSizeBytes: 256 * 1024,
      newSizeBytes: SMALL,
      deletedBlocks: 1,
    });
  });

  test('or larger: that keeps nobody out', async (t) => {
    const m = await machine(t);
    await started(m);
    const gate = Promise.withResolvers<void>();
    m.store.before = ({ kind, keys }) =>
      kind === 'put' && keys[0] === 'vol/bucketdisk-volume.json' ? gate.promise : undefined;
    const control = join(m.settings.cache.dir, 'control.sock');
    const grown = askAppliance(control, 'POST', '/v1/resize', { name: 'vol', sizeBytes: 512 * 1024, force: false });
    await until(
      () =>
        m.store.operations.filter(({ kind, keys }) => kind === 'put' && keys[0]?.endsWith('volume.json')).length === 2,
    );
    assert.equal((await (await m.attach('vol')).request(writeOf(1))).errno, NbdErrno.NONE);
    gate.resolve();
    await grown;
  });
});

describe('exports', () => {
  const two = [
    'volumes.a.size=256KiB',
    'volumes.a.blockSize=4KiB',
    'volumes.b.size=512KiB',
    'volumes.b.blockSize=4KiB',
  ];

  /** The size of the export that a name leads to, or null. */
  async function sizeOf(m: Machine, name: string): Promise<number | null> {
    const client = await RawClient.connect({ path: m.socket });
    await client.greet();
    const answers = await client.option(Option.INFO, infoData(name));
    client.close();
    const info = answers.find(({ type, data }) => type === OptionReply.INFO && data.readUInt16BE(0) === Info.EXPORT);
    return info === undefined ? null : Number(info.data.readBigUInt64BE(2));
  }

  test('the only volume is the default one', async (t) => {
    const m = await machine(t);
    await started(m);
    assert.equal(await sizeOf(m, ''), 256 * 1024);
    assert.equal(await sizeOf(m, 'vol'), 256 * 1024);
    for (const name of ['VOL', 'vol ', 'constructor', '__proto__']) assert.equal(await sizeOf(m, name), null, name);
  });

  test('of several none is, unless one is marked', async (t) => {
    const unmarked = await machine(t, { set: two });
    await started(unmarked);
    assert.equal(await sizeOf(unmarked, ''), null);
    assert.equal(await sizeOf(unmarked, 'b'), 512 * 1024);
    const marked = await machine(t, { set: [...two, 'volumes.b.default=true'] });
    await started(marked);
    assert.equal(await sizeOf(marked, ''), 512 * 1024);
  });

  test('one that another writer took is no longer offered, and its clients are told; the others go on', async (t) => {
    const bucket = new MemoryObjectStore();
    const clock = new VirtualClock();
    const m = await machine(t, { bucket, clock, set: two });
    const { run } = await started(m);
    const ofA = await m.attach('a');
    const ofB = await m.attach('b');
    const taker = await machine(t, { bucket, clock, set: two.slice(0, 2), instance: 'second' });
    void taker.run(['a']).catch(() => {});
    await clock.advance(LIFE_MS);
    await until(() => m.appliance.status().volumes[0]?.state === 'fenced');
    assert.equal(await sizeOf(m, 'a'), null);
    await ofA.untilClosed();
    assert.equal((await ofB.request({ ...writeOf(1) })).errno, NbdErrno.NONE);
    assert.equal(m.appliance.allLost.aborted, false);
    const [a, b] = m.appliance.status().volumes;
    assert.deepEqual([a?.state, a?.error?.code, a?.lease?.state], ['fenced', 'FENCED', 'other']);
    assert.equal(b?.state, 'serving');
    m.stop.abort();
    await clock.run(run);
    assert.equal(await isReleased(m.store, 'b'), true);
    assert.equal(await isReleased(m.store, 'a'), false, 'it is not ours to release');
  });

  test('once every volume is taken, it ends with FENCED and writes nothing more', async (t) => {
    const bucket = new MemoryObjectStore();
    const clock = new VirtualClock();
    const m = await machine(t, { bucket, clock });
    const { run } = await started(m);
    const client = await m.attach();
    const ended = assert.rejects(run, (error) => {
      assert.equal(exitCodeOf(error), 11);
      return error instanceof StorageError && error.code === 'FENCED';
    });
    const taker = await machine(t, { bucket, clock, instance: 'second' });
    void taker.run(['vol']).catch(() => {});
    await until(async () => {
      const lease = await bucket.get('vol/bucketdisk-lease.json');
      return lease !== null && JSON.parse(lease.body.toString()).instance === 'second';
    });
    const before = m.store.writes.length;
    await clock.advance(LIFE_MS / 3 + 1);
    await clock.run(ended);
    await client.untilClosed();
    const after = m.store.writes.slice(before);
    assert.ok(
      after.every(({ keys, options }) => keys[0] === 'vol/bucketdisk-lease.json' && options.ifMatch !== undefined),
      `it wrote ${after.map(({ keys }) => keys).join()}`,
    );
    await until(async () => {
      await clock.advance(1000);
      return taker.log.messages('info').includes('ready');
    });
    assert.deepEqual((await (await taker.attach()).request(writeOf(5))).errno, NbdErrno.NONE);
  });
});

describe('a start that fails', () => {
  test('because one of several volumes cannot be opened leaves no lease, no socket, no timer', async (t) => {
    const set = [
      'volumes.a.size=256KiB',
      'volumes.a.blockSize=4KiB',
      'volumes.b.size=256KiB',
      'volumes.b.blockSize=4KiB',
    ];
    const m = await machine(t, { set });
    await m.store.inner.put('b/holiday.jpg', Buffer.from('x'));
    const leaseOfA = async () => (await m.store.inner.head('a/bucketdisk-lease.json')) !== null;
    m.store.before = ({ kind, keys }) => (kind === 'list' && keys[0] === 'b/' ? until(leaseOfA) : undefined);
    await assert.rejects(m.run(), { code: 'INVALID', message: /holiday/ });
    assert.equal(await isReleased(m.store, 'a'), true);
    assert.equal(await m.store.inner.head('a/s3backer-mounted'), null);
    assert.deepEqual(await m.store.keys('b/'), ['b/holiday.jpg']);
    assert.equal(m.clock.sleeping, 0);
    assert.equal(await askAppliance(join(m.settings.cache.dir, 'control.sock'), 'GET', '/v1/status'), null);
    assert.equal(
      m.log.messages('info').some((line) => line.startsWith('stopped')),
      false,
    );
  });

  test('because somebody else listens where it would', async (t) => {
    const m = await machine(t);
    const other = createServer();
    other.listen(m.socket);
    await once(other, 'listening');
    t.after(() => {
      other.close();
    });
    await assert.rejects(m.run(), { code: 'HELD' });
    assert.equal(await isReleased(m.store), true);
    assert.equal(m.clock.sleeping, 0);
  });

  test('because it is told to stop while it waits for a lease: quietly, and others are not kept out', async (t) => {
    const bucket = new MemoryObjectStore();
    const clock = new VirtualClock();
    const set = ['volumes.vol.size=256KiB', 'volumes.vol.blockSize=4KiB'];
    const holder = await machine(t, { bucket, clock, set });
    await started(holder);
    const m = await machine(t, { bucket, clock, instance: 'second', set: [...set, 'volumes.free.size=1MiB'] });
    const run = m.run();
    await until(async () => (await bucket.head('free/bucketdisk-lease.json')) !== null);
    await settle(10);
    m.stop.abort();
    await clock.run(run);
    assert.equal(await isReleased(m.store, 'free'), true);
    assert.equal(m.appliance.status().nbd.length, 0);
    assert.equal(holder.appliance.status().volumes[0]?.state, 'serving');
  });

  test('because it is told to stop tells that an earlier run has left what is in no bucket', async (t) => {
    const bucket = new MemoryObjectStore();
    const clock = new VirtualClock();
    const set = ['cache.size=8MiB', 'cache.logSize=8MiB', 'volumes.vol.size=256KiB', 'volumes.vol.blockSize=4KiB'];
    const refusing = (m: Machine): void => {
      m.store.before = (operation) => {
        if (isPutOfBlock(operation, 3)) throw new StorageError('ACCESS_DENIED', 'not now');
      };
    };
    const first = await machine(t, { bucket, clock, set });
    refusing(first);
    const { run } = await started(first);
    const client = await first.attach();
    assert.equal((await client.request({ ...writeOf(3), flags: CommandFlag.FUA })).errno, NbdErrno.NONE);
    first.stop.abort();
    assert.equal(await clock.run(run), 'dirty');
    const other = ['volumes.other.size=256KiB', 'volumes.other.blockSize=4KiB'];
    const holder = await machine(t, { bucket, clock, instance: 'second', set: other });
    await started(holder);
    const m = await machine(t, { bucket, clock, dir: first.settings.cache.dir, set: [...set, ...other] });
    refusing(m);
    const again = m.run();
    await until(() => m.appliance.status().volumes[0]?.state === 'serving');
    m.stop.abort();
    assert.equal(await clock.run(again), 'dirty');
  });

  test('because the volume was taken while it was being opened', async (t) => {
    const m = await machine(t);
    const { run: first } = await started(m);
    m.stop.abort();
    await first;
    const again = await machine(t, { bucket: m.store.inner, clock: m.clock });
    let reads = 0;
    // The second look at the volume, under the lease, takes long; meanwhile the lease is deleted.
    again.store.before = async ({ kind, keys }) => {
      if (kind !== 'get' || keys[0] !== 'vol/bucketdisk-volume.json' || ++reads !== 2) return;
      await m.store.inner.delete(['vol/bucketdisk-lease.json']);
      await m.clock.sleep(LIFE_MS / 2);
    };
    await assert.rejects(m.clock.run(again.run()), { code: 'FENCED' });
    assert.equal(reads, 2);
    assert.equal(m.clock.sleeping, 0);
  });
});

describe('stopping', () => {
  test('with requests under way answers them, refuses new ones, and only then releases', async (t) => {
    const m = await machine(t);
    const { run } = await started(m);
    const client = await m.attach();
    const gate = Promise.withResolvers<void>();
    m.store.before = (operation) => (isPutOfBlock(operation, 5) ? gate.promise : undefined);
    client.send(writeOf(5));
    await until(() => m.store.operations.some((operation) => isPutOfBlock(operation, 5)));
    m.stop.abort();
    await settle(20);
    assert.equal(await isReleased(m.store), false);
    client.send({ type: Command.READ, offset: 0, length: 4096, cookie: 99n });
    const refused = await client.reply();
    assert.deepEqual([refused.cookie, refused.errno], [99n, NbdErrno.ESHUTDOWN]);
    gate.resolve();
    const answered = await client.reply();
    assert.deepEqual([answered.cookie, answered.errno], [6n, NbdErrno.NONE]);
    await client.untilClosed();
    await run;
    assert.deepEqual((await m.store.inner.get('vol/00000005'))?.body, DATA);
    assert.equal(await isReleased(m.store), true);
    assert.equal(m.clock.sleeping, 0);
  });

  test('hurried cuts off what is under way, and says so; the lease is left to lapse', async (t) => {
    const m = await machine(t);
    const { run } = await started(m);
    const ended = assert.rejects(run, { code: 'CANCELLED', message: /nothing that was answered is lost/ });
    const client = await m.attach();
    assert.equal((await client.request(writeOf(4))).errno, NbdErrno.NONE);
    m.store.before = (operation) => (isPutOfBlock(operation, 5) ? new Promise(() => {}) : undefined);
    client.send(writeOf(5));
    await until(() => m.store.operations.some((operation) => isPutOfBlock(operation, 5)));
    m.stop.abort();
    await settle(20);
    m.hurry.abort();
    await ended;
    assert.equal(await isReleased(m.store), false);
    assert.equal(m.clock.sleeping, 0);
    // The same appliance, started again, has what was answered.
    m.store.before = () => {};
    const again = await machine(t, { bucket: m.store.inner, clock: m.clock });
    await started(again);
    assert.deepEqual((await (await again.attach()).request(readOf(4))).data, DATA);
  });

  test('while the bucket does not answer ends when the drain time is over', async (t) => {
    const m = await machine(t, {
      set: ['volumes.vol.size=256KiB', 'volumes.vol.blockSize=4KiB', 'shutdown.drain=50ms'],
    });
    const { run } = await started(m);
    const ended = assert.rejects(run, { code: 'CANCELLED' });
    const client = await m.attach();
    m.store.before = (operation) =>
      operation.options.signal === undefined && operation.kind !== 'put' ? undefined : new Promise(() => {});
    client.send(writeOf(5));
    await until(() => m.store.operations.some((operation) => isPutOfBlock(operation, 5)));
    m.stop.abort();
    await client.untilClosed();
    await m.clock.run(ended);
    assert.equal(m.clock.sleeping, 0);
  });
});
