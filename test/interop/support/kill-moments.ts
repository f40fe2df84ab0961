/** When an appliance with a cache is killed: at a time of the seed's choosing, or in the middle of something that matters. */
import { type FSWatcher, watch } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Appliance } from '../../support/appliance.ts';
import { BLOCK_KEY } from './buckets.ts';
import type { DiskRig } from './disk-rig.ts';

/** `at random` is in the list twice. */
export const MOMENTS = [
  'at random',
  'before an upload',
  'after an upload',
  'at random',
  'at the index of the read cache',
  'at the head of the log',
] as const;

export type Moment = (typeof MOMENTS)[number];

const DELAY_MS_MIN = 20;
const DELAY_MS_MAX = 1200;
/** So long is waited for a moment that may not come. */
const PATIENCE_MS = 2500;
const STARTING_MS_MAX = 1200;
const INDEX_FILES = ['index.new', 'index.journal', 'index'];

/** Kills it at the moment, and where that does not come, soon. Returns which it was. */
export async function killAtMoment(rig: DiskRig, appliance: Appliance, moment: Moment): Promise<Moment> {
  const kill = (): void => appliance.process.signal('SIGKILL');
  const nth = rig.random.int(1, 6);
  const sometime = rig.random.int(DELAY_MS_MIN, DELAY_MS_MAX);
  if (moment === 'before an upload' || moment === 'after an upload') {
    if (await killAtUpload(rig, kill, nth, moment === 'after an upload')) return moment;
  } else if (moment === 'at the index of the read cache') {
    if (await killAtFile(rig.cacheDir, INDEX_FILES, nth, kill)) return moment;
  } else if (moment === 'at the head of the log') {
    if (await killAtFile(join(rig.cacheDir, 'log'), ['head'], nth, kill)) return moment;
  }
  await delay(sometime);
  kill();
  return 'at random';
}

/** Starts it, and kills it before it is ready or a little later: at some time, or when it writes to its cache. */
export async function killWhileStarting(rig: DiskRig, appliance: Pick<Appliance, 'configFile'>): Promise<void> {
  const starting = rig.beginStart(appliance);
  const kill = (): void => starting.signal('SIGKILL');
  if (rig.random.chance(0.5)) {
    await delay(rig.random.int(0, STARTING_MS_MAX));
  } else {
    const [directory, names] = rig.random.chance(0.5)
      ? [join(rig.cacheDir, 'log'), null]
      : [rig.cacheDir, [...INDEX_FILES, 'volume.json.new', 'volume.json']];
    await killAtFile(directory, names, rig.random.int(1, 4), kill);
  }
  await starting.stop('SIGKILL');
}

/** With the nth block that is sent: before it is there, or when it is and nobody has been told. */
async function killAtUpload({ server }: DiskRig, kill: () => void, nth: number, answer: boolean): Promise<boolean> {
  if (server === null) return false;
  const gate = server.faults.hold({ op: 'PutObject', key: BLOCK_KEY, nth }, { answer });
  try {
    const arrived = gate.arrived().then(
      () => {
        kill();
        return true;
      },
      // The server of the test is gone.
      () => false,
    );
    return await withPatience(arrived);
  } finally {
    // What was sent by then arrives: the system would have sent it on.
    gate.release();
  }
}

/** With the nth change to one of the files of the directory, null: to any. */
async function killAtFile(
  directory: string,
  names: readonly string[] | null,
  nth: number,
  kill: () => void,
): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  let left = nth;
  let watcher: FSWatcher;
  try {
    watcher = watch(directory, (_event, name) => {
      if (names !== null && (name === null || !names.includes(name))) return;
      if (--left !== 0) return;
      kill();
      resolve(true);
    });
  } catch {
    // It was killed before it made the directory.
    return false;
  }
  try {
    return await withPatience(promise);
  } finally {
    watcher.close();
  }
}

async function withPatience(moment: Promise<boolean>): Promise<boolean> {
  const patience = new AbortController();
  const waited = delay(PATIENCE_MS, false, { signal: patience.signal }).catch(() => false);
  try {
    return await Promise.race([moment, waited]);
  } finally {
    patience.abort();
  }
}
