/** The composition root: what the command line can do, put together from settings, stores, volumes and servers. */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { askAppliance } from './admin/control-client.ts';
import { Appliance, runAppliance } from './appliance.ts';
import { bench } from './bench-service.ts';
import { exportUnsaved } from './cache-export.ts';
import type {
  Actions,
  ApplianceStatus,
  CommandContext,
  CreateOptions,
  DropOutcome,
  EraseOptions,
  EraseOutcome,
  ExportOutcome,
  FlushOutcome,
  HealthReport,
  JobRunOutcome,
  JobStatus,
  LiveStatus,
  MountOutcome,
  PastActivity,
  ProgressOptions,
  ResizeOptions,
  ResizeOutcome,
  ScanActionOptions,
  ScanOutcome,
  ServeOptions,
  UnmountOptions,
  UnmountOutcome,
  VolumeDescription,
  WarmOptions,
  WarmOutcome,
} from './cli/actions.ts';
import { EXIT_DIRTY, EXIT_OK } from './cli/exit-code.ts';
import { packageVersion } from './cli/package-version.ts';
import { configuredVolume } from './config/configured-volume.ts';
import type { VolumeSettings } from './config/settings.ts';
import { examine } from './doctor-service.ts';
import { findLeftovers } from './find-leftovers.ts';
import { hasty, lookAtVolume } from './idle-volumes.ts';
import { SystemClock } from './lib/clock.ts';
import { describeError, isStorageError, StorageError } from './lib/errors.ts';
import { weighExternalMemory } from './lib/external-memory.ts';
import { StateDir } from './lib/state-dir.ts';
import { SystemDisk } from './lib/system-disk.ts';
import { approximateSize, formatSize } from './lib/units.ts';
import { unmountLeftover } from './mount-service.ts';
import { scanAlone, scanServed } from './scan-command.ts';
import { cacheDirectory, Stores } from './stores.ts';
import { makeSupportBundle } from './support-service.ts';
import { CacheHome } from './volume/cache-home.ts';
import type { Claimant } from './volume/claim.ts';
import { eraseVolume } from './volume/erase-volume.ts';
import { type OpenOptions, openVolume } from './volume/open-volume.ts';
import { describeVolume } from './volume-status.ts';

/** Loaded by one request, so that progress can be told in between. */
const WARM_PIECE_BYTES = 64 * 1024 * 1024;
/** So long a bucket may take to tell of its volumes. */
const STATUS_DEADLINE_MS = 10_000;

/** So long a running appliance may take to say how it is: health checks have deadlines of their own. */
const HEALTH_DEADLINE_MS = 5_000;

/** How often a command that does the work itself looks how far that has come. */
const PROGRESS_EVERY_MS = 200;

const clock = new SystemClock();

/** The command line's actions on the real thing. */
export function createActions(): Actions {
  weighExternalMemory();
  return {
    ...{ live, past },
    ...{ serve, createVolume, status, health, resizeVolume, eraseVolume: eraseConfiguredVolume },
    ...{ mountVolume, unmountVolume, flushVolume, warmVolume, exportCache, dropCache },
    ...{ listJobs, jobHistory, runJob, scanVolume },
    ...{ examine, makeSupportBundle, bench },
  };
}

async function serve(context: CommandContext, options: ServeOptions): Promise<number> {
  const { settings, log } = context;
  for (const name of options.takeOver) configuredVolume(settings, name);
  const { nbd, fuse } = settings;
  if (nbd.listen.length === 0 && nbd.socket === null && fuse.dir === null && options.mounts === undefined) {
    throw new StorageError(
      'INVALID',
      'nothing to serve on: give an address in nbd.listen, a path in nbd.socket, or a directory in fuse.dir',
    );
  }
  return withStateDir(context, async (stateDir, held) => {
    if (!held) {
      throw new StorageError(
        'HELD',
        `another bucketdisk runs with the directory ${stateDir.path}: stop it, or set another cache.dir`,
      );
    }
    const stores = new Stores({ settings, clock, log });
    try {
      const claimant = claimantOf(stateDir.instance());
      const appliance = new Appliance({ settings, stores, stateDir, claimant, clock, log, version: packageVersion() });
      const closed = await runAppliance(appliance, options, context.signal);
      return closed === 'dirty' ? EXIT_DIRTY : EXIT_OK;
    } finally {
      await stores.close();
    }
  });
}

async function mountVolume(
  context: CommandContext,
  name: string,
  dir: string,
  { fs, via, stop }: Parameters<Actions['mountVolume']>[3],
): Promise<number> {
  const answer = (await ask(context, 'POST', '/v1/mount', { name, dir, fs, via })) as MountOutcome | null;
  if (answer === null) return serve(context, { takeOver: [], stop, mounts: [{ name, dir, fs, via }] });
  const text = context.json ? JSON.stringify(answer) : `${name}: ${answer.device} is mounted on ${answer.dir}`;
  context.stdout.write(`${text}\n`);
  return EXIT_OK;
}

async function unmountVolume(context: CommandContext, name: string, options: UnmountOptions): Promise<UnmountOutcome> {
  const { force } = options;
  const answer = (await ask(context, 'POST', '/v1/unmount', { name, force })) as UnmountOutcome | null;
  return (
    answer ??
    withStateDir(context, (stateDir, held) => {
      if (!held)
        throw new StorageError('HELD', `another bucketdisk is using the directory ${stateDir.path}: try again`);
      return unmountLeftover(stateDir, name, clock, context.log);
    })
  );
}

async function createVolume(
  context: CommandContext,
  name: string,
  { force }: CreateOptions,
): Promise<VolumeDescription> {
  if (await isServed(context, name)) {
    throw new StorageError('INVALID', `volume ${name} exists already: the running appliance serves it`);
  }
  return withVolume(context, name, async ({ volume, stores, claimant }) => {
    const { options, environment } = await stores.environment(volume, claimant, { cached: false });
    const opened = await openVolume(options, environment, {
      ...openOptions(context),
      create: { force },
      mustBeNew: true,
    });
    try {
      return describeVolume(volume, opened);
    } finally {
      await opened.close(context.signal);
    }
  });
}

async function status(context: CommandContext): Promise<ApplianceStatus> {
  const running = await ask(context, 'GET', '/v1/status');
  return running === null ? idleStatus(context) : (running as ApplianceStatus);
}

async function live(context: CommandContext): Promise<LiveStatus> {
  return (await askRunning(context, 'GET', '/v1/live')) as LiveStatus;
}

async function past(context: CommandContext, name: string): Promise<PastActivity> {
  return (await askRunning(context, 'POST', '/v1/past', { name })) as PastActivity;
}

async function health({ settings, signal }: CommandContext): Promise<HealthReport> {
  const deadline = AbortSignal.timeout(HEALTH_DEADLINE_MS);
  const until = AbortSignal.any([signal, deadline]);
  const path = StateDir.controlSocketPath(settings.cache.dir);
  try {
    const answer = (await askAppliance(path, 'GET', '/v1/health', undefined, until)) as HealthReport | null;
    return answer ?? { healthy: false, problems: [`no appliance runs with the directory ${settings.cache.dir}`] };
  } catch (error) {
    if (deadline.aborted) {
      return { healthy: false, problems: [`the appliance has not answered for ${HEALTH_DEADLINE_MS / 1000} s`] };
    }
    if (!isStorageError(error) || signal.aborted) throw error;
    return { healthy: false, problems: [describeError(error)] };
  }
}

async function resizeVolume(
  context: CommandContext,
  name: string,
  sizeBytes: number,
  { force, onProgress }: ResizeOptions,
): Promise<ResizeOutcome> {
  if (await isServed(context, name)) {
    return (await ask(context, 'POST', '/v1/resize', { name, sizeBytes, force })) as ResizeOutcome;
  }
  return withVolume(context, name, async ({ volume, stores, claimant, cache }) => {
    // Whatever size is configured: it is about to change.
    const { options, environment } = await stores.environment({ ...volume, sizeBytes: null }, claimant, {
      cached: cache !== null,
    });
    const opened = await openVolume(options, environment, openOptions(context));
    try {
      return {
        name,
        ...(await opened.resize(sizeBytes, {
          force,
          signal: context.signal,
          onDeleted: (done) => onProgress({ unit: 'blocks deleted', done, total: null }),
        })),
      };
    } finally {
      await opened.close(context.signal);
    }
  });
}

async function eraseConfiguredVolume(
  context: CommandContext,
  name: string,
  { onProgress }: EraseOptions,
): Promise<EraseOutcome> {
  if (await isServed(context, name)) {
    throw new StorageError('HELD', `volume ${name} is being served: stop the appliance before erasing it`);
  }
  return withVolume(context, name, async ({ volume, stores, claimant, cache }) => {
    const { options, environment } = await stores.environment(volume, claimant, { cached: false });
    const deletedObjects = await eraseVolume(options, environment, openOptions(context), cache, (done, total) =>
      onProgress({ unit: 'objects', done, total }),
    );
    return { name, url: options.url, deletedObjects };
  });
}

async function flushVolume(
  context: CommandContext,
  name: string,
  { onProgress }: ProgressOptions,
): Promise<FlushOutcome> {
  if (await isServed(context, name)) return flushServed(context, name, onProgress);
  return withVolume(context, name, async ({ volume, stores, claimant, cache }) => {
    // Without a cache everything that was answered is in the bucket.
    if (cache === null) return { name, dirtyBytes: 0 };
    const { options, environment } = await stores.environment(volume, claimant, { cached: true });
    const opened = await openVolume(options, environment, openOptions(context));
    const dirtyBytes = (): number => opened.cached?.status().dirtyBytes ?? 0;
    const total = dirtyBytes();
    const looking = setInterval(
      () => onProgress({ unit: 'bytes', done: total - dirtyBytes(), total }),
      PROGRESS_EVERY_MS,
    );
    try {
      await opened.close(context.signal);
    } finally {
      clearInterval(looking);
    }
    const left = dirtyBytes();
    if (left === 0) return { name, dirtyBytes: 0 };
    if (opened.lost !== null) throw opened.lost;
    throw new StorageError(
      context.signal.aborted ? 'CANCELLED' : 'UNAVAILABLE',
      `not everything was uploaded: ${approximateSize(left)} of ${name} are in the cache and not in the bucket; run it again`,
    );
  });
}

async function flushServed(
  context: CommandContext,
  name: string,
  onProgress: ProgressOptions['onProgress'],
): Promise<FlushOutcome> {
  let totalBytes = 0;
  for (;;) {
    const answer = (await ask(context, 'POST', '/v1/flush', { name })) as FlushOutcome | null;
    if (answer === null) throw new StorageError('UNAVAILABLE', 'the appliance has stopped');
    if (answer.dirtyBytes === 0) return { name, dirtyBytes: 0 };
    totalBytes = Math.max(totalBytes, answer.dirtyBytes);
    onProgress({ unit: 'bytes', done: totalBytes - answer.dirtyBytes, total: totalBytes });
  }
}

async function warmVolume(context: CommandContext, name: string, options: WarmOptions): Promise<WarmOutcome> {
  const { offset, length, onProgress } = options;
  if (!(await isServed(context, name))) {
    throw new StorageError('UNAVAILABLE', `volume ${name} is not being served: start the appliance first`);
  }
  let end = length === null ? Number.MAX_SAFE_INTEGER : offset + length;
  for (let at = offset; ; at += WARM_PIECE_BYTES) {
    const piece = { name, offset: at, length: Math.max(0, Math.min(WARM_PIECE_BYTES, end - at)) };
    const answer = (await ask(context, 'POST', '/v1/warm', piece)) as WarmAnswer | null;
    if (answer === null) throw new StorageError('UNAVAILABLE', 'the appliance has stopped');
    if (offset >= answer.sizeBytes) {
      const size = formatSize(answer.sizeBytes);
      throw new StorageError('INVALID', `there is nothing to load: volume ${name} ends at ${size}`);
    }
    end = Math.min(end, answer.sizeBytes);
    const done = Math.min(at + WARM_PIECE_BYTES, end) - offset;
    onProgress({ unit: 'bytes', done, total: end - offset });
    if (at + WARM_PIECE_BYTES >= end) return { name, bytes: end - offset, cachedBytes: answer.cachedBytes };
  }
}

async function scanVolume(context: CommandContext, name: string, options: ScanActionOptions): Promise<ScanOutcome> {
  if (await isServed(context, name)) {
    const cancelling = { ...context, signal: AbortSignal.timeout(STATUS_DEADLINE_MS) };
    return scanServed(
      name,
      options,
      (path, body) => ask(context, 'POST', path, body),
      (path, body) => ask(cancelling, 'POST', path, body),
    );
  }
  return withVolume(context, name, ({ cache, held, ...parts }) =>
    scanAlone(context, options, { ...parts, held, hasCache: cache !== null, disk: new SystemDisk(), clock }),
  );
}

async function listJobs(context: CommandContext): Promise<readonly JobStatus[]> {
  return ((await askRunning(context, 'GET', '/v1/jobs')) as { jobs: JobStatus[] }).jobs;
}

async function jobHistory(context: CommandContext, name: string | null): Promise<readonly JobRunOutcome[]> {
  return ((await askRunning(context, 'POST', '/v1/jobs/history', { name })) as { runs: JobRunOutcome[] }).runs;
}

async function runJob(context: CommandContext, name: string): Promise<JobRunOutcome> {
  for (let id: string | null = null; ; ) {
    const answer = (await askRunning(context, 'POST', '/v1/jobs/run', { name, id })) as {
      readonly id: string;
      readonly run: JobRunOutcome | null;
    };
    if (answer.run !== null) return answer.run;
    id = answer.id;
  }
}

function exportCache(context: CommandContext, name: string, path: string): Promise<ExportOutcome> {
  return withCache(context, name, (directory) => {
    const disk = new SystemDisk();
    return exportUnsaved(CacheHome.open(disk, directory), disk, path, name);
  });
}

function dropCache(
  context: CommandContext,
  name: string,
  { force }: { readonly force: boolean },
): Promise<DropOutcome> {
  return withCache(context, name, async (directory) => {
    const disk = new SystemDisk();
    if (!force && (await CacheHome.open(disk, directory).hasUnsaved())) {
      throw new StorageError(
        'INVALID',
        `the cache of ${name} has writes that are in no bucket: save them with "bucketdisk cache export ${name} FILE", or use --force`,
      );
    }
    CacheHome.discard(disk, directory);
    return { name, directory };
  });
}

/** NOT_FOUND where the volume has no cache, HELD where it is in use. */
function withCache<T>(context: CommandContext, name: string, work: (directory: string) => Promise<T>): Promise<T> {
  configuredVolume(context.settings, name);
  return withStateDir(context, async (_stateDir, held) => {
    const { dir } = context.settings.cache;
    const directory = cacheDirectory(dir, name);
    if (!CacheHome.exists(new SystemDisk(), directory)) {
      throw new StorageError('NOT_FOUND', `volume ${name} has no cache in ${dir}`);
    }
    if (!held) throw cacheInUse(name);
    return work(directory);
  });
}

interface WarmAnswer {
  readonly sizeBytes: number;
  readonly cachedBytes: number;
}

/** Opening by a command: nothing is made, nothing is taken from others, and another writer ends it. */
function openOptions({ signal, log }: CommandContext): OpenOptions {
  return { create: null, takeOver: false, signal, onLost: ({ message }) => log.error(message) };
}

function claimantOf(instance: string): Claimant {
  return { instance, host: hostname(), pid: process.pid };
}

/** `held`: no other process of ours uses the directory while `work` runs. */
async function withStateDir<T>(
  { settings }: CommandContext,
  work: (stateDir: StateDir, held: boolean) => Promise<T>,
): Promise<T> {
  const stateDir = new StateDir(settings.cache.dir);
  try {
    return await work(stateDir, stateDir.tryHold());
  } finally {
    stateDir.close();
  }
}

interface VolumeWork {
  readonly volume: VolumeSettings;
  readonly stores: Stores;
  readonly claimant: Claimant;
  /** No other process of ours uses the directory. */
  readonly held: boolean;
  /** What an appliance has left of the volume's cache, ours alone; null where there is none. */
  readonly cache: CacheHome | null;
}

async function withVolume<T>(
  context: CommandContext,
  name: string,
  work: (parts: VolumeWork) => Promise<T>,
): Promise<T> {
  const volume = configuredVolume(context.settings, name);
  return withStateDir(context, async (stateDir, held) => {
    const stores = new Stores({ settings: context.settings, clock, log: context.log });
    try {
      // Beside a running appliance a command is somebody else: it must not take that one's leases for a dead process's.
      const claimant = claimantOf(held ? stateDir.instance() : randomUUID());
      return await work({ volume, stores, claimant, held, cache: cacheOf(context, name, held) });
    } finally {
      await stores.close();
    }
  });
}

/** HELD where the cache is a running appliance's. */
function cacheOf({ settings }: CommandContext, name: string, held: boolean): CacheHome | null {
  const home = CacheHome.find(new SystemDisk(), cacheDirectory(settings.cache.dir, name));
  if (home === null || held) return home;
  throw cacheInUse(name);
}

function cacheInUse(name: string): StorageError {
  return new StorageError('HELD', `the cache of volume ${name} is in use by another bucketdisk: stop it first`);
}

function ask(
  { settings, signal }: CommandContext,
  method: 'GET' | 'POST',
  path: string,
  body?: object,
): Promise<unknown> {
  return askAppliance(StateDir.controlSocketPath(settings.cache.dir), method, path, body, signal);
}

/** UNAVAILABLE where no appliance runs. */
async function askRunning(...args: Parameters<typeof ask>): Promise<unknown> {
  const answer = await ask(...args);
  if (answer !== null) return answer;
  throw new StorageError('UNAVAILABLE', `no appliance runs with ${args[0].settings.cache.dir}: start it first`);
}

async function isServed(context: CommandContext, name: string): Promise<boolean> {
  configuredVolume(context.settings, name);
  const status = (await ask(context, 'GET', '/v1/status')) as ApplianceStatus | null;
  return status?.volumes.some((volume) => volume.name === name) ?? false;
}

/** What the buckets say while no appliance runs. Somebody waits for the answer, so that one that is down is soon told of. */
async function idleStatus(context: CommandContext): Promise<ApplianceStatus> {
  const { settings, log, signal } = context;
  const stores = new Stores({ settings: hasty(settings, STATUS_DEADLINE_MS), clock, log });
  try {
    const volumes = await Promise.all(
      Object.values(settings.volumes).map((volume) => lookAtVolume(volume, settings.cache.dir, stores, signal)),
    );
    const leftovers = await findLeftovers(settings, null);
    const leftoverOf = (name: string) => leftovers.find(({ volume }) => volume === name)?.state ?? null;
    // What was cut off is told of each volume as its error; somebody who has interrupted it wants none of that.
    if (signal.aborted) throw new StorageError('CANCELLED', 'interrupted', { cause: signal.reason });
    return {
      running: false,
      version: packageVersion(),
      pid: null,
      uptimeMs: null,
      nbd: [],
      fuse: null,
      mounts: [],
      tls: null,
      connections: [],
      store: stores.status(),
      uploadWindow: stores.uploadWindow,
      volumes: volumes.map((volume) => ({ ...volume, leftover: leftoverOf(volume.name) })),
      jobs: [],
      recentEvents: [],
    };
  } finally {
    await stores.close();
  }
}
