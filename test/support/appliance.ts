/** A bucketdisk appliance as its users run it: a process of its own, with a configuration file, in a temporary directory. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { askAppliance } from '../../src/admin/control-client.ts';
import type { Lifetime } from './cleanup.ts';
import { type CommandResult, type RunningProcess, startProcess } from './run-command.ts';
import { tempDir } from './temp.ts';

type Section = Readonly<Record<string, unknown>>;

export interface ApplianceOptions {
  readonly lifetime: Lifetime;
  /** As in a configuration file. Where unset: a cache directory and a unix socket of its own, TCP on a free port, JSON logs. */
  readonly config: Section;
  /** Added to an environment that has nothing of AWS's or ours. */
  readonly env?: Readonly<Record<string, string>>;
  /** Added after `serve --config FILE`. */
  readonly args?: readonly string[];
  /** Kept by the caller, to start a second appliance on what the first one left. */
  readonly dir?: string;
  readonly readyTimeoutMs?: number;
}

/** A line of the log: `event` names what happened, where a program may want to know. */
export type LogLine = Readonly<Record<string, unknown>>;

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
/** Half a second where nobody else is at work. */
const READY_TIMEOUT_MS = 120_000;

/** Starts an appliance and waits until it serves. It is ended with the test, whatever became of it. */
export async function startAppliance(options: ApplianceOptions): Promise<Appliance> {
  const { lifetime, config, env = {}, args = [] } = options;
  const dir = options.dir ?? (await tempDir(lifetime, 'appliance'));
  const section = (name: string): Section => (config[name] ?? {}) as Section;
  const complete = {
    ...config,
    cache: { dir: join(dir, 'cache'), size: '64MiB', logSize: '32MiB', ...section('cache') },
    nbd: { listen: ['127.0.0.1:0'], socket: join(dir, 'nbd.sock'), ...section('nbd') },
    admin: { listen: null, ...section('admin') },
    log: { level: 'debug', format: 'json', ...section('log') },
  };
  const configFile = join(dir, 'config.json5');
  await writeFile(configFile, JSON.stringify(complete, null, 2));
  const inherited = Object.keys(process.env).filter((name) => /^(AWS|BUCKETDISK)_/.test(name));
  const child = startProcess(lifetime, process.execPath, [MAIN, 'serve', '--config', configFile, ...args], {
    cwd: dir,
    env: { ...Object.fromEntries(inherited.map((name) => [name, undefined])), HOME: dir, ...env },
  });
  const appliance = new Appliance(child, dir, configFile);
  await appliance.waitForEvent('ready', options.readyTimeoutMs ?? READY_TIMEOUT_MS);
  return appliance;
}

export class Appliance {
  readonly process: RunningProcess;
  readonly dir: string;
  readonly configFile: string;

  constructor(process: RunningProcess, dir: string, configFile: string) {
    this.process = process;
    this.dir = dir;
    this.configFile = configFile;
  }

  get pid(): number {
    return this.process.pid;
  }

  get exited(): Promise<CommandResult> {
    return this.process.exited;
  }

  /** What it has logged so far; lines that are not JSON are passed over. */
  get logs(): readonly LogLine[] {
    return this.process.stderr
      .split('\n')
      .map(parseLine)
      .filter((line) => line !== null);
  }

  /** The log line of an event, as soon as there is one. */
  waitForEvent(event: string, timeoutMs = READY_TIMEOUT_MS): Promise<LogLine> {
    return this.process.until(`the event ${event}`, () => this.logs.find((line) => line.event === event), timeoutMs);
  }

  /** The TCP address it listens on. */
  get tcp(): { host: string; port: number } {
    const address = this.#listening.find((one) => !one.startsWith('unix:')) ?? '';
    const match = /^(.*):(\d+)$/.exec(address);
    if (match === null) throw new Error(`the appliance listens on no TCP port: ${this.#listening.join(', ')}`);
    return { host: match[1] ?? '', port: Number(match[2]) };
  }

  /** The path of its unix socket. */
  get socket(): string {
    const address = this.#listening.find((one) => one.startsWith('unix:'));
    if (address === undefined) throw new Error('the appliance listens on no unix socket');
    return address.slice('unix:'.length);
  }

  /** NBD URIs of an export ('': the default one). */
  uris(exportName = ''): { tcp: string; unix: string } {
    const name = encodeURIComponent(exportName);
    const { host, port } = this.tcp;
    return { tcp: `nbd://${host}:${port}/${name}`, unix: `nbd+unix:///${name}?socket=${this.socket}` };
  }

  /** Has everything that was written to the volume uploaded, and waits until it is. */
  async flush(name: string, signal = AbortSignal.timeout(60_000)): Promise<void> {
    for (;;) {
      const answer = await askAppliance(join(this.dir, 'cache', 'control.sock'), 'POST', '/v1/flush', { name }, signal);
      if ((answer as { dirtyBytes: number } | null)?.dirtyBytes === 0) return;
    }
  }

  /** Asks it to stop and waits for it; `timeoutMs` later it is killed. */
  stop(signal: NodeJS.Signals = 'SIGTERM', timeoutMs = 30_000): Promise<CommandResult> {
    return this.process.stop(signal, timeoutMs);
  }

  /** As a power cut would. */
  kill(): Promise<CommandResult> {
    return this.process.stop('SIGKILL');
  }

  get #listening(): readonly string[] {
    const ready = this.logs.find((line) => line.event === 'ready');
    return Array.isArray(ready?.nbd) ? (ready.nbd as string[]) : [];
  }
}

function parseLine(line: string): LogLine | null {
  if (!line.startsWith('{')) return null;
  try {
    return JSON.parse(line) as LogLine;
  } catch {
    // The last line may not be whole yet.
    return null;
  }
}
