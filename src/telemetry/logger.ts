/** The log of the appliance: the engine's `Log` over winston, one line a fact, on stderr. */
import { finished } from 'node:stream/promises';
import winston from 'winston';
import type { Log, LogFields } from '../lib/log.ts';
import { plainFields, plainText } from './log-fields.ts';
import { jsonLine, type LogEntry, type LogLevel, prettyLine } from './log-format.ts';
import { redactor } from './redactor.ts';

export type LogStyle = 'pretty' | 'json';

/** Where lines go; a terminal says so with `isTTY`. */
export type LogStream = NodeJS.WritableStream & { readonly isTTY?: boolean | undefined };

export interface LoggerOptions {
  readonly level: LogLevel;
  /** `auto`: pretty on a terminal, JSON elsewhere. */
  readonly format: 'auto' | 'pretty' | 'json';
  /** process.stderr, outside tests. It is not ended. */
  readonly stream: LogStream;
  /** Values to mask wherever they turn up. */
  readonly secrets?: readonly string[];
  /** Colour for people who look at a terminal. Default: where `stream` is one. */
  readonly color?: boolean;
  readonly now?: () => Date;
}

/** A `Log` that is owned by somebody, who closes it. */
export interface Logger extends Log {
  readonly style: LogStyle;
  /**
   * A text of several lines at level `info`, for a person: written as it stands where the style is pretty. In JSON it is
   * one ordinary line, `message` with `fields`.
   */
  announce(text: string, message: string, fields: LogFields): void;
  /**
   * Calls `listener`, which must not throw, for each line that has a field `event`, whatever the level that is written. Secrets are
   * masked in what it gets.
   */
  tap(listener: (entry: LogEntry) => void): void;
  /** Resolves once every line has been handed to the operating system. Lines that come later are dropped. */
  close(): Promise<void>;
}

export function createLogger(options: LoggerOptions): Logger {
  const style = options.format === 'auto' ? (options.stream.isTTY ? 'pretty' : 'json') : options.format;
  const sink: Sink = {
    style,
    color: options.color ?? options.stream.isTTY === true,
    redact: redactor(options.secrets ?? []),
    now: options.now ?? (() => new Date()),
    winston: winston.createLogger({
      level: options.level,
      levels: { error: 0, warn: 1, info: 2, debug: 3 },
      // Lines are complete when they reach winston: its part is levels, transports and an orderly end.
      format: winston.format.printf(({ message }) => String(message)),
      transports: [new winston.transports.Stream({ stream: options.stream, eol: '\n' })],
    }),
    stream: options.stream,
    taps: [],
  };
  return new WinstonLogger(sink, {});
}

/** What a logger and its children share. */
interface Sink {
  readonly style: LogStyle;
  readonly color: boolean;
  readonly redact: (text: string) => string;
  readonly now: () => Date;
  readonly winston: winston.Logger;
  readonly stream: LogStream;
  readonly taps: ((entry: LogEntry) => void)[];
}

class WinstonLogger implements Logger {
  readonly #sink: Sink;
  readonly #fields: LogFields;

  constructor(sink: Sink, fields: LogFields) {
    this.#sink = sink;
    this.#fields = fields;
  }

  get style(): LogStyle {
    return this.#sink.style;
  }

  debug(message: string, fields?: LogFields): void {
    this.#write('debug', message, fields);
  }

  info(message: string, fields?: LogFields): void {
    this.#write('info', message, fields);
  }

  warn(message: string, fields?: LogFields): void {
    this.#write('warn', message, fields);
  }

  error(message: string, fields?: LogFields): void {
    this.#write('error', message, fields);
  }

  child(fields: LogFields): Log {
    return new WinstonLogger(this.#sink, { ...this.#fields, ...fields });
  }

  announce(text: string, message: string, fields: LogFields): void {
    if (this.#sink.style === 'json') this.info(message, fields);
    else if (!this.#sink.winston.writableEnded) this.#sink.winston.log('info', this.#sink.redact(text));
  }

  tap(listener: (entry: LogEntry) => void): void {
    this.#sink.taps.push(listener);
  }

  async close(): Promise<void> {
    const { winston: logger, stream } = this.#sink;
    if (!logger.writableEnded) {
      const done = finished(logger, { readable: false });
      logger.end();
      await done;
    }
    // The transport does not wait for its stream: an empty write comes back after all that went before it.
    await new Promise<void>((resolve) => {
      stream.write('', () => resolve());
    });
  }

  #write(level: LogLevel, message: string, fields: LogFields = {}): void {
    const { winston: logger, redact, style, color, now, taps } = this.#sink;
    const written = !logger.writableEnded && logger.isLevelEnabled(level);
    const tapped = taps.length > 0 && fields.event !== undefined;
    if (!written && !tapped) return;
    const entry = {
      time: now(),
      level,
      message: plainText(message, redact),
      fields: plainFields({ ...this.#fields, ...fields }, redact),
    };
    if (tapped) for (const listener of taps) listener(entry);
    if (!written) return;
    logger.log(level, style === 'json' ? jsonLine(entry) : prettyLine(entry, color));
  }
}
