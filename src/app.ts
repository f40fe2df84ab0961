/** The composition root: what the command line can do, put together from settings, stores, volumes and servers. */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { askAppliance } from './admin/control-client.ts';
import { Appliance, runAppliance } from './appliance.ts';
import type {
  Actions,
  ApplianceStatus,
  CommandContext,
  CreateOptions,
  EraseOptions,
  EraseOutcome,
  ResizeOptions,
  ResizeOutcome,
  ServeOptions,
  VolumeDescription,
  VolumeStatus,
} from './cli/actions.ts';
import { packageVersion } from './cli/package-version.ts';
import { configuredVolume } from './config/configured-volume.ts';
import type { VolumeSettings } from './config/settings.ts';
import { SystemClock } from './lib/clock.ts';
import { isStorageError, StorageError } from './lib/errors.ts';
import { StateDir } from './lib/state-dir.ts';
import { Stores } from './stores.ts';
import type { Claimant } from './volume/claim.ts';
import { eraseVolume } from './volume/erase-volume.ts';
import { type OpenOptions, openVolume } from './volume/open-volume.ts';
import { describeVolume, idleVolumeStatus, missingVolumeStatus } from './volume-status.ts';

/** So long a bucket may take to tell of its volumes. */
const STATUS_DEADLINE_MS = 10_000;

const clock = new SystemClock();

/** The command line's actions on the real thing. */
export function createActions(): Actions {
  return { serve, createVolume, status, resizeVolume, eraseVolume: eraseConfiguredVolume };
}

async function serve(context: CommandContext, options: ServeOptions): Promise<number> {
  const { settings, log } = context;
  for (const name of options.takeOver) configuredVolume(settings, name);
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
      await runAppliance(appliance, options, context.signal);
    } finally {
      await stores.close();
    }
    return 0;
  });
}

function createVolume(context: CommandContext, name: string, { force }: CreateOptions): Promise<VolumeDescription> {
  return withVolume(context, name, async ({ volume, stores, claimant }) => {
    const { options, environment } = await stores.environment(volume, claimant);
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

async function resizeVolume(
  context: CommandContext,
  name: string,
  sizeBytes: number,
  { force }: ResizeOptions,
): Promise<ResizeOutcome> {
  if (await isServed(context, name)) {
    return (await ask(context, 'POST', '/v1/resize', { name, sizeBytes, force })) as ResizeOutcome;
  }
  return withVolume(context, name, async ({ volume, stores, claimant }) => {
    // Whatever size is configured: it is about to change.
    const { options, environment } = await stores.environment({ ...volume, sizeBytes: null }, claimant);
    const opened = await openVolume(options, environment, openOptions(context));
    try {
      return { name, ...(await opened.resize(sizeBytes, { force })) };
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
  return withVolume(context, name, async ({ volume, stores, claimant }) => {
    const { options, environment } = await stores.environment(volume, claimant);
    const deletedObjects = await eraseVolume(options, environment, openOptions(context), (done) =>
      onProgress({ unit: 'objects', done, total: null }),
    );
    return { name, url: options.url, deletedObjects };
  });
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
      return await work({ volume, stores, claimant });
    } finally {
      await stores.close();
    }
  });
}

function ask(
  { settings, signal }: CommandContext,
  method: 'GET' | 'POST',
  path: string,
  body?: object,
): Promise<unknown> {
  return askAppliance(StateDir.controlSocketPath(settings.cache.dir), method, path, body, signal);
}

async function isServed(context: CommandContext, name: string): Promise<boolean> {
  configuredVolume(context.settings, name);
  const status = (await ask(context, 'GET', '/v1/status')) as ApplianceStatus | null;
  return status?.volumes.some((volume) => volume.name === name) ?? false;
}

/** What the buckets say while no appliance runs. Somebody waits for the answer, so that one that is down is soon told of. */
async function idleStatus(context: CommandContext): Promise<ApplianceStatus> {
  const { settings, log, signal } = context;
  const { store } = settings;
  const retryDeadlineMs = Math.min(store.retryDeadlineMs, STATUS_DEADLINE_MS);
  const requestTimeoutMs = Math.min(store.requestTimeoutMs, STATUS_DEADLINE_MS);
  const hasty = { ...settings, store: { ...store, retryDeadlineMs, requestTimeoutMs } };
  const stores = new Stores({ settings: hasty, clock, log });
  try {
    const volumes = await Promise.all(Object.values(settings.volumes).map((volume) => lookAt(volume, stores, signal)));
    return {
      running: false,
      version: packageVersion(),
      pid: null,
      uptimeMs: null,
      nbd: [],
      tls: null,
      connections: [],
      store: stores.status(),
      volumes,
    };
  } finally {
    await stores.close();
  }
}

async function lookAt(volume: VolumeSettings, stores: Stores, signal: AbortSignal): Promise<VolumeStatus> {
  try {
    const { options, environment } = await stores.environment(volume, claimantOf(randomUUID()));
    return await idleVolumeStatus(volume, options, environment.store, signal);
  } catch (error) {
    if (!isStorageError(error)) throw error;
    return missingVolumeStatus(volume, stores.locate(volume).url, 'failed', error);
  }
}
