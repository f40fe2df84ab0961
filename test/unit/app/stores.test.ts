/** The buckets of an appliance: opened once each, closed all, and asked again where they failed. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { loadSettings } from '../../../src/config/load-settings.ts';
import type { VolumeSettings } from '../../../src/config/settings.ts';
import { SystemClock } from '../../../src/lib/clock.ts';
import { StorageError } from '../../../src/lib/errors.ts';
import { silentLog } from '../../../src/lib/log.ts';
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import type { ObjectStore } from '../../../src/object/object-store.ts';
import { Stores } from '../../../src/stores.ts';
import { rejectsWith } from '../../conformance/object-store/suite.ts';
import { failing, ScriptedObjectStore } from '../object/scripted-store.ts';

const CLAIMANT = { instance: 'i', host: 'h', pid: 1 };

const { settings } = loadSettings({
  defaultsFile: null,
  files: [],
  env: {},
  set: [
    'store.url=memory:',
    'store.retryDeadline=0',
    'volumes.a.size=1MiB',
    'volumes.b.size=1MiB',
    'volumes.b.url=file:///b',
  ],
  cwd: '/',
});

function volume(name: 'a' | 'b'): VolumeSettings {
  return settings.volumes[name] ?? assert.fail();
}

function storesOn(open: (url: string) => Promise<ObjectStore>): Stores {
  return new Stores({ settings, clock: new SystemClock(), log: silentLog, open });
}

describe('Stores', () => {
  it('opens a bucket once, and closes all of them', async () => {
    const opened: string[] = [];
    const closed: string[] = [];
    const stores = storesOn(async (url) => {
      opened.push(url);
      const store = new MemoryObjectStore();
      store.close = async () => void closed.push(url);
      return store;
    });
    const [first, again] = await Promise.all([
      stores.environment(volume('a'), CLAIMANT),
      stores.environment(volume('a'), CLAIMANT),
    ]);
    assert.equal(first.environment.store, again.environment.store);
    await stores.environment(volume('b'), CLAIMANT);
    assert.equal(opened.length, 2);
    await stores.close();
    assert.deepEqual(closed.sort(), opened.sort());
  });

  it('tries again to open what could not be opened, and closes the others meanwhile', async () => {
    let broken = true;
    let closed = 0;
    const stores = storesOn(async (url) => {
      if (broken && url.startsWith('file:')) throw new StorageError('ACCESS_DENIED', 'not yours');
      const store = new MemoryObjectStore();
      store.close = async () => {
        closed += 1;
      };
      return store;
    });
    await stores.environment(volume('a'), CLAIMANT);
    const opening = stores.environment(volume('b'), CLAIMANT);
    await Promise.all([assert.rejects(opening, rejectsWith('ACCESS_DENIED')), stores.close()]);
    assert.equal(closed, 1);
    broken = false;
    await stores.environment(volume('b'), CLAIMANT);
  });

  it('asks again what a bucket honours where it could not be found out', async () => {
    const bucket = new ScriptedObjectStore();
    const stores = storesOn(async () => bucket);
    const { environment } = await stores.environment(volume('a'), CLAIMANT);
    bucket.script.push({ before: failing(new StorageError('UNAVAILABLE', 'not now')) });
    await assert.rejects(environment.conditionalPuts(), rejectsWith('UNAVAILABLE'));
    assert.deepEqual(await environment.conditionalPuts(), { ifNoneMatch: true, ifMatch: true });
    const { attempts } = bucket;
    await environment.conditionalPuts();
    assert.equal(bucket.attempts, attempts, 'what was found out is kept');
  });
});
