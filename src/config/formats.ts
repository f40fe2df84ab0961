/** The kinds of values that settings take: how each is checked, and how it is read from a text. */
import { getCipherInfo } from 'node:crypto';
import JSON5 from 'json5';
import { formatDuration, formatSize, parseDuration, parseRate, parseSize } from '../lib/units.ts';
import { parseListenAddress } from './listen-address.ts';
import { show } from './problems.ts';
import { parseStoreUrl } from './store-url.ts';

/** `T` is the value as it is written in a configuration file. */
export interface Format<T> {
  /** For the documentation: `size`, `` `a` or `b` ``. */
  readonly name: string;
  /** Throws an Error that says what is expected. Secrets are not quoted in it. */
  check(value: unknown): asserts value is T;
  /** The value that a text of the environment or of a flag stands for, for `check` to judge. */
  read(text: string): unknown;
}

const asIs = (text: string): unknown => text;

/** `a, b`, or as it is in a file: `["a", "b"]`. What begins with a bracket may be an address, too: `[::1]:10809`. */
function readList(text: string): unknown {
  if (/^\s*\[.*\]\s*$/s.test(text)) {
    try {
      return JSON5.parse(text);
    } catch {
      // Told of as what it is otherwise.
    }
  }
  return text.split(',').map((item) => item.trim());
}

export const text: Format<string> = {
  name: 'text',
  read: asIs,
  check(value) {
    if (typeof value !== 'string' || value === '') throw new Error(`expected a text, not ${show(value)}`);
    if (/\p{Cc}/u.test(value)) throw new Error('expected a text without control characters');
  },
};

/** May be empty, unlike every other text. */
export const keyText: Format<string> = {
  name: 'text',
  read: asIs,
  check(value) {
    if (typeof value !== 'string') throw new Error(`expected a text, not ${show(value)}`);
    if (/\p{Cc}/u.test(value)) throw new Error('expected a text without control characters');
    if (Buffer.byteLength(value) > 900) throw new Error('expected at most 900 bytes');
  },
};

export const secretText: Format<string> = {
  name: 'secret text',
  read: asIs,
  check(value) {
    if (typeof value !== 'string') throw new Error(`expected a text in quotes, not a ${typeof value}`);
    if (value === '') throw new Error('expected a text that is not empty');
  },
};

export const boolean: Format<boolean> = {
  name: '`true` or `false`',
  read: (text) => (text === 'true' || text === 'false' ? text === 'true' : text),
  check(value) {
    if (typeof value !== 'boolean') throw new Error(`expected true or false, not ${show(value)}`);
  },
};

export function wholeNumber(min: number, max: number): Format<number> {
  return {
    name: `whole number from ${min} to ${max}`,
    read: (text) => (/^-?\d+$/.test(text) ? Number(text) : text),
    check(value) {
      if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
        throw new Error(`expected a whole number from ${min} to ${max}, not ${show(value)}`);
      }
    },
  };
}

export const price: Format<number> = {
  name: 'number from 0 to 1000000',
  read: (text) => (/^\d+(\.\d+)?$/.test(text) ? Number(text) : text),
  check(value) {
    if (typeof value !== 'number' || !(value >= 0 && value <= 1e6)) {
      throw new Error(`expected a number from 0 to 1000000, such as 0.005, not ${show(value)}`);
    }
  },
};

export const currency: Format<string> = {
  name: 'three capital letters, such as `USD`',
  read: asIs,
  check(value) {
    if (typeof value === 'string' && /^[A-Z]{3}$/.test(value)) return;
    throw new Error(`expected three capital letters such as "USD", not ${show(value)}`);
  },
};

/** `later`: values of other versions, with the reason why they are not taken here. */
export function oneOf<const T extends string>(
  choices: readonly T[],
  later: Readonly<Record<string, string>> = {},
): Format<T> {
  const allowed: readonly unknown[] = choices;
  return {
    name: choices.map((choice) => `\`${choice}\``).join(', '),
    read: asIs,
    check(value) {
      if (allowed.includes(value)) return;
      const reason = typeof value === 'string' && Object.hasOwn(later, value) ? `: ${later[value]}` : '';
      const expected = choices.length === 1 ? `"${choices[0]}"` : `one of ${choices.join(', ')}`;
      throw new Error(`expected ${expected}, not ${show(value)}${reason}`);
    },
  };
}

export function size(min: number, max: number): Format<string> {
  return bounded('size', parseSize, formatSize, min, max);
}

export function duration(min: number, max: number): Format<string> {
  return bounded('duration', parseDuration, formatDuration, min, max);
}

export const rate: Format<string> = {
  name: 'rate, such as `10MiB/s`',
  read: asIs,
  check(value) {
    // Slower than this, a request would not get through a block within any deadline.
    if (parseRate(spelling(value, 'rate')) < 1024) throw new Error(`expected at least 1KiB/s, not ${show(value)}`);
  },
};

export const percentage: Format<string> = {
  name: 'percentage, such as `5%`',
  read: asIs,
  check: (value) => void parsePercentage(value),
};

/** 0 to 1 of a text such as `5%`. */
export function parsePercentage(value: unknown): number {
  const match = typeof value === 'string' ? /^(\d{1,3}(?:\.\d+)?)%$/.exec(value) : null;
  const percent = match === null ? Number.NaN : Number(match[1]);
  if (!(percent > 0 && percent <= 100)) throw new Error(`expected a percentage such as "5%", not ${show(value)}`);
  return percent / 100;
}

/** The block sizes of the `blocks` layout: powers of two. */
export function powerOfTwoSize(min: number, max: number): Format<string> {
  const inner: Format<string> = size(min, max);
  return {
    name: `size, a power of two from ${formatSize(min)} to ${formatSize(max)}`,
    read: asIs,
    check(value) {
      inner.check(value);
      const bytes = parseSize(value);
      const below = 2 ** Math.floor(Math.log2(bytes));
      if (bytes !== below) {
        const nearby = `${formatSize(below)} or ${formatSize(below * 2)}`;
        throw new Error(`expected a power of two, such as ${nearby}, not ${show(value)}`);
      }
    },
  };
}

/** `0`, or what `inner` takes. */
export function zeroOr(inner: Format<string>): Format<string | 0> {
  return {
    name: `\`0\`, or ${inner.name}`,
    read: asIs,
    check(value) {
      if (value !== '0' && value !== 0) inner.check(value);
    },
  };
}

export const storeUrl: Format<string> = {
  name: '`s3://bucket/prefix`, `file:dir` or `memory:`',
  read: asIs,
  check(value) {
    if (typeof value !== 'string') throw new Error(`expected a url such as "s3://bucket/prefix", not ${show(value)}`);
    parseStoreUrl(value, '/');
  },
};

export const endpointUrl: Format<string> = {
  name: 'http or https url',
  read: asIs,
  check(value) {
    const url = typeof value === 'string' ? URL.parse(value) : null;
    if (url === null || !/^https?:$/.test(url.protocol)) {
      throw new Error(`expected a url such as "https://s3.example.com", not ${show(value)}`);
    }
    if (url.username !== '' || url.password !== '') throw new Error('expected a url without credentials in it');
    if (url.search !== '' || url.hash !== '') throw new Error(`expected a url without a query, not ${show(value)}`);
  },
};

/** Not quoted in messages: what follows the host is often a secret. */
export const webhookUrl: Format<string> = {
  name: 'http or https url',
  read: asIs,
  check(value) {
    const url = typeof value === 'string' ? URL.parse(value) : null;
    if (url === null || !/^https?:$/.test(url.protocol)) {
      throw new Error('expected a url such as "https://hooks.example.com/services/..."');
    }
    if (url.username !== '' || url.password !== '') throw new Error('expected a url without a user and password in it');
  },
};

export const listenList: Format<readonly string[]> = {
  name: 'list of `host:port`',
  read: readList,
  check(value) {
    if (!Array.isArray(value)) throw new Error(`expected a list such as ["127.0.0.1:10809"], not ${show(value)}`);
    for (const address of value) parseListenAddress(address);
  },
};

export const listenAddress: Format<string> = {
  name: '`host:port`',
  read: asIs,
  check: (value) => void parseListenAddress(value),
};

export const hostList: Format<readonly string[]> = {
  name: 'list of host names',
  read: readList,
  check(value) {
    if (!Array.isArray(value)) throw new Error(`expected a list such as ["disks.example.net"], not ${show(value)}`);
    for (const name of value) {
      if (typeof name === 'string' && /^[a-z0-9_][a-z0-9._-]{0,252}$/i.test(name)) continue;
      throw new Error(`expected a host name without a port, such as "disks.example.net", not ${show(name)}`);
    }
  },
};

export const cipher: Format<boolean | string> = {
  name: '`false`, `true` (AES-256-CBC) or the name of a cipher',
  read: boolean.read,
  check(value) {
    if (typeof value === 'boolean') return;
    const info = typeof value === 'string' ? getCipherInfo(value) : undefined;
    // The format's IV is one cipher block: only modes with whole blocks and an IV of that length fit.
    if (info === undefined || info.mode !== 'cbc' || info.ivLength !== info.blockSize || info.name.includes('hmac')) {
      throw new Error(`expected true, false, or a block cipher in CBC mode such as "AES-256-CBC", not ${show(value)}`);
    }
  },
};

function bounded(
  noun: string,
  parse: (text: string) => number,
  format: (value: number) => string,
  min: number,
  max: number,
): Format<string> {
  const example = noun === 'size' ? '10GiB' : '30s';
  return {
    name: `${noun}, such as \`${example}\``,
    read: asIs,
    check(value) {
      const parsed = parse(spelling(value, noun));
      if (parsed < min) throw new Error(`expected at least ${format(min)}, not ${show(value)}`);
      if (parsed > max) throw new Error(`expected at most ${format(max)}, not ${show(value)}`);
    },
  };
}

/** A bare number gets the same refusal as its text: it says what to write instead. */
function spelling(value: unknown, noun: string): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return String(value);
  throw new Error(`expected a ${noun} in quotes, not ${show(value)}`);
}
