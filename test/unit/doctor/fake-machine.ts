/** A machine that is as sound, or as broken, as a test says. */
import { loadSettings } from '../../../src/config/load-settings.ts';
import type { Facts, RunningFacts, VolumeFacts } from '../../../src/doctor/facts.ts';
import type { FileFacts, Machine, SpaceFacts } from '../../../src/doctor/machine.ts';

const GIB = 2 ** 30;

export class FakeMachine implements Machine {
  nodeVersion = '24.1.0';
  uid = 0;
  env: Record<string, string> = {};
  readonly texts = new Map<string, string>([
    ['/proc/self/status', 'Name:\tnode\nCapEff:\t000001ffffffffff\n'],
    [
      '/proc/self/limits',
      'Limit      Soft Limit  Hard Limit  Units\nMax open files            65536     65536    files\n',
    ],
    ['/proc/meminfo', 'MemTotal:       16384000 kB\n'],
  ]);
  readonly directories = new Map<string, readonly string[]>();
  readonly files = new Map<string, FileFacts>();
  readonly openErrors = new Map<string, string>();
  readonly missingPrograms = new Set<string>();
  readonly answering = new Map<string, 'yes' | 'dead' | 'no'>();
  readonly listenErrors = new Map<string, string>();
  readonly listeningSockets = new Set<string>();
  free: SpaceFacts = { totalBytes: 100 * GIB, freeBytes: 50 * GIB };
  /** Milliseconds, or what it fails with. */
  syncMs: number | Error = 0.4;

  constructor() {
    this.addDirectory('/var/lib/bucketdisk');
    this.addDirectory('/run');
    this.files.set('/sys/module/nbd', { kind: 'directory', usedBytes: 0 });
  }

  addDirectory(path: string): void {
    this.files.set(path, { kind: 'directory', usedBytes: 0 });
  }

  /** With what it takes on the disk. */
  addFile(directory: string, name: string, usedBytes: number): void {
    this.directories.set(directory, [...this.list(directory), name]);
    this.files.set(`${directory}/${name}`, { kind: 'file', usedBytes });
  }

  readText(path: string): string | null {
    return this.texts.get(path) ?? null;
  }

  list(directory: string): readonly string[] {
    return this.directories.get(directory) ?? [];
  }

  stat(path: string): FileFacts | null {
    return path === '/' ? { kind: 'directory', usedBytes: 0 } : (this.files.get(path) ?? null);
  }

  space(): SpaceFacts | null {
    return this.free;
  }

  openError(path: string): string | null {
    return this.openErrors.get(path) ?? null;
  }

  program(name: string): string | null {
    return this.missingPrograms.has(name) ? null : `/usr/sbin/${name}`;
  }

  async answers(path: string): Promise<'yes' | 'dead' | 'no'> {
    return this.answering.get(path) ?? 'yes';
  }

  async listenError(host: string, port: number): Promise<string | null> {
    return this.listenErrors.get(`${host}:${port}`) ?? null;
  }

  async connects(socketPath: string): Promise<boolean> {
    return this.listeningSockets.has(socketPath);
  }

  async syncTimes(_directory: string, count: number): Promise<readonly number[]> {
    if (this.syncMs instanceof Error) throw this.syncMs;
    return Array.from({ length: count }, () => this.syncMs as number);
  }
}

/** Facts as `set` makes them, with one volume, `media`. */
export function factsOf(set: readonly string[] = [], running: Partial<RunningFacts> | null = null): Facts {
  const { settings } = loadSettings({
    files: [],
    env: {},
    set: ['volumes.media.size=1TiB', 'store.url=s3://bucket', 'cache.dir=/var/lib/bucketdisk', ...set],
    cwd: '/',
  });
  const nothing: RunningFacts = { pid: 4711, nbd: [], fuse: null, mounts: [], volumes: [] };
  return { settings, running: running === null ? null : { ...nothing, ...running } };
}

export function volumeFacts(facts: Partial<VolumeFacts> = {}): VolumeFacts {
  return {
    ...{ name: 'media', state: 'idle', error: null, sizeBytes: GIB, readOnly: false, sharedDisk: false },
    ...{ lease: null, cache: null },
    ...facts,
  };
}
