/** Sizes, durations and rates as people write them (`10GiB`, `30s`, `10MiB/s`), to numbers and back. */
import { StorageError } from './errors.ts';

interface Unit {
  readonly name: string;
  readonly factor: number;
}

/** A kind of quantity: what it is called, an example to show, and its units, the largest first. */
interface Quantity {
  readonly noun: string;
  readonly example: string;
  readonly units: readonly Unit[];
  /** What other tools write, to the unit here that is most likely meant; keys are lower case. */
  readonly aliases: Readonly<Record<string, string>>;
}

const SIZE: Quantity = {
  noun: 'size',
  example: '10GiB',
  units: [
    { name: 'PiB', factor: 2 ** 50 },
    { name: 'TiB', factor: 2 ** 40 },
    { name: 'GiB', factor: 2 ** 30 },
    { name: 'MiB', factor: 2 ** 20 },
    { name: 'KiB', factor: 2 ** 10 },
    { name: 'B', factor: 1 },
  ],
  aliases: aliasesOf({ PiB: 'p pb', TiB: 't tb', GiB: 'g gb', MiB: 'm mb', KiB: 'k kb', B: 'byte bytes' }),
};

const DURATION: Quantity = {
  noun: 'duration',
  example: '30s',
  units: [
    { name: 'd', factor: 86_400_000 },
    { name: 'h', factor: 3_600_000 },
    { name: 'm', factor: 60_000 },
    { name: 's', factor: 1000 },
    { name: 'ms', factor: 1 },
  ],
  aliases: aliasesOf({
    d: 'day days',
    h: 'hour hours',
    m: 'min mins minute minutes',
    s: 'sec secs second seconds',
    ms: 'msec millis milliseconds',
  }),
};

const RATE: Quantity = {
  noun: 'rate',
  example: '10MiB/s',
  units: SIZE.units.map(({ name, factor }) => ({ name: `${name}/s`, factor })),
  aliases: Object.fromEntries(
    Object.entries(SIZE.aliases).flatMap(([alias, name]) => [
      [alias, `${name}/s`],
      [`${alias}/s`, `${name}/s`],
      [`${alias}ps`, `${name}/s`],
      [name.toLowerCase(), `${name}/s`],
    ]),
  ),
};

/** Bytes of `10GiB`, `512KiB`, `100B`, or `0`. Throws INVALID, with the right spelling where it can be guessed. */
export function parseSize(text: string): number {
  return parse(SIZE, text);
}

/** The shortest exact spelling: `1536MiB`, never `1.5GiB`. `bytes` is a whole number, 0 or more. */
export function formatSize(bytes: number): string {
  return format(SIZE, bytes);
}

/** Milliseconds of `500ms`, `30s`, `5m`, `2h`, `1d`, or `0`. Throws INVALID as `parseSize` does. */
export function parseDuration(text: string): number {
  return parse(DURATION, text);
}

/** The shortest exact spelling: `90s`, never `1.5m`. `ms` is a whole number, 0 or more. */
export function formatDuration(ms: number): string {
  return format(DURATION, ms);
}

/** Bytes per second of `10MiB/s`, or `0`. Throws INVALID as `parseSize` does. */
export function parseRate(text: string): number {
  return parse(RATE, text);
}

/** The shortest exact spelling: `1536KiB/s`. `bytesPerSecond` is a whole number, 0 or more. */
export function formatRate(bytesPerSecond: number): string {
  return format(RATE, bytesPerSecond);
}

/** A size for people, rounded to at most three digits: `1.46 GiB`. Not for parsing. */
export function approximateSize(bytes: number): string {
  return approximate(SIZE.units, bytes);
}

/** A duration for people, in its two largest units: `3 h 12 m`. Not for parsing. */
export function approximateDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const units = DURATION.units.filter(({ name }) => name !== 'ms');
  // Rounded down to whole seconds first, so that 59.9 s never reads "60 s".
  let rest = Math.floor(ms / 1000) * 1000;
  const parts: string[] = [];
  for (const { name, factor } of units) {
    const count = Math.floor(rest / factor);
    rest -= count * factor;
    if (count > 0) parts.push(`${count} ${name}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.join(' ');
}

/** A latency for people, short ones in microseconds: `350 us`, `1.5 ms`. Not for parsing. */
export function milliseconds(ms: number): string {
  return ms < 1 ? `${Math.round(ms * 1000)} us` : ms < 10 ? `${Math.round(ms * 10) / 10} ms` : `${Math.round(ms)} ms`;
}

function aliasesOf(spellings: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(spellings).flatMap(([name, aliases]) => aliases.split(' ').map((alias) => [alias, name])),
  );
}

function parse(quantity: Quantity, text: string): number {
  const match = /^(\d+(?:\.\d+)?) ?([a-z/]*)$/i.exec(text.trim());
  if (match === null) throw refusal(quantity, text, `write a number and a unit, such as "${quantity.example}"`);
  const [, digits = '', suffix = ''] = match;
  const value = Number(digits);
  if (suffix === '') return bareNumber(quantity, text, value);

  const unit = quantity.units.find(({ name }) => name === suffix);
  if (unit === undefined || text !== `${digits}${suffix}`) throw misspelt(quantity, text, value, suffix);
  const total = value * unit.factor;
  if (!Number.isSafeInteger(total)) {
    const why = Number.isInteger(total) ? 'it is too large' : `it is no whole number of ${smallest(quantity)}`;
    throw refusal(quantity, text, why);
  }
  if (digits.includes('.'))
    throw refusal(quantity, text, `fractions are not taken: write "${format(quantity, total)}"`);
  return total;
}

/** Nothing is nothing in any unit; every other bare number could be read in several. */
function bareNumber(quantity: Quantity, text: string, value: number): number {
  if (text === '0') return 0;
  if (!Number.isSafeInteger(value)) throw refusal(quantity, text, `it needs a unit, as in "${quantity.example}"`);
  const smallestUnit = format(quantity, value);
  const hint =
    quantity === DURATION
      ? `write "${value}s" for seconds, or "${smallestUnit}" for milliseconds`
      : `write "${smallestUnit}" for ${smallest(quantity)}`;
  throw refusal(quantity, text, `it needs a unit: ${hint}`);
}

function misspelt(quantity: Quantity, text: string, value: number, suffix: string): StorageError {
  const lower = suffix.toLowerCase();
  const meant = quantity.units.find(({ name }) => name.toLowerCase() === lower)?.name ?? quantity.aliases[lower];
  const factor = quantity.units.find(({ name }) => name === meant)?.factor;
  const units = quantity.units.map(({ name }) => name).join(', ');
  if (factor === undefined) return refusal(quantity, text, `the units are ${units}`);
  const total = value * factor;
  const spelling =
    Number.isSafeInteger(total) && !Number.isInteger(value) ? format(quantity, total) : `${value}${meant}`;
  return refusal(quantity, text, `write "${spelling}" (the units are ${units})`);
}

function refusal(quantity: Quantity, text: string, why: string): StorageError {
  return new StorageError('INVALID', `${JSON.stringify(text)} is not a ${quantity.noun}: ${why}`);
}

function smallest(quantity: Quantity): string {
  if (quantity === DURATION) return 'milliseconds';
  return quantity === RATE ? 'bytes per second' : 'bytes';
}

function format(quantity: Quantity, value: number): string {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new StorageError('INVALID', `${value} cannot be written as a ${quantity.noun}`);
  }
  if (value === 0) return '0';
  const unit = quantity.units.find(({ factor }) => value % factor === 0);
  return unit === undefined ? String(value) : `${value / unit.factor}${unit.name}`;
}

function approximate(units: readonly Unit[], value: number): string {
  for (const { name, factor } of units) {
    // What would round to 1024 of a unit is shown as 1 of the next.
    if (value < (factor === 1 ? 1 : factor * 0.9995)) continue;
    const scaled = value / factor;
    const digits = scaled >= 100 || factor === 1 ? 0 : scaled >= 10 ? 1 : 2;
    return `${Number(scaled.toFixed(digits))} ${name}`;
  }
  return '0 B';
}
