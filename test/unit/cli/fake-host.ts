/** A process that is none: what a command line reads from and writes to, without the real one. */
import { EventEmitter } from 'node:events';
import { PassThrough, Writable } from 'node:stream';
import type { Actions } from '../../../src/cli/actions.ts';
import type { Host } from '../../../src/cli/host.ts';
import { run } from '../../../src/cli/run.ts';

class TextStream extends Writable {
  text = '';
  readonly isTTY: boolean;

  constructor(isTTY: boolean) {
    super({ decodeStrings: false });
    this.isTTY = isTTY;
  }

  override _write(chunk: string | Buffer, _encoding: string, callback: () => void): void {
    this.text += chunk.toString();
    setImmediate(callback);
  }
}

export interface FakeHostOptions {
  readonly actions?: Partial<Actions>;
  readonly env?: Record<string, string>;
  readonly cwd?: string;
  readonly isTTY?: boolean;
}

export class FakeHost implements Host {
  readonly env: Record<string, string>;
  readonly cwd: string;
  readonly stdin: PassThrough & { isTTY?: boolean };
  readonly stdout: TextStream;
  readonly stderr: TextStream;
  readonly signals = new EventEmitter();
  readonly #actions: Partial<Actions>;

  constructor({ actions = {}, env = {}, cwd = '/nowhere', isTTY = false }: FakeHostOptions = {}) {
    this.#actions = actions;
    this.env = env;
    this.cwd = cwd;
    this.stdin = Object.assign(new PassThrough(), { isTTY });
    this.stdout = new TextStream(isTTY);
    this.stderr = new TextStream(isTTY);
  }

  async loadActions(): Promise<Actions> {
    const missing = (): never => {
      throw new TypeError('no such action in this test');
    };
    const none: Actions = {
      serve: missing,
      createVolume: missing,
      status: missing,
      live: missing,
      past: missing,
      health: missing,
      resizeVolume: missing,
      eraseVolume: missing,
      mountVolume: missing,
      unmountVolume: missing,
      flushVolume: missing,
      warmVolume: missing,
      exportCache: missing,
      examine: missing,
      bench: missing,
      makeSupportBundle: missing,
      dropCache: missing,
      listJobs: missing,
      jobHistory: missing,
      runJob: missing,
      scanVolume: missing,
    };
    return { ...none, ...this.#actions };
  }
}

export interface Outcome {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command line given as words separated by blanks. */
export async function runCommand(words: string, host: FakeHost = new FakeHost()): Promise<Outcome> {
  const exitCode = await run(words === '' ? [] : words.split(' '), host);
  return { exitCode, stdout: host.stdout.text, stderr: host.stderr.text };
}
