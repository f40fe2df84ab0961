/** Running other programs from tests: with a deadline, their output captured, nothing left running afterwards. */
import { type ChildProcess, spawn } from 'node:child_process';
import { type Lifetime, onEnd } from './cleanup.ts';

export interface CommandOptions {
  /** Added to this process's environment; undefined takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  readonly input?: string | Buffer;
  /** After this much time it is killed. 60 s unless said. */
  readonly timeoutMs?: number;
  /** Exit codes that are not an error. [0] unless said; null: any. */
  readonly okCodes?: readonly number[] | null;
}

export interface CommandResult {
  /** Null where a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProcessOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** How it is told to end with the test. SIGTERM unless said. */
  readonly endSignal?: NodeJS.Signals;
}

const TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 10_000;
/** What is kept of each output; programs that write more than this are not for capturing. */
const OUTPUT_BYTES_MAX = 32 * 1024 * 1024;

/** The output of a stream, kept as it comes. */
class Capture {
  readonly #chunks: Buffer[] = [];
  #bytes = 0;

  add(chunk: Buffer): void {
    if (this.#bytes >= OUTPUT_BYTES_MAX) return;
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
  }

  text(): string {
    return Buffer.concat(this.#chunks).toString();
  }
}

/** A program that runs beside the test. */
export class RunningProcess {
  readonly #child: ChildProcess;
  readonly #stdout = new Capture();
  readonly #stderr = new Capture();
  readonly #watchers = new Set<() => void>();
  readonly description: string;
  /** Settles when it has ended, or could not be started. */
  readonly exited: Promise<CommandResult>;
  #result: CommandResult | null = null;
  #startError: Error | null = null;

  constructor(child: ChildProcess, description: string) {
    this.#child = child;
    this.description = description;
    child.stdout?.on('data', (chunk: Buffer) => this.#add(this.#stdout, chunk));
    child.stderr?.on('data', (chunk: Buffer) => this.#add(this.#stderr, chunk));
    this.exited = new Promise((resolve, reject) => {
      child.once('error', (error) => {
        this.#startError = error;
        this.#notify();
        reject(new Error(`${description} could not be started: ${error.message}`, { cause: error }));
      });
      child.once('close', (code, signal) => {
        this.#result = { code, signal, stdout: this.stdout, stderr: this.stderr };
        this.#notify();
        resolve(this.#result);
      });
    });
    // Whoever waits for it sees the error; nobody has to.
    this.exited.catch(() => {});
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get running(): boolean {
    return this.#result === null && this.#startError === null && this.#child.exitCode === null;
  }

  get stdout(): string {
    return this.#stdout.text();
  }

  get stderr(): string {
    return this.#stderr.text();
  }

  /** Resolves with what `find` returns once that is not undefined; rejects when the program ends, or the time, before. */
  async until<T>(what: string, find: () => T | undefined, timeoutMs = TIMEOUT_MS): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    let check = (): void => {};
    try {
      return await new Promise<T>((resolve, reject) => {
        const fail = (reason: string): void =>
          reject(new Error(`${this.description}: ${reason} before ${what}\n${this.stdout}${this.stderr}`));
        check = () => {
          const found = find();
          if (found !== undefined) resolve(found);
          else if (!this.running) fail('it ended');
        };
        this.#watchers.add(check);
        timer = setTimeout(() => fail(`${timeoutMs} ms passed`), timeoutMs);
        check();
      });
    } finally {
      clearTimeout(timer);
      this.#watchers.delete(check);
    }
  }

  /** Sends a signal to the program alone. */
  signal(signal: NodeJS.Signals): void {
    if (this.running) this.#child.kill(signal);
  }

  /** Asks it to end, and where it does not within the time, kills it with all it started. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', timeoutMs = STOP_TIMEOUT_MS): Promise<CommandResult> {
    if (this.running) this.#child.kill(signal);
    const timer = setTimeout(() => this.killGroup(), timeoutMs);
    try {
      return await this.exited;
    } finally {
      clearTimeout(timer);
    }
  }

  /** SIGKILL to the program and all it started. */
  killGroup(): void {
    if (this.#child.pid === undefined) return;
    try {
      process.kill(-this.#child.pid, 'SIGKILL');
    } catch {
      // All of them have ended.
    }
  }

  #add(capture: Capture, chunk: Buffer): void {
    capture.add(chunk);
    this.#notify();
  }

  #notify(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }
}

/** Starts a program in a process group of its own; it is ended with the test. */
export function startProcess(
  lifetime: Lifetime,
  file: string,
  args: readonly string[],
  options: ProcessOptions = {},
): RunningProcess {
  const running = launch(file, args, options, 'ignore');
  onEnd(lifetime, async () => {
    await running.stop(options.endSignal ?? 'SIGTERM', 5_000).catch(() => {});
    // The program has ended; what it started may not have.
    running.killGroup();
  });
  return running;
}

/** Runs a program to its end. Rejects where it cannot be started, takes too long, or its code is none of `okCodes`. */
export async function runCommand(
  file: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const { timeoutMs = TIMEOUT_MS, okCodes = [0] } = options;
  const running = launch(file, args, options, options.input ?? 'ignore');
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    running.killGroup();
  }, timeoutMs);
  try {
    const result = await running.exited;
    if (timedOut) throw failure(running, `took longer than ${timeoutMs} ms`, result);
    if (okCodes !== null && (result.code === null || !okCodes.includes(result.code))) {
      throw failure(running, `ended with ${result.code ?? result.signal}`, result);
    }
    return result;
  } finally {
    clearTimeout(timer);
  }
}

function failure(running: RunningProcess, what: string, { stdout, stderr }: CommandResult): Error {
  return new Error(`${running.description} ${what}\n${stdout.slice(-4000)}${stderr.slice(-4000)}`);
}

function launch(
  file: string,
  args: readonly string[],
  { env = {}, cwd }: Pick<ProcessOptions, 'env' | 'cwd'>,
  input: 'ignore' | string | Buffer,
): RunningProcess {
  const piped = input === 'ignore' ? 'ignore' : 'pipe';
  const child = spawn(file, args, {
    // A test runner inside a test would report to the outer one.
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, ...env },
    ...(cwd === undefined ? {} : { cwd }),
    stdio: [piped, 'pipe', 'pipe'],
    detached: true,
  });
  if (input !== 'ignore') {
    // A program that ends without reading all of its input is judged by its exit code.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  }
  return new RunningProcess(child, `${file} ${args.join(' ')}`);
}
