/** The jobs of an appliance: what each of them does, and the requests about them over the control socket. */
import type { ControlHandler, ControlRoutes } from './admin/control-server.ts';
import type { Settings } from './config/settings.ts';
import type { Clock } from './lib/clock.ts';
import { withDeadline } from './lib/deadline.ts';
import type { Disk } from './lib/disk.ts';
import { isStorageError, StorageError } from './lib/errors.ts';
import type { Log } from './lib/log.ts';
import { settleAll } from './lib/settle.ts';
import { approximateSize } from './lib/units.ts';
import { JOB_NAMES, type JobName, type JobRun } from './schedule/job.ts';
import { JobHistory } from './schedule/job-history.ts';
import { Schedule } from './schedule/schedule.ts';
import type { MakeTimetable } from './schedule/timetable.ts';
import { CacheHome } from './volume/cache-home.ts';
import type { Volume } from './volume/volume.ts';

/** How long a command waits for an answer before it asks again. */
const CONTROL_PATIENCE_MS = 2_000;

export interface JobsServiceOptions {
  readonly settings: Pick<Settings, 'schedule' | 'cache' | 'volumes'>;
  readonly disk: Disk;
  /** The appliance's own. */
  readonly directory: string;
  /** Those that are open. */
  readonly volumes: () => readonly Volume[];
  /** Looks all volumes through; resolves with what that came to in a few words. */
  readonly scan: (signal: AbortSignal) => Promise<string>;
  /** The state of the appliance in a sentence. */
  readonly report: () => string;
  readonly clock: Clock;
  readonly log: Log;
  readonly timetable?: MakeTimetable;
}

export class JobsService {
  readonly schedule: Schedule;
  readonly #options: JobsServiceOptions;
  readonly #history: JobHistory;

  constructor(options: JobsServiceOptions) {
    const { disk, directory, clock, log, timetable } = options;
    this.#options = options;
    this.#history = JobHistory.open({ disk, path: `${directory}/jobs.json`, log });
    const history = this.#history;
    this.schedule = new Schedule({ history, clock, log, ...(timetable === undefined ? {} : { timetable }) });
    const { flush, scan, report, cacheTrim } = options.settings.schedule;
    this.schedule.add({ name: 'flush', schedule: flush, run: (signal) => this.#flush(signal) });
    this.schedule.add({ name: 'scan', schedule: scan, run: options.scan });
    this.schedule.add({ name: 'report', schedule: report, run: () => this.#report() });
    this.schedule.add({ name: 'cache-trim', schedule: cacheTrim, run: () => this.#trim() });
  }

  get routes(): ControlRoutes {
    return {
      'GET /v1/jobs': async () => ({ jobs: this.schedule.status() }),
      'POST /v1/jobs/history': (body) => this.#tell(body),
      'POST /v1/jobs/run': (body) => this.#run(body),
    };
  }

  /** What cannot be uploaded now goes on being tried by the uploader; here it counts as failed. */
  async #flush(signal: AbortSignal): Promise<string> {
    const cached = this.#options.volumes().flatMap(({ cached }) => (cached === null ? [] : [cached]));
    const bytes = cached.reduce((sum, volume) => sum + volume.status().dirtyBytes, 0);
    await settleAll(cached.map((volume) => volume.uploadAll(signal)));
    return bytes === 0 ? 'everything was in the bucket' : `uploaded ${approximateSize(bytes)}`;
  }

  async #report(): Promise<string> {
    const report = this.#options.report();
    this.#options.log.info(report, { event: 'report' });
    return report;
  }

  /** Caches of volumes that are not configured any more go, where the bucket has all that is in them. */
  async #trim(): Promise<string> {
    const { disk, settings, log } = this.#options;
    const parent = `${settings.cache.dir}/volumes`;
    const removed: string[] = [];
    const kept: string[] = [];
    for (const name of disk.list(parent)) {
      if (Object.hasOwn(settings.volumes, name)) continue;
      const state = await dropUnused(disk, `${parent}/${name}`);
      if (state === 'kept') kept.push(name);
      if (state !== 'dropped') continue;
      removed.push(name);
      log.info('deleted the cache of a volume that is not configured any more', { volume: name });
    }
    const what = removed.length === 0 ? 'nothing to delete' : `deleted the caches of ${removed.join(', ')}`;
    return kept.length === 0 ? what : `${what}; kept, with writes that are in no bucket: ${kept.join(', ')}`;
  }

  async #tell({ name = null }: Parameters<ControlHandler>[0]): Promise<object> {
    if (name !== null && !isJobName(name)) {
      throw new StorageError('NOT_FOUND', `there is no job "${name}": there are ${JOB_NAMES.join(', ')}`);
    }
    return { runs: this.#history.runs(name) };
  }

  /** Begins a run, or waits for the one with `id`; answers early, without it, where that takes long. */
  async #run({ name, id = null }: Parameters<ControlHandler>[0]): Promise<object> {
    if (typeof name !== 'string' || (id !== null && typeof id !== 'string')) {
      throw new StorageError('INVALID', 'a run needs a name, and an id where it is under way');
    }
    const runId = id ?? this.schedule.run(name).id;
    const ended = this.schedule.find(runId);
    if (ended === null) throw new StorageError('NOT_FOUND', `nothing is known of the run ${runId}`);
    const run = await withDeadline(this.#options.clock, CONTROL_PATIENCE_MS, (signal) => firstOf(ended, signal));
    return { id: runId, run };
  }
}

function isJobName(name: unknown): name is JobName {
  return (JOB_NAMES as readonly unknown[]).includes(name);
}

/** Null where the signal comes first. */
function firstOf(ended: Promise<JobRun> | JobRun, signal: AbortSignal): Promise<JobRun | null> {
  const over = new Promise<null>((resolve) => signal.addEventListener('abort', () => resolve(null), { once: true }));
  return Promise.race([ended, over]);
}

/** `kept`: it has writes that are in no bucket, or it cannot be told. */
async function dropUnused(disk: Disk, directory: string): Promise<'none' | 'kept' | 'dropped'> {
  try {
    const home = CacheHome.find(disk, directory);
    if (home === null) return 'none';
    if (await home.hasUnsaved()) return 'kept';
    home.remove();
    return 'dropped';
  } catch (error) {
    if (!isStorageError(error)) throw error;
    return 'kept';
  }
}
