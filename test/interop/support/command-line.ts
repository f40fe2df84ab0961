/** `bucketdisk` as a person at a shell runs it: words in, an exit code and text out. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Lifetime } from '../../support/cleanup.ts';
import { type CommandResult, type RunningProcess, runCommand, startProcess } from '../../support/run-command.ts';

type Section = Readonly<Record<string, unknown>>;

const MAIN = fileURLToPath(new URL('../../../src/main.ts', import.meta.url));

export class CommandLine {
  readonly #dir: string;
  readonly #config: Section;

  /** `dir` is an appliance's directory, or one for a later appliance; `config` as in a file. */
  constructor(dir: string, config: Section) {
    this.#dir = dir;
    this.#config = config;
  }

  /** Runs a verb to its end, whatever the exit code. `env` is added to an environment without anything of AWS's or ours. */
  async run(words: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<CommandResult> {
    const args = await this.#arguments(words);
    return runCommand(process.execPath, args, { cwd: this.#dir, env: this.#environment(env), okCodes: null });
  }

  /** Starts a verb that runs until the test ends it. */
  async start(lifetime: Lifetime, words: readonly string[]): Promise<RunningProcess> {
    return startProcess(lifetime, process.execPath, await this.#arguments(words), {
      cwd: this.#dir,
      env: this.#environment({}),
    });
  }

  async #arguments(words: readonly string[]): Promise<string[]> {
    const configFile = join(this.#dir, 'command.json5');
    const complete = {
      ...this.#config,
      cache: { dir: join(this.#dir, 'cache'), size: '64MiB', logSize: '32MiB', ...section(this.#config, 'cache') },
      nbd: { listen: ['127.0.0.1:0'], ...section(this.#config, 'nbd') },
      admin: { listen: null, ...section(this.#config, 'admin') },
    };
    await writeFile(configFile, JSON.stringify(complete));
    return [MAIN, ...words, '--config', configFile];
  }

  #environment(env: Readonly<Record<string, string>>): Record<string, string | undefined> {
    const inherited = Object.keys(process.env).filter((name) => /^(AWS|BUCKETDISK)_/.test(name));
    return { ...Object.fromEntries(inherited.map((name) => [name, undefined])), HOME: this.#dir, ...env };
  }
}

function section(config: Section, name: string): Section {
  return (config[name] ?? {}) as Section;
}
