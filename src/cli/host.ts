/** The process as the command line sees it, so that tests can put something else in its place. */
import type { Environment } from '../config/environment.ts';
import type { LogStream } from '../telemetry/logger.ts';
import type { Actions, Output } from './actions.ts';

export type StopSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP';

export interface SignalSource {
  on(signal: StopSignal, handler: () => void): unknown;
  off(signal: StopSignal, handler: () => void): unknown;
}

export interface Host {
  readonly env: Environment;
  readonly cwd: string;
  readonly stdin: NodeJS.ReadableStream & {
    readonly isTTY?: boolean | undefined;
    /** Of a terminal: each key as it is pressed, and none of them a signal. */
    setRawMode?(raw: boolean): unknown;
  };
  readonly stdout: NodeJS.WritableStream & Output;
  readonly stderr: LogStream & Output;
  readonly signals: SignalSource;
  /** Loads the storage engine, which verbs that do not need it do not wait for. */
  loadActions(): Promise<Actions>;
}
