/** Each check of the doctor's, on a machine that is sound and on one that is broken in the way it is for. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkCacheDisk } from '../../../src/doctor/checks/cache-disk.ts';
import { checkConfiguration } from '../../../src/doctor/checks/configuration.ts';
import { checkCredentials, type FoundCredentials } from '../../../src/doctor/checks/credentials.ts';
import { checkFuse, checkLoop, checkNbd, checkPropagation } from '../../../src/doctor/checks/devices.ts';
import { checkRegion, checkSkew } from '../../../src/doctor/checks/endpoint.ts';
import { checkLoopDevices, checkMounts, leftoverResults } from '../../../src/doctor/checks/leftovers.ts';
import { checkListening } from '../../../src/doctor/checks/listening.ts';
import { checkCapabilities, checkDescriptors, checkMemory, checkNode } from '../../../src/doctor/checks/process.ts';
import { checkTls } from '../../../src/doctor/checks/tls.ts';
import { leaseResults, volumeResults } from '../../../src/doctor/checks/volumes.ts';
import type { FindingState, Result } from '../../../src/doctor/finding.ts';
import { StorageError } from '../../../src/lib/errors.ts';
import { parseMountTable } from '../../../src/lib/mount-table.ts';
import { EXPIRY_WARNING_MS } from '../../../src/nbd/tls/credential-files.ts';
import { FakeMachine, factsOf, volumeFacts } from './fake-machine.ts';

const GIB = 2 ** 30;
const TABLE = parseMountTable('22 1 254:1 / / rw shared:1 - ext4 /dev/root rw\n');

/** One finding, of that state, whose message and remedy match. */
function only(results: readonly Result[], state: FindingState, message: RegExp, remedy?: RegExp): void {
  const states = results.map((result) => result.state);
  assert.deepEqual(states, [state], JSON.stringify(results));
  has(results, state, message, remedy);
}

function has(results: readonly Result[], state: FindingState, message: RegExp, remedy?: RegExp): void {
  const found = results.find((result) => result.state === state && message.test(result.message));
  assert.ok(found, `${state} ${message} is not in ${JSON.stringify(results)}`);
  if (remedy !== undefined) assert.match(found.remedy ?? '', remedy);
  if (state === 'fail') assert.ok(found.remedy, 'what fails has a remedy');
}

const allOk = (results: readonly Result[]): void => {
  assert.ok(results.length > 0 && results.every(({ state }) => state === 'ok'), JSON.stringify(results));
};

const table = (lines: string) => parseMountTable(`22 1 254:1 / / rw shared:1 - ext4 /dev/root rw\n${lines}\n`);

describe('the process', () => {
  it('wants a Node that is new enough', () => {
    const machine = new FakeMachine();
    allOk(checkNode(machine));
    machine.nodeVersion = '22.9.0';
    only(checkNode(machine), 'fail', /too old/, /Node 24/);
    machine.nodeVersion = '25.0.0';
    only(checkNode(machine), 'warn', /long support/);
  });

  it('wants CAP_SYS_ADMIN where something is to be mounted', () => {
    const machine = new FakeMachine();
    allOk(checkCapabilities(machine, { running: null, mounting: true }));
    machine.texts.set('/proc/self/status', 'CapEff:\t00000000a80425fb\n');
    only(checkCapabilities(machine, { running: null, mounting: true }), 'fail', /CAP_SYS_ADMIN/, /--cap-add/);
    only(checkCapabilities(machine, { running: null, mounting: false }), 'warn', /NBD does not need it/);
    // That of the appliance counts, where one runs.
    machine.texts.set('/proc/4711/status', 'CapEff:\t000001ffffffffff\n');
    allOk(checkCapabilities(machine, { ...factsOf([], {}), mounting: true }));
  });

  it('wants descriptors for every client', () => {
    const machine = new FakeMachine();
    allOk(checkDescriptors(machine, factsOf()));
    machine.texts.set('/proc/self/limits', 'Max open files            64     4096    files\n');
    only(checkDescriptors(machine, factsOf()), 'fail', /only 64 open files/, /ulimit/);
    machine.texts.set('/proc/self/limits', 'Max open files            1024     4096    files\n');
    allOk(checkDescriptors(machine, factsOf()));
    only(checkDescriptors(machine, factsOf(['nbd.connectionsMax=2000'])), 'fail', /only 1024/);
  });

  it('wants memory, by the tightest limit there is', () => {
    const machine = new FakeMachine();
    allOk(checkMemory(machine, factsOf()));
    machine.texts.set('/proc/self/cgroup', '0::/system.slice/bucketdisk.service\n');
    machine.texts.set('/sys/fs/cgroup/system.slice/bucketdisk.service/memory.max', 'max\n');
    allOk(checkMemory(machine, factsOf()));
    machine.texts.set('/sys/fs/cgroup/system.slice/memory.max', `${128 * 2 ** 20}\n`);
    only(checkMemory(machine, factsOf()), 'warn', /cgroup.*128/, /nbd\.inFlight/);
    machine.texts.set('/proc/self/cgroup', '5:cpu,memory:/docker/abc\n');
    allOk(checkMemory(machine, factsOf()));
    machine.texts.set('/sys/fs/cgroup/memory/memory.limit_in_bytes', `${64 * 2 ** 20}\n`);
    only(checkMemory(machine, factsOf()), 'warn', /64/);
  });
});

describe('the configuration', () => {
  it('is told with everything that is wrong with it', () => {
    allOk(checkConfiguration({ problems: [], files: ['/etc/b.json5'], volumeNames: ['media'] }));
    const results = checkConfiguration({ problems: ['a: wrong', 'b: worse'], files: [], volumeNames: [] });
    assert.deepEqual(
      results.map(({ state, message }) => [state, message]),
      [
        ['fail', 'a: wrong'],
        ['fail', 'b: worse'],
      ],
    );
  });
});

describe('credentials', () => {
  const now = new Date('2026-01-01T00:00:00Z');
  const store = { url: 's3://b', credentials: null, profile: null, anonymous: false };
  const found = (facts: Partial<FoundCredentials>) => async (): Promise<FoundCredentials> => ({
    ...{ accessKeyId: 'AKIAIOSFODNN7EXAMPLE', expiresAt: null, ways: [] },
    ...facts,
  });
  const check = (input: Partial<Parameters<typeof checkCredentials>[0]>): Promise<Result[]> =>
    checkCredentials(
      { store, usesS3: true, configuredIn: 'x', now, find: found({}), ...input },
      AbortSignal.timeout(1000),
    );

  it('are told with where they come from, and never whole', async () => {
    only(await check({ usesS3: false }), 'ok', /none are needed/);
    only(await check({ store: { ...store, anonymous: true } }), 'ok', /not signed/);
    const credentials = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 's', sessionToken: null };
    only(
      await check({ store: { ...store, credentials }, configuredIn: 'a.json5:3' }),
      'ok',
      /\.\.\.MPLE, from a\.json5:3/,
    );
    only(await check({ find: found({ ways: ['CREDENTIALS_CODE', 'CREDENTIALS_ENV_VARS'] }) }), 'ok', /the environment/);
    only(await check({ find: found({ ways: ['CREDENTIALS_IMDS'] }) }), 'ok', /instance's role/);
  });

  it('are missed, and looked at for when they expire', async () => {
    const none = (): Promise<FoundCredentials> => Promise.reject(new Error('no provider'));
    only(await check({ find: none }), 'fail', /no credentials were found/, /store\.accessKeyId/);
    const minutes = (count: number): Date => new Date(now.getTime() + count * 60_000);
    only(await check({ find: found({ expiresAt: minutes(-1) }) }), 'fail', /has expired/);
    only(await check({ find: found({ expiresAt: minutes(10), ways: ['CREDENTIALS_ENV_VARS'] }) }), 'warn', /10 m/);
    allOk(await check({ find: found({ expiresAt: minutes(10), ways: ['CREDENTIALS_IMDS'] }) }));
  });
});

describe('the service', () => {
  const ours = new Date('2026-01-01T00:00:00Z');
  const answer = { status: 200, date: ours, ours, region: 'eu-central-1' };
  const off = (ms: number) => ({ ...answer, date: new Date(ours.getTime() + ms) });

  it('has a clock that ours agrees with', () => {
    only([checkSkew(answer)], 'ok', /agree/);
    only([checkSkew(off(-120_000))], 'warn', /120 s ahead/, /chrony/);
    only([checkSkew(off(1_000_000))], 'fail', /1000 s behind.*refused/);
    only([checkSkew({ ...answer, date: null })], 'warn', /does not tell/);
  });

  it('has the bucket in the region that is configured', () => {
    only([checkRegion(answer, 'eu-central-1')], 'ok', /as configured/);
    only([checkRegion(answer, 'us-east-1')], 'fail', /in eu-central-1/, /store\.region to "eu-central-1"/);
    only([checkRegion({ ...answer, region: null }, 'us-east-1')], 'ok', /does not tell/);
  });
});

describe('volumes', () => {
  it('are told with what is wrong with them', () => {
    only(volumeResults([], [], false), 'warn', /no volume/);
    assert.deepEqual(volumeResults([], ['media'], false), []);
    allOk(volumeResults([volumeFacts(), volumeFacts({ name: 'new', state: 'absent' })], ['media', 'new'], false));
    const error = { code: 'ACCESS_DENIED', message: 'wrong password' };
    only(volumeResults([volumeFacts({ error, state: 'failed' })], ['media'], true), 'fail', /wrong password/);
    only(volumeResults([volumeFacts({ state: 'opening' })], ['media'], true), 'warn', /not being served/);
    has(volumeResults([volumeFacts({ state: 'serving' })], ['media', 'late'], true), 'warn', /late is configured/);
    const cache = {
      dirtyBytes: 4096,
      damagedPages: 2,
      logError: 'EIO',
      uploadError: { code: 'UNAVAILABLE', message: 'away' },
    };
    const ill = volumeResults([volumeFacts({ state: 'serving', cache })], ['media'], true);
    for (const what of [/EIO/, /2 pages/, /cannot be uploaded/]) has(ill, 'fail', what);
  });

  it('are told with who holds them', () => {
    only(leaseResults([volumeFacts()]), 'ok', /nobody/);
    const lease = (state: 'held' | 'left' | 'other' | 'expired' | 'token') =>
      leaseResults([volumeFacts({ lease: { holder: 'nas:12', state, renewedAgoMs: 5000 } })]);
    only(lease('held'), 'ok', /the running appliance, nas:12, renewed 5/);
    only(lease('left'), 'ok', /left by nas:12.*next start/);
    only(lease('other'), 'warn', /another appliance, nas:12/, /--take-over media/);
    only(lease('expired'), 'ok', /lapsed/);
    only(lease('token'), 'warn', /token of nas:12/);
    only(leaseResults([volumeFacts({ readOnly: true })]), 'ok', /takes no lease/);
  });
});

describe('the cache disk', () => {
  const look = (machine: FakeMachine, lines = '', set: readonly string[] = []): Promise<Result[]> =>
    checkCacheDisk(machine, table(lines), factsOf(set));

  it('is sound on a disk with room', async () => {
    allOk(await look(new FakeMachine()));
  });

  it('is named where it is none', async () => {
    const on = (type: string): string => `23 22 0:9 / /var/lib/bucketdisk rw - ${type} none rw`;
    has(await look(new FakeMachine(), on('tmpfs')), 'warn', /in memory/, /durability/);
    has(await look(new FakeMachine(), on('overlay')), 'warn', /container's own layer/, /PersistentVolumeClaim/);
    has(await look(new FakeMachine(), on('nfs4')), 'warn', /over the network/);
    has(await look(new FakeMachine(), on('tmpfs'), ['cache.size=0']), 'ok', /no volume has a cache/);
  });

  it('is timed: a sync that is too fast is none, a slow one is felt, one that fails is fatal', async () => {
    const machine = new FakeMachine();
    machine.syncMs = 0.002;
    has(await look(machine), 'warn', /no disk is that fast/, /power cut/);
    has(await look(machine, '23 22 0:9 / /var/lib/bucketdisk rw - tmpfs none rw'), 'ok', /2 us/);
    machine.syncMs = 80;
    has(await look(machine), 'warn', /80 ms/, /SSD/);
    machine.syncMs = Object.assign(new Error('i/o error'), { code: 'EIO' });
    has(await look(machine), 'fail', /EIO/, /dmesg/);
    machine.syncMs = Object.assign(new Error('full'), { code: 'ENOSPC' });
    has(await look(machine), 'fail', /ENOSPC/, /make room/);
  });

  it('has room for the logs, and for the pages, less what they have already', async () => {
    const machine = new FakeMachine();
    machine.free = { totalBytes: 100 * GIB, freeBytes: GIB / 2 };
    has(await look(machine), 'fail', /write logs need/, /cache\.logSize/);
    machine.free = { totalBytes: 100 * GIB, freeBytes: 5 * GIB };
    has(await look(machine), 'warn', /will need/);
    machine.addFile('/var/lib/bucketdisk/volumes/media/log', '0', GIB);
    machine.addFile('/var/lib/bucketdisk/volumes/media', 'lines', 8 * GIB);
    has(await look(machine), 'ok', /5(\.0)? ?GiB free, 2(\.0)? ?GiB will be needed/);
  });

  it('can be used, or be made', async () => {
    const machine = new FakeMachine();
    machine.openErrors.set('/var/lib/bucketdisk', 'EACCES');
    only(await look(machine), 'fail', /cannot be used \(EACCES\)/);
    const set = ['cache.dir=/run/later/cache'];
    has(await look(new FakeMachine(), '', set), 'ok', /made at the first start/);
    const closed = new FakeMachine();
    closed.openErrors.set('/run', 'EACCES');
    only(await look(closed, '', set), 'fail', /cannot be made in \/run/);
    const file = new FakeMachine();
    file.files.set('/var/lib/bucketdisk', { kind: 'file', usedBytes: 1 });
    only(await look(file), 'fail', /ENOTDIR/);
  });
});

describe('what mounting needs', () => {
  it('is /dev/fuse, and the programs', () => {
    const machine = new FakeMachine();
    allOk(checkFuse(machine, true));
    machine.missingPrograms.add('umount');
    only(checkFuse(machine, true), 'fail', /umount/);
    machine.openErrors.set('/dev/fuse', 'ENOENT');
    only(checkFuse(machine, true), 'fail', /is not there; fuse\.dir needs it/, /modprobe fuse/);
    only(checkFuse(machine, false), 'warn', /only volumes as files/);
    machine.openErrors.set('/dev/fuse', 'EPERM');
    only(checkFuse(machine, true), 'fail', /cannot be opened \(EPERM\)/, /--cap-add/);
  });

  it('is loop devices, or the client of the kernel', () => {
    const machine = new FakeMachine();
    allOk([...checkLoop(machine), ...checkNbd(machine)]);
    machine.missingPrograms.add('losetup').add('nbd-client');
    only(checkLoop(machine), 'warn', /losetup/);
    only(checkNbd(machine), 'warn', /nbd-client/, /install/);
    machine.openErrors.set('/dev/loop-control', 'ENOENT');
    machine.files.delete('/sys/module/nbd');
    only(checkLoop(machine), 'warn', /loop-control/, /modprobe loop/);
    only(checkNbd(machine), 'warn', /not loaded/, /modprobe nbd/);
  });

  it('is propagation, where others are to see it', () => {
    allOk(checkPropagation(TABLE, '/srv/disks', false));
    const lines = table('23 22 0:9 / /srv rw - ext4 /dev/sdb rw');
    only(checkPropagation(lines, '/srv/disks', true), 'warn', /below \/srv are private/, /rshared/);
    only(checkPropagation(lines, '/srv/disks', false), 'warn', /namespace/, /make-rshared \/srv/);
    only(checkPropagation([], '/srv/disks', false), 'warn', /cannot be told/);
  });
});

describe('what a crash has left', () => {
  const mounts = table('23 22 0:9 / /srv/disks rw - fuse.bucketdisk bucketdisk rw');

  it('is mounts that nobody serves', async () => {
    const machine = new FakeMachine();
    allOk(await checkMounts(machine, TABLE, null));
    allOk(await checkMounts(machine, mounts, null));
    machine.answering.set('/srv/disks', 'dead');
    only(await checkMounts(machine, mounts, null), 'fail', /stale/, /umount -l \/srv\/disks/);
    machine.answering.set('/srv/disks', 'no');
    only(await checkMounts(machine, mounts, null), 'fail', /does not answer/);
    allOk(await checkMounts(machine, mounts, { ...factsRunning(), fuse: { dir: '/srv/disks' } }));
  });

  const factsRunning = () => {
    const { running } = factsOf([], {});
    assert.ok(running);
    return running;
  };

  it('is loop devices on files that are gone', async () => {
    const machine = new FakeMachine();
    machine.directories.set('/sys/block', ['sda', 'loop0', 'loop1']);
    machine.texts.set('/sys/block/loop0/loop/backing_file', '/srv/disks/media\n');
    machine.texts.set('/sys/block/loop1/loop/backing_file', '/somebody/elses.img\n');
    const dirs = ['/srv/disks'];
    only(await checkLoopDevices(machine, TABLE, dirs, null), 'fail', /loop0 is attached/, /losetup -d \/dev\/loop0/);
    const mounted = table('24 22 7:0 / /mnt/the\\040media rw - ext4 /dev/loop0 rw');
    const remedy = /umount -l '\/mnt\/the media' && losetup/;
    only(await checkLoopDevices(machine, mounted, dirs, null), 'fail', /mounted on \/mnt\/the media/, remedy);
    allOk(await checkLoopDevices(machine, mounts, dirs, null));
    machine.answering.set('/srv/disks', 'dead');
    only(await checkLoopDevices(machine, mounts, [], null), 'fail', /loop0/);
    const running = { ...factsRunning(), mounts: [{ dir: '/mnt', device: '/dev/loop0' }] };
    allOk(await checkLoopDevices(machine, mounts, dirs, running));
  });

  it('is writes that are in no bucket', () => {
    allOk(leftoverResults([]));
    const one = { volume: 'media', configured: true, state: 'unsaved', reason: null } as const;
    allOk(leftoverResults([{ ...one, state: 'saved' }]));
    only(leftoverResults([one]), 'warn', /media has writes/, /bucketdisk flush media/);
    only(leftoverResults([{ ...one, configured: false }]), 'fail', /not configured any more/, /cache export media/);
    only(leftoverResults([{ ...one, state: 'busy' }]), 'warn', /in use/);
    only(leftoverResults([{ ...one, state: 'unknown', reason: 'damaged' }]), 'fail', /damaged/);
  });
});

describe('addresses', () => {
  const set = ['nbd.listen=127.0.0.1:10809', 'admin.listen=127.0.0.1:9310', 'nbd.socket=/run/nbd.sock'];

  it('are free, or ours', async () => {
    allOk(await checkListening(new FakeMachine(), factsOf(set)));
    const machine = new FakeMachine();
    machine.listenErrors.set('127.0.0.1:10809', 'EADDRINUSE');
    only(
      await checkListening(machine, factsOf(set, { nbd: ['127.0.0.1:10809'] })),
      'ok',
      /the running appliance listens/,
    );
  });

  it("are in use, not ours to use, or nobody's", async () => {
    for (const [code, message] of [
      ['EADDRINUSE', /10809.*in use/],
      ['EACCES', /may not/],
      ['EADDRNOTAVAIL', /no address of this machine/],
      ['EINVAL', /cannot be listened on/],
    ] as const) {
      const machine = new FakeMachine();
      machine.listenErrors.set('127.0.0.1:10809', code);
      has(await checkListening(machine, factsOf(set)), 'fail', message);
    }
    const machine = new FakeMachine();
    machine.files.set('/run/nbd.sock', { kind: 'socket', usedBytes: 0 });
    allOk(await checkListening(machine, factsOf(set)));
    machine.listeningSockets.add('/run/nbd.sock');
    has(await checkListening(machine, factsOf(set)), 'fail', /another process listens/);
    machine.files.set('/run/nbd.sock', { kind: 'file', usedBytes: 0 });
    has(await checkListening(machine, factsOf(set)), 'fail', /no socket/);
    machine.files.delete('/run/nbd.sock');
    machine.openErrors.set('/run', 'ENOENT');
    has(await checkListening(machine, factsOf(set)), 'fail', /cannot be made in \/run/);
  });
});

describe('the files of TLS', () => {
  const now = new Date('2026-01-01T00:00:00Z');
  const certificate = (validTo: string) => ({ subject: 'CN=disks', validTo: new Date(validTo) });

  it('are none where it is off', async () => {
    only(await checkTls(null, now, EXPIRY_WARNING_MS), 'ok', /off/);
  });

  it('hold a certificate that is valid, soon no longer, or expired, and keys', async () => {
    const keys = { certificate: null, pskKeys: { size: 2 } };
    only(await checkTls(async () => keys, now, EXPIRY_WARNING_MS), 'ok', /keys of 2 users/);
    for (const [validTo, state, message] of [
      ['2027-01-01T00:00:00Z', 'ok', /CN=disks is valid until 2027-01-01/],
      ['2026-01-10T00:00:00Z', 'warn', /expires in 9 d/],
      ['2025-12-31T00:00:00Z', 'fail', /has expired, on 2025-12-31/],
    ] as const) {
      const load = async () => ({ certificate: certificate(validTo), pskKeys: null });
      only(await checkTls(load, now, EXPIRY_WARNING_MS), state, message);
    }
  });

  it('cannot be used', async () => {
    const load = () => Promise.reject(new StorageError('INVALID', 'cannot read /nope: no such file'));
    only(await checkTls(load, now, EXPIRY_WARNING_MS), 'fail', /cannot read \/nope/, /nbd\.tls/);
  });
});
