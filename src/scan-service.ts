/** The scans of a running appliance: one at a time for a volume, begun by commands and by the job. */
import { randomUUID } from 'node:crypto';
import type { ControlHandler, ControlRoutes } from './admin/control-server.ts';
import type { ScanSettings } from './config/settings.ts';
import type { Clock } from './lib/clock.ts';
import { withDeadline } from './lib/deadline.ts';
import type { Disk } from './lib/disk.ts';
import { describeError, isStorageError, StorageError } from './lib/errors.ts';
import type { Log } from './lib/log.ts';
import type { ScanProgress, ScanReport } from './scan/scan-report.ts';
import { ScanState } from './scan/scan-state.ts';
import { type ScanOptions, scanVolume } from './scan/scan-volume.ts';
import type { Volume } from './volume/volume.ts';

/** How long a command waits for an answer before it is told how far things have come. */
const CONTROL_PATIENCE_MS = 1_000;
/** A scan that nobody has asked about for so long is given up: whoever began it has gone. */
const ABANDONED_MS = 60_000;

export interface ScanServiceOptions {
  readonly settings: ScanSettings;
  readonly disk: Disk;
  /** The appliance's own. */
  readonly directory: string;
  /** NOT_FOUND or UNAVAILABLE where there is none that is open. */
  readonly volumeOf: (name: string) => Volume;
  /** Those that are open. */
  readonly volumes: () => readonly Volume[];
  readonly isBusy: () => boolean;
  /** Where the volume's filesystem is mounted, where it is. */
  readonly mounted: (name: string) => { readonly device: string; readonly dir: string } | null;
  readonly clock: Clock;
  readonly log: Log;
}

interface RunningScan {
  readonly id: string;
  readonly abort: AbortController;
  readonly ended: Promise<ScanReport>;
  progress: ScanProgress | null;
  hasEnded: boolean;
  askedAtMs: number;
}

export class ScanService {
  readonly #options: ScanServiceOptions;
  /** The last one of each volume. */
  readonly #scans = new Map<string, RunningScan>();
  readonly #stop = new AbortController();

  constructor(options: ScanServiceOptions) {
    this.#options = options;
  }

  get routes(): ControlRoutes {
    return {
      'POST /v1/scan': (body) => this.#request(body),
      'POST /v1/scan/cancel': (body) => this.#cancel(body),
    };
  }

  /** What the job does: every volume, and a share of its bytes. CORRUPT where there is damage. */
  async scanAll(signal: AbortSignal): Promise<string> {
    const { share, rateBytes } = this.#options.settings;
    let blocks = 0;
    let deepBlocks = 0;
    const damaged: string[] = [];
    const failed: string[] = [];
    for (const volume of this.#options.volumes()) {
      if (signal.aborted) throw new StorageError('CANCELLED', 'the scan was cancelled');
      try {
        const scan = this.#begin(volume, { deep: true, share, repair: false, rateBytes });
        const { checked, damageLeft } = await endedBy(scan, signal);
        blocks += checked.blocks;
        deepBlocks += checked.deepBlocks;
        if (damageLeft > 0) damaged.push(`${volume.name} (${damageLeft})`);
      } catch (error) {
        if (signal.aborted || !isStorageError(error)) throw error;
        failed.push(`${volume.name}: ${describeError(error)}`);
      }
    }
    if (damaged.length > 0) {
      throw new StorageError('CORRUPT', `damage in ${damaged.join(', ')}: "bucketdisk scan VOLUME" tells more`);
    }
    if (failed.length > 0) throw new StorageError('UNAVAILABLE', `not scanned: ${failed.join('; ')}`);
    return `${blocks} blocks listed, ${deepBlocks} of them read; no damage`;
  }

  /** Ends those that are running; resolves when they have ended. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled([...this.#scans.values()].map(({ ended }) => ended));
  }

  #begin(volume: Volume, options: ScanOptions): RunningScan {
    const { clock } = this.#options;
    const { name } = volume;
    if (this.#stop.signal.aborted) throw new StorageError('CANCELLED', 'the appliance is stopping');
    if (this.#scans.get(name)?.hasEnded === false) {
      throw new StorageError('CONFLICT', `volume ${name} is being scanned already: wait for that scan to end`);
    }
    const abort = new AbortController();
    const signal = AbortSignal.any([abort.signal, this.#stop.signal]);
    const started = Promise.withResolvers<ScanReport>();
    const scan: RunningScan = {
      ...{ id: randomUUID(), abort, ended: started.promise, progress: null, hasEnded: false, askedAtMs: clock.now() },
    };
    this.#scans.set(name, scan);
    scan.ended.catch(() => {});
    started.resolve(
      this.#run(volume, options, signal, (progress) => {
        scan.progress = progress;
      }).finally(() => {
        scan.hasEnded = true;
      }),
    );
    return scan;
  }

  async #run(
    volume: Volume,
    options: ScanOptions,
    signal: AbortSignal,
    onProgress: (progress: ScanProgress) => void,
  ): Promise<ScanReport> {
    const { disk, directory, isBusy, mounted, clock } = this.#options;
    const log = this.#options.log.child({ volume: volume.name });
    const state = new ScanState(disk, `${directory}/scans`, volume.name, volume.record.volumeId, log);
    const report = await scanVolume(options, {
      ...{ volume, by: 'appliance', state, isBusy, onProgress, clock, log, signal },
      mounted: mounted(volume.name),
    });
    tellReport(report, log);
    return report;
  }

  /** Begins a scan, or waits for the one with `id`; answers early, with how far it has come, where that takes long. */
  async #request(body: Parameters<ControlHandler>[0]): Promise<object> {
    const { name, id = null } = body;
    if (typeof name !== 'string' || (id !== null && typeof id !== 'string')) {
      throw new StorageError('INVALID', 'a scan needs a name, and an id where it is under way');
    }
    const scan = id === null ? this.#begin(this.#options.volumeOf(name), scanOptions(body)) : this.#scans.get(name);
    if (scan === undefined || (id !== null && scan.id !== id)) {
      throw new StorageError('NOT_FOUND', `nothing is known of the scan ${id}`);
    }
    const { clock } = this.#options;
    if (id === null) void this.#watch(scan);
    scan.askedAtMs = clock.now();
    const report = await withDeadline(clock, CONTROL_PATIENCE_MS, (over) => {
      const tooLong = new Promise<null>((resolve) =>
        over.addEventListener('abort', () => resolve(null), { once: true }),
      );
      return Promise.race([scan.ended, tooLong]);
    });
    scan.askedAtMs = clock.now();
    return { id: scan.id, progress: scan.progress, report };
  }

  async #cancel({ name, id }: Parameters<ControlHandler>[0]): Promise<object> {
    const scan = typeof name === 'string' ? this.#scans.get(name) : undefined;
    if (scan === undefined || scan.id !== id) throw new StorageError('NOT_FOUND', `nothing is known of the scan ${id}`);
    scan.abort.abort();
    return {};
  }

  /** Gives it up once nobody asks about it any more. */
  async #watch(scan: RunningScan): Promise<void> {
    const { clock } = this.#options;
    const over = new AbortController();
    const end = (): void => over.abort();
    scan.ended.then(end, end);
    while (!over.signal.aborted) {
      await clock.sleep(ABANDONED_MS, over.signal).catch(() => {});
      if (clock.now() - scan.askedAtMs >= ABANDONED_MS) scan.abort.abort();
    }
  }
}

/** The signal outlives the scan, and must not keep it. */
async function endedBy({ abort, ended }: RunningScan, signal: AbortSignal): Promise<ScanReport> {
  const onAbort = (): void => abort.abort();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await ended;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** Two lines of the log at most: they are events. */
export function tellReport(report: ScanReport, log: Log): void {
  const { checked, counts, damageLeft, repaired, durationMs, deep } = report;
  const found = Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
  if (damageLeft + repaired > 0) {
    const [first] = report.ranges;
    const where = first === undefined ? {} : { offset: first.offset, length: first.length };
    const places = damageLeft + repaired;
    const message = `a scan has found damage in ${places} ${places === 1 ? 'place' : 'places'}, and repaired ${repaired} of them`;
    log.error(message, { ...found, ...where, repaired, damageLeft, event: 'damage-found' });
  }
  const how = { blocks: checked.blocks, deepBlocks: checked.deepBlocks, deep, durationMs, damageLeft };
  log.info(`a scan is done: ${damageLeft === 0 ? 'no damage' : `${damageLeft} damaged, not repaired`}`, {
    ...how,
    ...found,
    event: 'scan-done',
  });
}

function scanOptions({ deep, share, repair, rateBytes }: Parameters<ControlHandler>[0]): ScanOptions {
  const sound =
    typeof deep === 'boolean' &&
    typeof repair === 'boolean' &&
    typeof share === 'number' &&
    share > 0 &&
    share <= 1 &&
    (rateBytes === null || (typeof rateBytes === 'number' && rateBytes >= 1024));
  if (!sound) throw new StorageError('INVALID', 'a scan needs deep, share, repair and rateBytes');
  return { deep, share, repair, rateBytes };
}
