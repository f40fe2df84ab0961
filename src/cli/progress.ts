/** Tells how far something long has come: a bar with the rate and the time left on a terminal, elsewhere a line every 10 s. */
import { approximateDuration, approximateSize } from '../lib/units.ts';
import type { Output, Progress, ProgressOptions } from './actions.ts';

const BAR_WIDTH = 30;
/** A shorter one says less than the room it takes. */
const BAR_WIDTH_MIN = 6;
const REDRAW_MS = 100;
const LINE_EVERY_MS = 10_000;
/** What takes a step all the time still shows that time passes. */
const TICK_MS = 1000;
/** The rate is that of the newest while; a mean since the beginning would be wrong for long after a change. */
const RATE_WINDOW_MS = 10_000;
const RATE_AFTER_MS = 1000;
/** What is said to be left is a guess, and beyond this not worth making. */
const LEFT_MS_MAX = 100 * 86_400_000;

interface Sample {
  readonly atMs: number;
  readonly done: number;
}

export class ProgressPrinter {
  readonly #output: Output;
  readonly #label: string;
  readonly #now: () => number;
  readonly #startedAt: number;
  #printedAt: number;
  #drawn = false;
  #newest: Progress | null = null;
  /** Of the last while, the oldest first. */
  #samples: Sample[] = [];

  /** `now`: milliseconds that only grow. */
  constructor(output: Output, label: string, now: () => number = () => performance.now()) {
    this.#output = output;
    this.#label = label;
    this.#now = now;
    this.#startedAt = now();
    // A bar is there at once; a line only about what takes long.
    this.#printedAt = output.isTTY === true ? Number.NEGATIVE_INFINITY : this.#startedAt;
  }

  /** Cheap enough to be called for every step. */
  show(progress: Progress): void {
    const now = this.#now();
    // Something else is counted from here on, and nothing is known of its rate.
    if (progress.unit !== this.#newest?.unit || progress.done < this.#newest.done) this.#samples = [];
    const last = this.#samples.at(-1);
    this.#newest = progress;
    if (last === undefined || now - last.atMs >= REDRAW_MS) this.#samples.push({ atMs: now, done: progress.done });
    while ((this.#samples[1]?.atMs ?? now) < now - RATE_WINDOW_MS) this.#samples.shift();
    this.#print(now);
  }

  /** To be called from time to time while nothing new is known, so that time is seen to pass. */
  tick(): void {
    this.#print(this.#now());
  }

  /** Takes the bar away again. */
  end(): void {
    if (this.#drawn) this.#output.write('\r\x1b[K');
    this.#drawn = false;
  }

  #print(now: number): void {
    const terminal = this.#output.isTTY === true;
    if (now - this.#printedAt < (terminal ? REDRAW_MS : LINE_EVERY_MS)) return;
    this.#printedAt = now;
    const text =
      this.#newest === null
        ? `${approximateDuration(now - this.#startedAt)} so far`
        : this.#describe(this.#newest, now);
    if (!terminal) {
      this.#output.write(`${this.#label}: ${text}\n`);
      return;
    }
    this.#drawn = true;
    // One that does not know its width says 0.
    const width = this.#output.columns ? this.#output.columns - 1 : Number.POSITIVE_INFINITY;
    const room = width - this.#label.length - text.length - ' [] '.length;
    const line = `${this.#label} ${this.#newest === null ? '' : bar(this.#newest, Math.min(BAR_WIDTH, room))}${text}`;
    // A line that is wider than the terminal could not be taken away again.
    this.#output.write(`\r\x1b[K${line.slice(0, width)}`);
  }

  #describe(progress: Progress, now: number): string {
    const { unit, done, total, note } = progress;
    const isBytes = /^bytes\b/.test(unit);
    const number = (count: number): string => (isBytes ? approximateSize(count) : `${count}`);
    const amount = (count: number): string => `${number(count)}${isBytes ? unit.slice('bytes'.length) : ` ${unit}`}`;
    const facts =
      total === null || total === 0
        ? [amount(done)]
        : [`${number(done)} of ${amount(total)} (${percent(done, total)}%)`];
    const rate = this.#rate(done, now);
    if (rate !== null) {
      const rounded = isBytes || rate >= 10 ? Math.round(rate) : Math.round(rate * 10) / 10;
      facts.push(`${isBytes ? approximateSize(rounded) : `${rounded} ${unit}`}/s`);
    }
    const leftMs = total === null || rate === null || rate <= 0 ? null : ((total - done) / rate) * 1000;
    if (leftMs !== null && leftMs > 0 && leftMs < LEFT_MS_MAX) {
      facts.push(`${approximateDuration(Math.max(1000, leftMs))} left`);
    }
    if (note !== undefined) facts.push(note);
    return facts.join(', ');
  }

  /** A second, or null while there is too little to tell. */
  #rate(done: number, now: number): number | null {
    const [first] = this.#samples;
    if (first === undefined || now - first.atMs < RATE_AFTER_MS) return null;
    return ((done - first.done) / (now - first.atMs)) * 1000;
  }
}

/** Runs `work` with a bar, or lines, of its own on `output`, which are gone when it ends. */
export async function withProgress<T>(
  output: Output,
  label: string,
  work: (options: ProgressOptions) => Promise<T>,
): Promise<T> {
  const progress = new ProgressPrinter(output, label);
  const ticking = setInterval(() => progress.tick(), TICK_MS);
  try {
    return await work({ onProgress: (state) => progress.show(state) });
  } finally {
    clearInterval(ticking);
    progress.end();
  }
}

/** Nothing where it would have no room. */
function bar({ done, total }: Progress, width: number): string {
  if (total === null || total === 0 || width < BAR_WIDTH_MIN) return '';
  const filled = Math.floor((Math.min(done, total) / total) * width);
  return `[${'='.repeat(filled)}${' '.repeat(width - filled)}] `;
}

/** Rounded down: 100 is said only when all is done. */
function percent(done: number, total: number): number {
  return Math.floor((Math.min(done, total) / total) * 100);
}
