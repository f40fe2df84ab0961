/** How a failure is told: one clear line on stderr, or with --json one object on stdout. */
import { CommanderError } from 'commander';
import { ConfigError, type Problem } from '../config/problems.ts';
import { isStorageError } from '../lib/errors.ts';
import { escapeControls } from '../telemetry/log-format.ts';
import type { Output } from './actions.ts';
import { helpFor } from './help-hint.ts';

export interface ReportOptions {
  readonly json: boolean;
  /** Also tell the causes, and where a mistake of ours happened. */
  readonly debug: boolean;
}

/** The object that --json prints in place of an answer. */
export interface ErrorReport {
  readonly error: {
    /** A StorageError's code; `USAGE`: the command line itself is wrong; `INTERNAL`: a mistake of ours. */
    readonly code: string;
    readonly message: string;
    /** Where the configuration is wrong. */
    readonly problems?: readonly Problem[];
  };
}

export function reportError(error: unknown, stdout: Output, stderr: Output, options: ReportOptions): void {
  const report = describe(error);
  if (options.json) stdout.write(`${JSON.stringify(report)}\n`);
  // The lines of a ConfigError are its own; anything else keeps to one.
  const message =
    error instanceof ConfigError
      ? error.message.split('\n').map(escapeControls).join('\n')
      : escapeControls(report.error.message);
  stderr.write(`bucketdisk: ${message}\n`);
  if (!options.debug) return;
  for (const cause of causesOf(error)) stderr.write(`  caused by: ${escapeControls(cause)}\n`);
  if (report.error.code === 'INTERNAL' && error instanceof Error) stderr.write(`${error.stack}\n`);
}

function describe(error: unknown): ErrorReport {
  if (error instanceof ConfigError) {
    return { error: { code: error.code, message: error.message.split('\n')[0] ?? '', problems: error.problems } };
  }
  if (isStorageError(error)) return { error: { code: error.code, message: error.message } };
  if (error instanceof CommanderError) {
    const message = error.message.replace(/^error: /, '').replace(/\n\((.*)\)$/, ' ($1)');
    return { error: { code: 'USAGE', message: `${message} (see ${helpFor(error)})` } };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { error: { code: 'INTERNAL', message: `internal error: ${message} (--log-level debug tells more)` } };
}

function causesOf(error: unknown): string[] {
  const causes: string[] = [];
  let cause: unknown = error instanceof Error ? error.cause : undefined;
  while (cause !== undefined && cause !== null && causes.length < 5) {
    causes.push(
      cause instanceof Error ? `${isStorageError(cause) ? `${cause.code} ` : ''}${cause.message}` : String(cause),
    );
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  return causes;
}
