/** Numbers as people read them. */

export const NOTHING_KNOWN = '–';

const SIZE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

export interface Quantity {
  readonly value: string;
  readonly unit: string;
}

function threeDigits(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function sizeParts(bytes: number): Quantity {
  let at = 0;
  let value = bytes;
  // What would round to 1024 of a unit is shown as 1 of the next.
  while (value >= 999.5 && at < SIZE_UNITS.length - 1) {
    value /= 1024;
    at++;
  }
  const text = at === 0 ? String(Math.round(value)) : String(Number(threeDigits(value)));
  return { value: text, unit: SIZE_UNITS[at] ?? '' };
}

export function size(bytes: number | null): string {
  if (bytes === null) return NOTHING_KNOWN;
  const { value, unit } = sizeParts(bytes);
  return `${value} ${unit}`;
}

export function rate(bytes: number | null): string {
  return bytes === null ? NOTHING_KNOWN : `${size(bytes)}/s`;
}

export function count(value: number | null): string {
  if (value === null) return NOTHING_KNOWN;
  if (value > 0 && value < 10 && !Number.isInteger(value)) return value.toFixed(1);
  return Math.round(value).toLocaleString('en');
}

export function percent(share: number | null): string {
  if (share === null) return NOTHING_KNOWN;
  const value = share * 100;
  // All of it is said only of all of it.
  if (value > 99.9 && value < 100) return '99.9%';
  if (value > 0 && value < 0.1) return '<0.1%';
  return `${value >= 10 ? Number(value.toFixed(1)) : Number(value.toFixed(2))}%`;
}

export function milliseconds(ms: number | null): string {
  if (ms === null) return NOTHING_KNOWN;
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 1000) return `${Number(threeDigits(ms))} ms`;
  return `${Number(threeDigits(ms / 1000))} s`;
}

/** In its two largest units. */
export function duration(ms: number | null): string {
  if (ms === null) return NOTHING_KNOWN;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  let rest = Math.floor(ms / 1000);
  const parts: string[] = [];
  for (const [unit, seconds] of [
    ['d', 86_400],
    ['h', 3600],
    ['min', 60],
    ['s', 1],
  ] as const) {
    const whole = Math.floor(rest / seconds);
    rest -= whole * seconds;
    if (whole > 0) parts.push(`${whole} ${unit}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.join(' ');
}

export function money(amount: number, currency: string): string {
  const digits = amount > 0 && amount < 0.1 ? 5 : 2;
  return `${amount.toFixed(digits)} ${currency}`;
}

export function timeOfDay(iso: string): string {
  return new Date(iso).toLocaleTimeString('en-GB');
}

/** `in 4 min`, `3 h 12 min ago`. */
export function fromNow(iso: string | null): string {
  if (iso === null) return NOTHING_KNOWN;
  const ms = Date.parse(iso) - Date.now();
  return ms >= 0 ? `in ${duration(Math.max(ms, 1000))}` : `${duration(-ms)} ago`;
}
