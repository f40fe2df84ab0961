/** `bucketdisk top`: what is on its screen, and how it begins and ends on a terminal and elsewhere. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { LiveStatus, PastActivity } from '../../../src/cli/actions.ts';
import { condense, sparkline } from '../../../src/cli/sparkline.ts';
import { topLines, topScreen } from '../../../src/cli/top-screen.ts';
import { StorageError } from '../../../src/lib/errors.ts';
import { FakeHost, runCommand } from './fake-host.ts';

const LIVE: LiveStatus = {
  status: {
    ...{ version: '1.2.3', pid: 77, uptimeMs: 3_723_000, nbd: ['127.0.0.1:10809'], fuse: null, mounts: [], jobs: [] },
    store: { description: 's3://bucket', health: 'failing', error: 'no route\x1b[2J to host' },
    connections: [
      {
        ...{ peer: '10.0.0.7:4711', state: 'attached', tls: 'TLSv1.3', client: ['cn:nas\x07'], volume: 'media' },
        ...{ readOnly: false, connectedMs: 61_000, requests: 12, requestsInFlight: 3, inFlightBytes: 0 },
        ...{ readBytes: 4096, writtenBytes: 8192 },
      },
    ],
    volumes: [
      {
        ...{ name: 'media', url: 's3://bucket/media/', state: 'serving', error: null, sizeBytes: 2 ** 40 },
        ...{ blockSizeBytes: 2 ** 20, layout: 'blocks', durability: 'local', compress: 'none', encryption: null },
        ...{
          readOnly: false,
          sharedDisk: false,
          default: true,
          lease: null,
          survey: null,
          storedBlocks: 7,
          connections: 1,
        },
        cache: {
          ...{ dirtyBytes: 5 * 2 ** 20, oldestDirtyMs: 19_000, logUsedBytes: 50, logSizeBytes: 100, waitingWrites: 0 },
          ...{ damagedPages: 0, logError: null, uploading: true, uploadedBytes: 1, cachedBytes: 2 ** 28 },
          ...{ cacheSizeBytes: 2 ** 29, uploadError: { code: 'UNAVAILABLE', message: 'gone', sinceMs: 61_000 } },
        },
      },
    ],
    recentEvents: [
      { at: '2026-01-02T03:04:05.000Z', level: 'error', volume: 'media', message: 'cannot\x1b[31m upload' },
      { at: '2026-01-02T03:05:05.000Z', level: 'info', volume: null, message: 'later' },
    ],
  },
  activity: {
    ...{ at: '2026-01-02T12:03:22.000Z', intervalMs: 2000 },
    volumes: {
      media: {
        ...{ readBytes: 1_478_000, writtenBytes: 0, reads: 44, writes: 9.44, flushes: 0, readMs: 0.091, readMs99: 2 },
        ...{
          writeMs: 181,
          writeMs99: 1500,
          flushMs: null,
          hitShare: 0.918,
          dirtyBytes: 5,
          uploadedBytes: 1,
          drainMs: 4000,
        },
      },
    },
    store: { requests: 4.1, failures: 0, sentBytes: 2048, receivedBytes: 0, getMs: 12.34, putMs: null },
    process: { cpuShare: 0.031, residentBytes: 2 ** 27 },
  },
  cost: {
    currency: 'EUR',
    requests: { write: 1, read: 2, free: 3 },
    receivedBytes: 4,
    cost: { write: 0.001, read: 0.002, received: 0.0005 },
  },
  changes: [],
};

const PAST: PastActivity = {
  ...{ intervalMs: 2000, at: LIVE.activity?.at ?? null },
  volume: {
    ...{ readBytes: [0, 1024, 2048], writtenBytes: [null, null, 0], reads: [], writes: [], flushes: [], readMs: [1] },
    ...{ readMs99: [], writeMs: [], writeMs99: [], flushMs: [], hitShare: [], dirtyBytes: [4096], uploadedBytes: [] },
  },
  store: { requests: [], failures: [], sentBytes: [], receivedBytes: [], getMs: [], putMs: [] },
};

const past = new Map([['media', PAST]]);

describe('the screen', () => {
  const plain = topScreen(LIVE, past, { columns: 200, rows: null, color: false });

  test('says what matters', () => {
    const text = plain.join('\n');
    assert.match(text, /^bucketdisk 1\.2\.3 {3}up 1 h 2 m {3}pid 77 {3}cpu 3\.1% {3}memory 128 MiB {3}12:03:22$/m);
    assert.match(text, /^bucket s3:\/\/bucket: FAILS$/m);
    assert.match(
      text,
      /4\.1 requests\/s {3}GET 12\.3 ms {3}PUT - {3}sent 2 KiB\/s {3}fetched 0 B\/s {3}0\.00350 EUR so far/,
    );
    assert.match(
      text,
      /^media +serving +1\.41 MiB\/s +0 B\/s +5 MiB \(19 s old, 4 s left\) +91 us +181 ms +91\.8% +\[#####\.{5}\] +256 MiB of 512 MiB +44 +9\.4 +0$/m,
    );
    assert.match(text, /^media: cannot upload for 1 m 1 s: gone$/m);
    assert.match(text, /^ {2}read +█ {2}most 2 KiB\/s$/m);
    assert.match(text, /^10\.0\.0\.7:4711 +/m);
    // The newest first.
    assert.ok(text.indexOf('03:05:05') < text.indexOf('03:04:05'));
  });

  test('lets nobody else write to the terminal', () => {
    const controls = (text: string): string[] => [...text].filter((one) => one < ' ' || one === '\x7f');
    assert.deepEqual(controls(plain.join('')), []);
    const colored = topScreen(LIVE, past, { columns: 200, rows: null, color: true }).join('');
    const ours = ['\x1b[0m', '\x1b[1m', '\x1b[31m'].reduce((text, code) => text.replaceAll(code, ''), colored);
    assert.deepEqual(controls(ours), []);
  });

  test('fits the terminal', () => {
    for (const columns of [20, 60, 100]) {
      const lines = topScreen(LIVE, past, { columns, rows: 10, color: false });
      assert.equal(lines.length, 10);
      for (const line of lines) assert.ok(line.length <= columns, line);
    }
  });

  test('has what matters most, in whole columns, where the terminal is narrow', () => {
    const lines = topScreen(LIVE, past, { columns: 80, rows: null, color: false });
    const titles = lines.find((line) => line.startsWith('VOLUME'));
    assert.match(titles ?? '', /^VOLUME +STATE +READ +WRITTEN +NOT UPLOADED( +[A-Z ]+)*$/);
    assert.match(lines.join('\n'), /^media .* 5 MiB \(19 s old, 4 s left\)( +91 us)?$/m);
  });

  test('is there also before anything has been measured', () => {
    assert.ok(topScreen({ ...LIVE, activity: null }, new Map(), { columns: 80, rows: null, color: false }).length > 3);
    assert.match(topLines({ ...LIVE, activity: null }).join(), /media: read - \(-\/s, -\)/);
  });
});

describe('a line of blocks', () => {
  test('ends with the newest, and stands at the right', () => {
    assert.equal(sparkline([1, 2, null, 4], 6), '  ▃▅ █');
    assert.equal(sparkline([9, 0, 0], 2), '▁▁');
    assert.equal(sparkline([], 3), '   ');
  });

  test('keeps what stood out where a longer time is to fit', () => {
    assert.deepEqual(condense([1, 9, 2, null, null, 3], 2), [9, 2, 3]);
    assert.deepEqual(condense([5, 1, 2], 2), [5, 2]);
    assert.deepEqual(condense([null, null], 2), [null]);
  });
});

describe('top', () => {
  const actions = { live: async () => LIVE, past: async () => PAST };

  test('prints everything once where that is asked for', async () => {
    const { exitCode, stdout } = await runCommand('top --once', new FakeHost({ actions }));
    assert.equal(exitCode, 0);
    assert.match(stdout, /VOLUME +STATE/);
    assert.ok(!stdout.includes('\x1b'));
    const json = await runCommand('top --once --json', new FakeHost({ actions }));
    assert.deepEqual(JSON.parse(json.stdout), LIVE);
  });

  test('prints a line each time where it is no terminal, until the appliance is gone', async () => {
    let asked = 0;
    const live = async (): Promise<LiveStatus> => {
      if (++asked > 2) throw new StorageError('UNAVAILABLE', 'no appliance runs');
      return LIVE;
    };
    const { exitCode, stdout, stderr } = await runCommand(
      'top --interval 500ms',
      new FakeHost({ actions: { ...actions, live } }),
    );
    assert.equal(exitCode, 1);
    assert.equal(stdout.split('\n').length, 3);
    assert.match(stdout, /^12:03:22 media: read 1\.41 MiB\/s \(44\/s, 91 us\), written/);
    assert.match(stderr, /no appliance runs/);
  });

  test('leaves the terminal as it was, at a key', async () => {
    const host = new FakeHost({ actions, isTTY: true });
    const modes: boolean[] = [];
    Object.assign(host.stdin, { setRawMode: (raw: boolean) => modes.push(raw) });
    const running = runCommand('top', host);
    while (!host.stdout.text.includes('q ends')) await turn();
    host.stdin.write('q');
    const { exitCode, stdout } = await running;
    assert.equal(exitCode, 0);
    assert.deepEqual(modes, [true, false]);
    assert.ok(stdout.startsWith('\x1b[?1049h'));
    assert.ok(stdout.endsWith('\x1b[?25h\x1b[?1049l'));
  });

  test('leaves it so also where the appliance goes away', async () => {
    const live = async (): Promise<LiveStatus> => {
      throw new StorageError('UNAVAILABLE', 'no appliance runs');
    };
    const { exitCode, stdout } = await runCommand('top', new FakeHost({ actions: { live }, isTTY: true }));
    assert.equal(exitCode, 1);
    assert.ok(stdout.endsWith('\x1b[?25h\x1b[?1049l'));
  });
});
