/** How one entry of the log becomes one line: JSON for machines, a coloured line for people. */
import type { PlainFields, PlainValue } from './log-fields.ts';

export type LogLevel = 'error' | 'warn' | 'info' | 'debug';

export interface LogEntry {
  readonly time: Date;
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: PlainFields;
}

const RESERVED: ReadonlySet<string> = new Set(['time', 'level', 'message']);

const DIM = '\x1b[2m';
const RESET = '\x1b[0m';
const LEVEL_COLOR: Readonly<Record<LogLevel, string>> = {
  error: '\x1b[31m',
  warn: '\x1b[33m',
  info: '\x1b[32m',
  debug: '\x1b[36m',
};

/** `{"time":"2026-01-31T12:00:00.000Z","level":"info","message":"...", ...fields}`, without a line end. */
export function jsonLine({ time, level, message, fields }: LogEntry): string {
  const line: Record<string, PlainValue> = { time: time.toISOString(), level, message };
  for (const [name, value] of Object.entries(fields)) line[RESERVED.has(name) ? `${name}_` : name] = value;
  return JSON.stringify(line);
}

/** `12:00:00.000 info  message  key=value`, in local time, without a line end. */
export function prettyLine({ time, level, message, fields }: LogEntry, color: boolean): string {
  const paint = (code: string, text: string) => (color ? `${code}${text}${RESET}` : text);
  const parts = [paint(DIM, clockTime(time)), paint(LEVEL_COLOR[level], level.padEnd(5)), escapeControls(message)];
  const details = Object.entries(fields).map(
    ([name, value]) => `${paint(DIM, `${escapeControls(name)}=`)}${prettyValue(value)}`,
  );
  return details.length === 0 ? parts.join(' ') : `${parts.join(' ')}  ${details.join(' ')}`;
}

/**
 * Makes control characters visible, so that a text from elsewhere can neither begin a line of its own nor steer the
 * terminal it is shown on.
 */
export function escapeControls(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, (char) => {
    if (char === '\n') return '\\n';
    if (char === '\r') return '\\r';
    if (char === '\t') return '\\t';
    return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}

function clockTime(time: Date): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const ms = String(time.getMilliseconds()).padStart(3, '0');
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}.${ms}`;
}

function prettyValue(value: PlainValue): string {
  if (typeof value === 'string') return /^[\w./:@%+-]+$/.test(value) ? value : `"${escapeControls(value)}"`;
  return escapeControls(JSON.stringify(value));
}
