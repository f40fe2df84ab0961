/** Makes the fields of a log line plain and bounded: no errors, buffers, cycles or endless texts, and no secrets. */
import { describeError, isStorageError } from '../lib/errors.ts';
import type { LogFields } from '../lib/log.ts';

export type PlainValue =
  | string
  | number
  | boolean
  | null
  | readonly PlainValue[]
  | { readonly [name: string]: PlainValue };
export type PlainFields = Readonly<Record<string, PlainValue>>;

const TEXT_LENGTH_MAX = 8192;
const ITEMS_MAX = 100;
const DEPTH_MAX = 6;
const CAUSES_MAX = 5;

/** `redact` is applied to every text. Fields that are undefined are left out. */
export function plainFields(fields: LogFields, redact: (text: string) => string): PlainFields {
  const plain: Record<string, PlainValue> = {};
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined) plain[name] = plainValue(value, redact, 0);
  }
  return plain;
}

/** `text` without its secrets, cut to a length that a log can bear. */
export function plainText(text: string, redact: (text: string) => string): string {
  const safe = redact(text);
  return safe.length <= TEXT_LENGTH_MAX ? safe : `${safe.slice(0, TEXT_LENGTH_MAX)}... (${safe.length} characters)`;
}

function plainValue(value: unknown, redact: (text: string) => string, depth: number): PlainValue {
  switch (typeof value) {
    case 'string':
      return plainText(value, redact);
    case 'number':
      return Number.isFinite(value) ? value : String(value);
    case 'boolean':
      return value;
    case 'object':
      return value === null ? null : plainObject(value, redact, depth);
    default:
      return plainText(String(value), redact);
  }
}

function plainObject(value: object, redact: (text: string) => string, depth: number): PlainValue {
  if (value instanceof Error) return plainError(value, redact);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'invalid date' : value.toISOString();
  if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`;
  // Bounding the depth also ends cycles.
  if (depth >= DEPTH_MAX) return '...';
  if (Array.isArray(value)) {
    const items = value.slice(0, ITEMS_MAX).map((item) => plainValue(item, redact, depth + 1));
    return value.length > ITEMS_MAX ? [...items, `... (${value.length} items)`] : items;
  }
  const plain: Record<string, PlainValue> = {};
  for (const [name, item] of Object.entries(value).slice(0, ITEMS_MAX)) {
    if (item !== undefined) plain[name] = plainValue(item, redact, depth + 1);
  }
  return plain;
}

/** A failure of the outside world is told by code and causes; only a mistake of ours needs its stack. */
function plainError(error: Error, redact: (text: string) => string): PlainValue {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : null;
  const causes: string[] = [];
  for (let e: unknown = error.cause; e !== undefined && e !== null && causes.length < CAUSES_MAX; ) {
    causes.push(plainText(describeCause(e), redact));
    e = e instanceof Error ? e.cause : undefined;
  }
  return {
    ...(code === null ? { name: error.name } : { code }),
    message: plainText(error.message || describeError(error), redact),
    ...(causes.length === 0 ? {} : { causes }),
    ...(code === null && error.stack !== undefined ? { stack: plainText(error.stack, redact) } : {}),
  };
}

function describeCause(cause: unknown): string {
  if (isStorageError(cause)) return `${cause.code}: ${cause.message}`;
  return cause instanceof Error ? cause.message || cause.name : String(cause);
}
