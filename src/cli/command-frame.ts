/** What every verb does around its action: read the configuration, open the log, heed signals, print the answer. */
import type { Command } from 'commander';
import { type LoadedSettings, loadSettings } from '../config/load-settings.ts';
import { createLogger } from '../telemetry/logger.ts';
import type { CommandContext } from './actions.ts';
import { EXIT_OK } from './exit-code.ts';
import type { Host } from './host.ts';
import { type Interrupt, listenForInterrupt } from './interrupt.ts';

export interface GlobalOptions {
  readonly config: readonly string[];
  readonly set: readonly string[];
  readonly json: boolean;
  readonly logLevel?: string;
}

/** Given to each verb. `finish` takes the exit code of the command that ran. */
export interface Frame {
  readonly host: Host;
  finish(exitCode: number): void;
}

/** For options that may be repeated. */
export function collect(value: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, value];
}

export function globalOptions(command: Command): GlobalOptions {
  const { config = [], set = [], json = false, logLevel } = command.optsWithGlobals<Partial<GlobalOptions>>();
  return { config, set, json, ...(logLevel === undefined ? {} : { logLevel }) };
}

/** The configuration that the command line, the environment and the files add up to. */
export function readSettings(host: Host, options: GlobalOptions): LoadedSettings {
  const level = options.logLevel === undefined ? [] : [`log.level=${options.logLevel}`];
  return loadSettings({ files: options.config, set: [...options.set, ...level], env: host.env, cwd: host.cwd });
}

/** Runs the action of a verb that ends by itself, and prints its answer: `text` for people, as it stands with --json. */
export async function answer<T>(
  frame: Frame,
  command: Command,
  action: (context: CommandContext) => Promise<T>,
  text: (result: T, context: CommandContext) => string,
): Promise<void> {
  await withContext(frame, command, { quiet: true }, async (context) => {
    const result = await action(context);
    context.stdout.write(context.json ? `${JSON.stringify(result)}\n` : text(result, context));
    return EXIT_OK;
  });
}

/**
 * Runs `action` with a context of its own, and finishes with its exit code. `quiet`: what is only worth knowing of a
 * server is left out of the log, unless --log-level asks for it. `patient`: the first signal does not abort
 * `context.signal`, the second one does.
 */
export async function withContext(
  frame: Frame,
  command: Command,
  mode: { readonly quiet?: boolean; readonly patient?: boolean },
  action: (context: CommandContext, interrupt: Interrupt) => Promise<number>,
): Promise<void> {
  await withSettings(frame, command, readSettings(frame.host, globalOptions(command)), mode, action);
}

/** The same with settings that have been read already. */
export async function withSettings(
  frame: Frame,
  command: Command,
  { settings, secrets }: Pick<LoadedSettings, 'settings' | 'secrets'>,
  mode: { readonly quiet?: boolean; readonly patient?: boolean },
  action: (context: CommandContext, interrupt: Interrupt) => Promise<number>,
): Promise<void> {
  const { host } = frame;
  const options = globalOptions(command);
  const quiet = mode.quiet === true && options.logLevel === undefined && settings.log.level === 'info';
  const level = quiet ? 'warn' : settings.log.level;
  const log = createLogger({ level, format: settings.log.format, stream: host.stderr, secrets });
  const interrupt = listenForInterrupt(host.signals);
  const { stdout, stderr } = host;
  const signal = mode.patient === true ? interrupt.second : interrupt.first;
  const context: CommandContext = { settings, log, json: options.json, stdout, stderr, signal };
  try {
    frame.finish(await Promise.race([action(context, interrupt), interrupt.impatient]));
  } finally {
    interrupt.release();
    await log.close();
  }
}
