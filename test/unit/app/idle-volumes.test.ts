/** What is told of volumes that nobody serves: also why they would not be opened. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { loadSettings } from '../../../src/config/load-settings.ts';
import type { VolumeSettings } from '../../../src/config/settings.ts';
import { lookAtVolume } from '../../../src/idle-volumes.ts';
import { SystemClock } from '../../../src/lib/clock.ts';
import { silentLog } from '../../../src/lib/log.ts';
import { Stores } from '../../../src/stores.ts';
import { openVolume } from '../../../src/volume/open-volume.ts';

const CLAIMANT = { instance: 'i', host: 'h', pid: 1 };
const never = new AbortController().signal;

function settingsOf(...set: string[]) {
  return loadSettings({ defaultsFile: null, files: [], env: {}, set: ['store.url=memory:', ...set], cwd: '/' })
    .settings;
}

function volume(...set: string[]): VolumeSettings {
  return settingsOf(...set.map((one) => `volumes.vol.${one}`)).volumes.vol ?? assert.fail();
}

const ENCRYPTED = ['size=1MiB', 'encrypt=AES-256-CBC', 'password=right'];

/** A bucket with an encrypted volume of 1 MiB, which nobody holds. */
async function bucket(t: TestContext): Promise<Stores> {
  const stores = new Stores({
    settings: settingsOf('volumes.vol.size=1MiB'),
    clock: new SystemClock(),
    log: silentLog,
  });
  t.after(() => stores.close());
  const { options, environment } = await stores.environment(volume(...ENCRYPTED), CLAIMANT, { cached: false });
  const how = { create: { force: false }, takeOver: false, signal: never, onLost: () => undefined };
  const made = await openVolume(options, environment, how);
  await made.close(never);
  return stores;
}

async function look(stores: Stores, ...set: string[]) {
  const { state, sizeBytes, error } = await lookAtVolume(volume(...set), '/nowhere', stores, never);
  return { state, sizeBytes, error: error === null ? null : `${error.code}: ${error.message}` };
}

describe('a volume that nobody serves', () => {
  it('is idle, and nothing else is said where the configuration is right', async (t) => {
    const stores = await bucket(t);
    assert.deepEqual(await look(stores, ...ENCRYPTED), { state: 'idle', sizeBytes: 2 ** 20, error: null });
  });

  it('has the size that opening it finds, also where an old block 0 has come late', async (t) => {
    const stores = await bucket(t);
    const { options, environment } = await stores.environment(volume(...ENCRYPTED), CLAIMANT, { cached: false });
    const how = { create: null, takeOver: false, signal: never, onLost: () => undefined };
    const opened = await openVolume(options, environment, how);
    await opened.device.write(0, Buffer.alloc(4096, 1), { fua: true });
    const key = `${options.prefix}00000000`;
    const old = (await environment.store.get(key)) ?? assert.fail();
    await opened.resize(2 ** 21, { force: false });
    await opened.close(never);
    const { contentEncoding = '', metadata } = old;
    await environment.store.put(key, old.body, { headers: { contentEncoding, metadata } });
    assert.deepEqual(await look(stores, 'size=2MiB', ...ENCRYPTED.slice(1)), {
      ...{ state: 'idle', sizeBytes: 2 ** 21, error: null },
    });
  });

  it('has an error where it would not be opened, and is what it is all the same', async (t) => {
    const stores = await bucket(t);
    const larger = await look(stores, 'size=2MiB', ...ENCRYPTED.slice(1));
    assert.match(larger.error ?? '', /^INVALID: .* is 1MiB, but the configuration says 2MiB/);
    assert.deepEqual([larger.state, larger.sizeBytes], ['idle', 2 ** 20]);
    assert.match(
      (await look(stores, 'size=512KiB', 'blockSize=64KiB', ...ENCRYPTED.slice(1))).error ?? '',
      /run "[^"]* --force"$/,
    );
    const wrong = await look(stores, ...ENCRYPTED.slice(0, 2), 'password=wrong');
    assert.match(wrong.error ?? '', /^ACCESS_DENIED: .*the password is wrong: correct volumes\.vol\.password/);
    assert.match((await look(stores, 'size=1MiB')).error ?? '', /^ACCESS_DENIED: .* is encrypted with AES-256-CBC/);
  });

  it('that is not there yet has one where it could not be made', async (t) => {
    const stores = new Stores({ settings: settingsOf(), clock: new SystemClock(), log: silentLog });
    t.after(() => stores.close());
    assert.deepEqual(await look(stores, 'size=1MiB'), { state: 'absent', sizeBytes: null, error: null });
    assert.match((await look(stores, 'compress=zstd')).error ?? '', /^NOT_FOUND: .*set a size to create one/);
  });
});
