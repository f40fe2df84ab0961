/** Tells how far something long has come: a bar on a terminal, elsewhere a line every 10 s. */
import type { Output, Progress } from './actions.ts';

const BAR_WIDTH = 30;
const REDRAW_MS = 100;
const LINE_EVERY_MS = 10_000;

export class ProgressPrinter {
  readonly #output: Output;
  readonly #label: string;
  readonly #now: () => number;
  #printedAt: number;
  #drawn = false;

  /** `now`: milliseconds that only grow. */
  constructor(output: Output, label: string, now: () => number = () => performance.now()) {
    this.#output = output;
    this.#label = label;
    this.#now = now;
    // A bar is there at once; a line only about what takes long.
    this.#printedAt = output.isTTY === true ? Number.NEGATIVE_INFINITY : now();
  }

  /** Cheap enough to be called for every step. */
  show(progress: Progress): void {
    const terminal = this.#output.isTTY === true;
    const now = this.#now();
    if (now - this.#printedAt < (terminal ? REDRAW_MS : LINE_EVERY_MS)) return;
    this.#printedAt = now;
    if (!terminal) {
      this.#output.write(`${this.#label}: ${describe(progress)}\n`);
      return;
    }
    this.#drawn = true;
    this.#output.write(`\r\x1b[K${this.#label} ${bar(progress)}${describe(progress)}`);
  }

  /** Takes the bar away again. */
  end(): void {
    if (this.#drawn) this.#output.write('\r\x1b[K');
    this.#drawn = false;
  }
}

function describe({ unit, done, total }: Progress): string {
  return total === null || total === 0 ? `${done} ${unit}` : `${done} of ${total} ${unit} (${percent(done, total)}%)`;
}

function bar({ done, total }: Progress): string {
  if (total === null || total === 0) return '';
  const filled = Math.floor((Math.min(done, total) / total) * BAR_WIDTH);
  return `[${'='.repeat(filled)}${' '.repeat(BAR_WIDTH - filled)}] `;
}

/** Rounded down: 100 is said only when all is done. */
function percent(done: number, total: number): number {
  return Math.floor((Math.min(done, total) / total) * 100);
}
