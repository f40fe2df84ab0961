/** A running appliance: opens its volumes, serves them, tells its state, and stops without losing an answer. */

import { type ControlRoutes, ControlServer } from './admin/control-server.ts';
import { healthProblems } from './admin/health.ts';
import { AdminService } from './admin-service.ts';
import type { ApplianceStatus, HealthReport, ServeOptions, VolumeStatus } from './cli/actions.ts';
import type { Settings, VolumeSettings } from './config/settings.ts';
import { EventService } from './event-service.ts';
import type { FuseServer } from './fuse/server.ts';
import { fuseServerFor, fuseStatus } from './fuse-service.ts';
import { JobsService } from './jobs-service.ts';
import type { Clock } from './lib/clock.ts';
import { raceAbort, withDeadline } from './lib/deadline.ts';
import { describeError, isStorageError, StorageError } from './lib/errors.ts';
import { StateDir } from './lib/state-dir.ts';
import { SystemDisk } from './lib/system-disk.ts';
import type { Reading } from './metrics/sources.ts';
import { mountRequest, unmountRequest } from './mount-requests.ts';
import { forTheMount, MountService } from './mount-service.ts';
import { accessOf } from './nbd/access.ts';
import type { ClientIdentity, NbdExport } from './nbd/exports.ts';
import { NbdServer } from './nbd/server.ts';
import { reportText } from './report-text.ts';
import { ScanService } from './scan-service.ts';
import type { Stores } from './stores.ts';
import { announceReady, listenNames } from './telemetry/banner.ts';
import type { Logger } from './telemetry/logger.ts';
import { handshakeTls, type TlsService, tlsServiceFor } from './tls-service.ts';
import type { BlockDevice } from './volume/block-device.ts';
import type { Claimant } from './volume/claim.ts';
import { openVolume } from './volume/open-volume.ts';
import type { Closed, Volume } from './volume/volume.ts';
import { VolumeRequests } from './volume-requests.ts';
import {
  connectionStatus,
  describeVolume,
  logFullness,
  missingVolumeStatus,
  openVolumeStatus,
  volumeReading,
} from './volume-status.ts';

/** What is left of the drain time for the volumes once the clients are gone; at least this much. */
const CLOSE_DEADLINE_MIN_MS = 2_000;

/** The kernel of this machine, on a socket that only its root may open: access lists are about clients. */
const KERNEL_CLIENT: ClientIdentity = Object.freeze({ tls: null, names: Object.freeze(['kernel']) });

export interface ApplianceParts {
  readonly settings: Settings;
  readonly stores: Stores;
  readonly stateDir: StateDir;
  readonly claimant: Claimant;
  readonly clock: Clock;
  readonly log: Logger;
  readonly version: string;
}

interface Slot {
  readonly settings: VolumeSettings;
  volume: Volume | null;
}

export class Appliance {
  readonly #parts: ApplianceParts;
  readonly #slots: readonly Slot[];
  readonly #nbd: NbdServer;
  readonly #tls: TlsService | null;
  readonly #fuse: FuseServer;
  readonly #mounts: MountService;
  readonly #control: ControlServer;
  readonly #admin: AdminService;
  #phase: 'starting' | 'running' | 'stopping' = 'starting';
  readonly #startedAtMs: number;
  #abandonedAs: Closed = 'clean';
  readonly #allLost = new AbortController();
  readonly #stopping = new AbortController();
  readonly #jobs: JobsService;
  readonly #scans: ScanService;
  readonly #events: EventService;

  constructor(parts: ApplianceParts) {
    const { settings, stateDir, log, clock } = parts;
    this.#parts = parts;
    this.#startedAtMs = clock.now();
    this.#slots = Object.values(settings.volumes).map((volume) => ({ settings: volume, volume: null }));
    this.#tls = tlsServiceFor({ settings: settings.nbd.tls, clock, log });
    this.#nbd = new NbdServer({
      exports: { list: (client) => this.#exports(client), find: (name, client) => this.#find(name, client) },
      log,
      limits: settings.nbd,
      ...(this.#tls === null ? {} : { tls: this.#tls.acceptor }),
    });
    const logs = () => this.#slots.flatMap(({ volume }) => (volume === null ? [] : logFullness(volume)));
    this.#events = new EventService({ settings: settings.events, logs, version: parts.version, clock, log });
    this.#scans = new ScanService({
      ...{ settings: settings.scan, disk: new SystemDisk(), directory: stateDir.path, clock, log },
      volumeOf: (name) => this.#openVolumeOf(name),
      volumes: () => this.#openVolumes(),
      isBusy: () => parts.stores.isBusy,
      mounted: (name) => this.#mounts.status().find((mount) => mount.name === name) ?? null,
    });
    this.#jobs = new JobsService({
      settings,
      disk: new SystemDisk(),
      directory: stateDir.path,
      volumes: () => this.#openVolumes(),
      scan: (signal) => this.#scans.scanAll(signal),
      report: () => reportText(this.status()),
      clock,
      log,
    });
    this.#fuse = fuseServerFor({ files: () => this.#served(), instance: parts.claimant.instance, clock, log });
    this.#mounts = new MountService({
      stateDir: stateDir.path,
      fuseDir: settings.fuse.dir,
      fuse: this.#fuse,
      serveOn: async (path) => {
        await this.#nbd.listen({ path, tls: 'off', client: KERNEL_CLIENT });
      },
      device: (name) => this.#deviceToAttach(name),
      clock,
      log,
    });
    const requests = new VolumeRequests({
      volumeOf: (name) => this.#openVolumeOf(name),
      attachedTo: (name) => this.#attachedTo(name) + this.#fuse.openFiles(name),
      stopping: this.#stopping.signal,
    });
    const work: ControlRoutes = { ...requests.routes, ...this.#jobs.routes, ...this.#scans.routes };
    this.#admin = new AdminService({
      settings: settings.admin,
      cost: settings.cost,
      problems: () => this.#health().problems,
      read: () => this.#reading(),
      status: () => this.status(),
      drawMap: async (name, range) => this.#openVolumeOf(name).map(range),
      control: work,
      clock,
      log,
    });
    this.#control = new ControlServer(
      StateDir.controlSocketPath(stateDir.path),
      {
        'GET /v1/status': async () => this.status(),
        'GET /v1/health': async () => this.#health(),
        'POST /v1/mount': (body) => this.#mounts.mount(mountRequest(body), this.#stopping.signal),
        'POST /v1/unmount': (body) => this.#mounts.unmount(unmountRequest(body)),
        ...work,
        ...this.#admin.routes,
      },
      log,
    );
  }

  /** What became of the volumes where the start was given up: what an earlier run had left may be in the cache still. */
  get abandonedAs(): Closed {
    return this.#abandonedAs;
  }

  /** Aborts when other writers have taken every volume: there is nothing left to serve. */
  get allLost(): AbortSignal {
    return this.#allLost.signal;
  }

  /** Opens every volume and listens. When it rejects, everything that was started has been stopped again. */
  async start(
    takeOver: readonly string[],
    signal: AbortSignal,
    hurry: AbortSignal,
    mounts: NonNullable<ServeOptions['mounts']> = [],
  ): Promise<void> {
    const { settings, log } = this.#parts;
    this.#events.start();
    const unlessTaken = mounts.length === 0 ? (listening: Promise<unknown>) => listening : forTheMount(log);
    try {
      await this.#control.listen();
      await unlessTaken(this.#admin.start());
      await this.#tls?.start();
      await this.#mounts.reclaim();
      await this.#openAll(takeOver, signal);
      const { listen, socket, tls } = settings.nbd;
      for (const target of listen) await unlessTaken(this.#nbd.listen({ ...target, tls: handshakeTls(tls.mode) }));
      if (socket !== null) await unlessTaken(this.#nbd.listen({ path: socket, tls: handshakeTls(tls.socketMode) }));
      if (settings.fuse.dir !== null) await this.#fuse.mount(settings.fuse.dir, signal);
      for (const mount of mounts) await this.#mounts.mount(mount, signal);
    } catch (error) {
      // Not hurried by the signal that may have ended the start: nobody was served, and the leases can be given back.
      this.#abandonedAs = await this.#shutDown(hurry);
      await this.#events.close();
      throw error;
    }
    this.#phase = 'running';
    this.#jobs.schedule.start();
    this.#announce();
  }

  /** Reads the files with certificates and keys again. Who is attached stays so. */
  async reloadCredentials(): Promise<void> {
    if (this.#tls === null) this.#parts.log.info('there is nothing to read again: TLS is off');
    else await this.#tls.reload();
  }

  /**
   * Refuses new requests, waits for those under way until the drain time is over or `hurry` aborts, and releases the
   * volumes. What is written is uploaded until then too. Tells the worst that became of a volume.
   */
  async stop(hurry: AbortSignal): Promise<Closed> {
    const closed = await this.#shutDown(hurry);
    const { log } = this.#parts;
    const event = { event: 'stopped' };
    if (closed === 'clean') log.info('stopped; everything that was answered is in the bucket', event);
    else if (closed === 'dirty')
      log.warn('stopped; not everything is in the bucket: the rest is safe in the cache', event);
    else log.warn('stopped; requests that had not been answered were cut off', event);
    await this.#events.close();
    return closed;
  }

  async #shutDown(hurry: AbortSignal): Promise<Closed> {
    this.#phase = 'stopping';
    this.#stopping.abort();
    this.#parts.stores.liftUploadWindows();
    const jobs = Promise.all([this.#jobs.schedule.stop(), this.#scans.stop()]);
    const { clock, settings } = this.#parts;
    const startedAtMs = clock.now();
    const leftOfDrain = (): number => Math.max(0, settings.shutdown.drainMs - (clock.now() - startedAtMs));
    // Filesystems first, which write what they still have; then clients of both kinds; then the volumes.
    const down = await withDeadline(clock, leftOfDrain(), (until) => this.#mounts.close(until), hurry);
    await withDeadline(clock, leftOfDrain(), (until) => raceAbort(jobs, until), hurry);
    const close = async (deadlineMs: number): Promise<boolean> => {
      const unmounted = this.#fuse.close({ deadlineMs });
      await this.#nbd.close({ deadlineMs });
      return unmounted;
    };
    const cut = (): void => void close(0);
    const drained = close(hurry.aborted ? 0 : leftOfDrain());
    hurry.addEventListener('abort', cut, { once: true });
    const unmounted = (await drained) && down;
    hurry.removeEventListener('abort', cut);
    await this.#tls?.stop();
    const leftMs = Math.max(settings.shutdown.drainMs - (clock.now() - startedAtMs), CLOSE_DEADLINE_MIN_MS);
    const closed = await withDeadline(
      clock,
      leftMs,
      (giveUp) =>
        Promise.allSettled(this.#slots.flatMap(({ volume }) => (volume === null ? [] : this.#close(volume, giveUp)))),
      hurry,
    );
    await this.#admin.close();
    await this.#control.close();
    const results = closed.map((result) => {
      // Each volume has been closed; one of them not as it should be.
      if (result.status === 'rejected') throw result.reason;
      return result.value;
    });
    if (!unmounted) return 'cut';
    return (['cut', 'dirty'] as const).find((worst) => results.includes(worst)) ?? 'clean';
  }

  status(): ApplianceStatus {
    const { clock, version, stores } = this.#parts;
    const connections = this.#nbd.connections();
    return {
      running: true,
      version,
      pid: process.pid,
      uptimeMs: Math.round(clock.now() - this.#startedAtMs),
      nbd: this.#listenNames(),
      fuse: fuseStatus(this.#fuse),
      mounts: this.#mounts.status(),
      tls: this.#tls?.status() ?? null,
      connections: connections.map(connectionStatus),
      store: stores.status(),
      uploadWindow: stores.uploadWindow,
      volumes: this.#slots.map((slot) =>
        this.#volumeStatus(slot, connections.filter((one) => one.export === slot.settings.name).length),
      ),
      jobs: this.#jobs.schedule.status(),
      recentEvents: this.#events.log.recent(),
    };
  }

  #health(): HealthReport {
    const { fuse } = this.#parts.settings;
    const problems = healthProblems({
      phase: this.#phase,
      volumes: this.#slots.map((slot) => this.#volumeStatus(slot, 0)),
      fuseMounted: fuse.dir === null ? null : (this.#fuse?.status()?.mounted ?? false),
      lostMounts: this.#mounts.lost(),
    });
    return { healthy: problems.length === 0, problems };
  }

  /** What the metrics are read from. */
  #reading(): Reading {
    const { clock, version, stores, settings } = this.#parts;
    return {
      version,
      ready: this.#health().healthy,
      volumes: this.#slots.map(({ settings, volume }) => volumeReading(settings, volume)),
      nbd: {
        counters: this.#nbd.counters(),
        connections: this.#nbd.connections(),
        inFlightBytes: this.#nbd.bytesInFlight,
      },
      fuse: this.#fuse?.status() ?? null,
      store: { ...stores.counters(), prices: settings.cost },
      uploadWindow: stores.uploadWindow,
      jobs: this.#jobs.schedule.counters(),
      now: clock.date(),
    };
  }

  #volumeStatus({ settings, volume }: Slot, connections: number): VolumeStatus {
    const location = this.#parts.stores.locate(settings);
    if (volume === null) return missingVolumeStatus(settings, location.url, 'opening', null);
    return openVolumeStatus(settings, volume, this.#parts.claimant, connections);
  }

  /** All of them or none: the first that fails ends the waiting of the others. */
  async #openAll(takeOver: readonly string[], signal: AbortSignal): Promise<void> {
    const failed = new AbortController();
    const until = AbortSignal.any([signal, failed.signal]);
    let firstError: unknown;
    const opening = this.#slots.map((slot) =>
      this.#open(slot, takeOver.includes(slot.settings.name), until).catch((error: unknown) => {
        if (!failed.signal.aborted) firstError = error;
        failed.abort();
      }),
    );
    await Promise.all(opening);
    if (failed.signal.aborted) throw firstError;
  }

  async #open(slot: Slot, takeOver: boolean, signal: AbortSignal): Promise<void> {
    const { stores, log } = this.#parts;
    const { options, environment } = await stores.environment(slot.settings, this.#parts.claimant, { cached: true });
    const onLost = (error: StorageError): void => {
      log.error('another writer has taken the volume; it is no longer served', {
        volume: options.name,
        error: describeError(error),
        event: 'lease-lost',
      });
      if (slot.volume !== null) void this.#nbd.detach(slot.volume.device, { deadlineMs: 0 });
      if (this.#slots.every(({ volume }) => volume?.lost)) this.#allLost.abort(error);
    };
    try {
      slot.volume = await openVolume(options, environment, { create: { force: false }, takeOver, signal, onLost });
      // Taken from us while it was being opened.
      if (slot.volume.lost !== null) throw slot.volume.lost;
    } catch (error) {
      // Those that are given up because another one failed are not what went wrong.
      if (!isStorageError(error, 'CANCELLED')) {
        log.error('cannot open the volume', { volume: options.name, url: options.url, error: describeError(error) });
      }
      throw error;
    }
  }

  async #close(volume: Volume, giveUp: AbortSignal): Promise<Closed> {
    const closed = await volume.close(giveUp).catch((error: unknown) => {
      this.#parts.log.error('a volume could not be closed: what was not flushed may be lost', {
        volume: volume.name,
        error: describeError(error),
      });
      throw error;
    });
    this.#parts.log.debug('volume closed', { volume: volume.name, closed });
    return closed;
  }

  /** `closed`: why no client may attach at the moment, or null. */
  #served(): { name: string; settings: VolumeSettings; device: BlockDevice; closed: string | null }[] {
    return this.#slots.flatMap(({ settings, volume }) => {
      if (volume === null || volume.lost !== null) return [];
      return [{ name: settings.name, settings, device: volume.device, closed: volume.closedToClients }];
    });
  }

  /** What there is for a client: a volume it may not open does not exist for it. */
  #exports(client: ClientIdentity): NbdExport[] {
    return this.#served().flatMap(({ name, settings, device, closed }) => {
      const access = client === KERNEL_CLIENT ? 'write' : accessOf(settings.access, client);
      if (access === 'none') return [];
      return [{ name, description: settings.description ?? '', device, closed, readOnly: access === 'read' }];
    });
  }

  /** No name asks for the default volume. */
  #find(name: string, client: ClientIdentity): NbdExport | undefined {
    const wanted = name === '' ? this.#defaultName() : name;
    return this.#exports(client).find((one) => one.name === wanted);
  }

  /** The only volume, or the one marked as the default. */
  #defaultName(): string | undefined {
    const chosen = this.#slots.length === 1 ? this.#slots[0] : this.#slots.find(({ settings }) => settings.default);
    return chosen?.settings.name;
  }

  #attachedTo(name: string): number {
    return this.#nbd.connections().filter((connection) => connection.export === name).length;
  }

  #openVolumeOf(name: string): Volume {
    const slot = this.#slots.find(({ settings }) => settings.name === name);
    if (slot === undefined) throw new StorageError('NOT_FOUND', `this appliance has no volume ${name}`);
    if (slot.volume === null) throw new StorageError('UNAVAILABLE', `volume ${name} is not open yet`);
    return slot.volume;
  }

  #deviceToAttach(name: string): BlockDevice {
    const { device, closedToClients } = this.#openVolumeOf(name);
    if (closedToClients !== null) throw new StorageError('HELD', closedToClients);
    return device;
  }

  #openVolumes(): Volume[] {
    return this.#slots.flatMap(({ volume }) => (volume === null || volume.lost !== null ? [] : [volume]));
  }

  #listenNames(): string[] {
    return listenNames(this.#listening());
  }

  #listening(): { listen: { host: string; port: number }[]; socket: string | null } {
    const listen: { host: string; port: number }[] = [];
    let socket: string | null = null;
    for (const address of this.#nbd.addresses()) {
      if (!('path' in address)) listen.push(address);
      else if (address.path === this.#parts.settings.nbd.socket) socket = address.path;
    }
    return { listen, socket };
  }

  #announce(): void {
    const { log, version, settings } = this.#parts;
    const { tls } = settings.nbd;
    const volumes = this.#slots.flatMap(({ settings, volume }) =>
      volume === null ? [] : [{ ...describeVolume(settings, volume), default: this.#defaultName() === settings.name }],
    );
    announceReady(log, {
      version,
      nodeVersion: process.version,
      ...this.#listening(),
      tls,
      fuseDir: this.#fuse.status()?.dir ?? null,
      volumes,
    });
  }
}

/**
 * Runs an appliance until it is told to stop, and tells what became of its volumes. Rejects with FENCED when it has nothing left to serve, with CANCELLED where
 * requests were cut off, and with what kept it from starting.
 */
export async function runAppliance(appliance: Appliance, options: ServeOptions, hurry: AbortSignal): Promise<Closed> {
  const { stop, takeOver, mounts = [] } = options;
  try {
    await appliance.start(takeOver, stop, hurry, mounts);
  } catch (error) {
    // Told to stop while it was starting: that is what was asked for.
    if (stop.aborted && isStorageError(error, 'CANCELLED'))
      return appliance.abandonedAs === 'dirty' ? 'dirty' : 'clean';
    throw error;
  }
  options.onReload?.(() => void appliance.reloadCredentials());
  const until = AbortSignal.any([stop, appliance.allLost]);
  if (!until.aborted) await new Promise((resolve) => until.addEventListener('abort', resolve, { once: true }));
  const closed = await appliance.stop(hurry);
  if (appliance.allLost.aborted) throw appliance.allLost.reason;
  if (closed === 'cut')
    throw new StorageError(
      'CANCELLED',
      'stopped before every request had been answered; nothing that was answered is lost',
    );
  return closed;
}
