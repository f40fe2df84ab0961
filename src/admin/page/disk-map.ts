/** The map of a disk: every cell a stretch of it, coloured by what is in it; to be looked into by pointer and by keys. */
import { type Api, Refusal } from './api.ts';
import { cellColor, colorOf, dirtySide, type Kind, mix, type Rgb } from './cell-colors.ts';
import type { MapView } from './document.ts';
import { byId, make, say, setAttributes } from './dom.ts';
import { percent, size } from './format.ts';

/** From one cell to the next, at least; and what is left between them. */
const PITCH_MIN = 11;
const GAP = 2;
const CELLS_MAX = 2000;
const ROWS_MAX = 26;
const PAGE_BYTES = 4096;
const ZOOM = 8;
const REFRESH_MS = 1_800;
/** A map that takes long to come is asked for less often: so many times as long after it, up to a limit. */
const PATIENCE = 5;
const REFRESH_MAX_MS = 6_000;
const FLASH_MS = 900;

const KINDS: readonly (readonly [Kind, string])[] = [
  ['dirty', 'Not in the bucket yet'],
  ['clean', 'Cached'],
  ['stored', 'In the bucket'],
  ['hole', 'Empty'],
  ['unknown', 'Not looked at yet'],
];

interface Range {
  readonly offset: number;
  /** Null: to the end. */
  readonly length: number | null;
}

type Shares = Readonly<Record<Exclude<Kind, 'hole'>, Uint8Array>>;

const WHOLE: Range = { offset: 0, length: null };

export class DiskMap {
  readonly element: HTMLElement;
  readonly #api: Api;
  readonly #volume: string;
  readonly #canvas = make('canvas', {
    ...{ class: 'map-canvas', role: 'slider', tabindex: '0', 'aria-label': 'Map of the disk' },
    ...{ 'aria-describedby': 'map-keys', 'aria-valuemin': '0', 'aria-valuenow': '0' },
  });
  readonly #said = make('p', { class: 'map-said' });
  readonly #where = make('span', { class: 'muted' });
  readonly #swatches = new Map<Kind, HTMLElement>();
  readonly #amounts = new Map<Kind, HTMLElement>();
  readonly #buttons: Readonly<Record<'in' | 'out' | 'whole', HTMLButtonElement>>;
  #range: Range = WHOLE;
  #above: Range[] = [];
  #view: MapView | null = null;
  #shares: Shares | null = null;
  #changedAt = new Float64Array(0);
  #columns = 1;
  #pitch = PITCH_MIN;
  #cursor: number | null = null;
  #askAgainAt = 0;
  #asking = false;
  #questions = 0;
  #frame = 0;

  constructor(api: Api, volume: string) {
    this.#api = api;
    this.#volume = volume;
    const button = (text: string, label: string, onPress: () => void): HTMLButtonElement => {
      const made = make('button', { type: 'button', class: 'quiet', 'aria-label': label, title: label }, text);
      made.addEventListener('click', onPress);
      return made;
    };
    this.#buttons = {
      out: button('−', 'Show more of the disk', () => this.#zoomOut()),
      in: button('+', 'Look closer', () => this.#zoomIn()),
      whole: button('Whole disk', 'Show the whole disk', () => this.#go(WHOLE, [])),
    };
    const legend = KINDS.map(([kind, label]) => {
      const swatch = make('span', { class: `swatch c-${kind}`, 'aria-hidden': 'true' });
      const amount = make('strong');
      this.#swatches.set(kind, swatch);
      this.#amounts.set(kind, amount);
      return make('li', {}, swatch, `${label} `, amount);
    });
    const { out, in: closer, whole } = this.#buttons;
    this.element = make(
      'section',
      { class: 'card', 'aria-labelledby': 'map-title' },
      make(
        'div',
        { class: 'map-head' },
        make('h2', { id: 'map-title' }, 'Map of the disk'),
        this.#where,
        make('div', { class: 'map-tools' }, out, closer, whole),
      ),
      this.#canvas,
      this.#said,
      make('ul', { class: 'legend' }, ...legend),
      make(
        'p',
        { id: 'map-keys', hidden: true },
        'Arrow keys move from cell to cell, Enter looks closer, Backspace shows more, Home shows the whole disk.',
      ),
    );
    this.#listen();
  }

  /** To be called now and then: asks for a new map where the last one is old. */
  refresh(): void {
    if (this.#asking || document.hidden || this.#canvas.clientWidth === 0 || performance.now() < this.#askAgainAt)
      return;
    void this.#ask();
  }

  #listen(): void {
    const canvas = this.#canvas;
    canvas.addEventListener('pointermove', (event) => this.#pointAt(this.#cellUnder(event)));
    canvas.addEventListener('pointerleave', () => this.#pointAt(null));
    canvas.addEventListener('click', (event) => {
      this.#pointAt(this.#cellUnder(event));
      this.#zoomIn();
    });
    canvas.addEventListener('keydown', (event) => {
      if (!this.#key(event.key)) return;
      event.preventDefault();
    });
    canvas.addEventListener('blur', () => this.#pointAt(null));
    new ResizeObserver(() => this.#resized()).observe(canvas);
    new MutationObserver(() => this.#draw()).observe(document.documentElement, { attributeFilter: ['data-theme'] });
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#draw());
  }

  #key(key: string): boolean {
    const steps: Readonly<Record<string, number>> = {
      ...{ ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.#columns, ArrowDown: this.#columns },
    };
    const step = steps[key];
    if (step !== undefined) this.#pointAt(this.#cursor === null ? 0 : this.#cursor + step);
    else if (key === 'Enter' || key === '+') this.#zoomIn();
    else if (key === 'Backspace' || key === 'Escape' || key === '-') this.#zoomOut();
    else if (key === 'Home') this.#go(WHOLE, []);
    else return false;
    return true;
  }

  #cellUnder(event: MouseEvent): number | null {
    const { left, top } = this.#canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - left) / this.#pitch);
    const cell = Math.floor((event.clientY - top) / this.#pitch) * this.#columns + column;
    return column < this.#columns && cell < this.#cells ? cell : null;
  }

  get #cells(): number {
    return this.#shares?.dirty.length ?? 0;
  }

  #pointAt(cell: number | null): void {
    this.#cursor = cell === null ? null : Math.max(0, Math.min(this.#cells - 1, cell));
    this.#tell();
    this.#draw();
  }

  #zoomIn(): void {
    const view = this.#view;
    if (view === null) return;
    const length = Math.max(view.length / ZOOM, Math.min(view.length, PAGE_BYTES * this.#columns));
    if (length >= view.length) return;
    const cell = this.#cursor ?? Math.floor(this.#cells / 2);
    const middle = view.offset + (cell + 0.5) * view.cellBytes;
    const whole = (bytes: number): number => Math.floor(bytes / PAGE_BYTES) * PAGE_BYTES;
    const last = view.offset + view.length - length;
    const offset = whole(Math.max(view.offset, Math.min(last, middle - length / 2)));
    this.#go({ offset, length: Math.min(whole(length), view.sizeBytes - offset) }, [...this.#above, this.#range]);
  }

  #zoomOut(): void {
    const range = this.#above.at(-1);
    if (range !== undefined) this.#go(range, this.#above.slice(0, -1));
  }

  #go(range: Range, above: Range[]): void {
    this.#range = range;
    this.#above = above;
    this.#cursor = null;
    void this.#ask();
  }

  #resized(): void {
    const width = this.#canvas.clientWidth + GAP;
    const columns = Math.max(8, Math.floor(width / PITCH_MIN));
    this.#pitch = width / columns;
    this.#draw();
    if (columns === this.#columns) return;
    this.#columns = columns;
    void this.#ask();
  }

  async #ask(): Promise<void> {
    const range = this.#range;
    // Only the newest question counts: answers may come in another order.
    const question = ++this.#questions;
    const rows = Math.min(ROWS_MAX, Math.floor(CELLS_MAX / this.#columns));
    const begun = performance.now();
    this.#asking = true;
    try {
      const view = await this.#api.map(this.#volume, range.offset, range.length, rows * this.#columns);
      if (question === this.#questions) this.#show(view);
    } catch (error) {
      if (question !== this.#questions) return;
      // A volume may have become smaller than what was looked at.
      if (range !== WHOLE && error instanceof Refusal && error.status === 400) this.#go(WHOLE, []);
      else say(this.#said, `There is no map: ${error instanceof Error ? error.message : 'no answer'}`);
    } finally {
      this.#asking = false;
      const took = performance.now() - begun;
      this.#askAgainAt = begun + Math.max(REFRESH_MS, Math.min(REFRESH_MAX_MS, took * PATIENCE));
    }
  }

  #show(view: MapView): void {
    const shares = {
      ...{ dirty: bytesOf(view.dirty), clean: bytesOf(view.clean) },
      ...{ stored: bytesOf(view.stored), unknown: bytesOf(view.unknown) },
    };
    const before = this.#shares;
    const isSame = before?.dirty.length === shares.dirty.length && this.#view?.offset === view.offset;
    const now = performance.now();
    const changed = (cell: number): boolean =>
      before !== null &&
      (['dirty', 'clean', 'stored'] as const).some((kind) => before[kind][cell] !== shares[kind][cell]);
    this.#changedAt = Float64Array.from(shares.dirty, (_, cell) =>
      isSame ? (changed(cell) ? now : (this.#changedAt[cell] ?? 0)) : 0,
    );
    this.#view = view;
    this.#shares = shares;
    this.#tellAmounts(view);
    this.#tell();
    this.#draw();
  }

  #tellAmounts(view: MapView): void {
    const { offset, length, sizeBytes, dirtyBytes, cleanBytes, storedBytes, unknownBytes } = view;
    const whole = length === sizeBytes;
    say(this.#where, whole ? `${size(sizeBytes)}, whole` : `${size(offset)} to ${size(offset + length)}`);
    const amounts: Readonly<Record<Kind, number>> = {
      dirty: dirtyBytes,
      clean: cleanBytes,
      stored: storedBytes,
      hole: Math.max(0, length - storedBytes - unknownBytes),
      unknown: unknownBytes,
    };
    for (const [kind, amount] of this.#amounts) {
      say(amount, size(amounts[kind]));
      const entry = amount.parentElement;
      if (kind === 'unknown' && entry !== null) entry.hidden = unknownBytes === 0;
    }
    const { in: closer, out, whole: all } = this.#buttons;
    closer.disabled = length <= PAGE_BYTES * this.#columns;
    out.disabled = this.#above.length === 0;
    all.disabled = whole;
  }

  #tell(): void {
    const view = this.#view;
    const shares = this.#shares;
    if (view === null || shares === null) return;
    const cell = this.#cursor;
    const each = `Each cell is ${size(view.cellBytes)}.`;
    const text = cell === null ? each : `${describeRange(view, cell)}: ${describeCell(shares, cell)}`;
    say(this.#said, text);
    setAttributes(this.#canvas, {
      'aria-valuemax': String(Math.max(0, this.#cells - 1)),
      'aria-valuenow': String(cell ?? 0),
      'aria-valuetext': text,
    });
  }

  /** Soon, and once: several may want it in one turn. */
  #draw(): void {
    if (this.#frame !== 0) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#paint();
    });
  }

  #paint(): void {
    const canvas = this.#canvas;
    const context = canvas.getContext('2d');
    const shares = this.#shares;
    if (context === null || shares === null) return;
    const scale = devicePixelRatio;
    const rows = Math.ceil(this.#cells / this.#columns);
    const width = Math.round(canvas.clientWidth * scale);
    const height = Math.round((rows * this.#pitch - GAP) * scale);
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const colors = Object.fromEntries([...this.#swatches].map(([kind, swatch]) => [kind, colorOf(swatch)])) as Record<
      Kind,
      Rgb
    >;
    const text = colorOf(byId('volume'));
    const moving = !matchMedia('(prefers-reduced-motion: reduce)').matches;
    const now = performance.now();
    let flashing = false;
    for (let cell = 0; cell < this.#cells; cell++) {
      let color = cellColor(colors, {
        clean: shares.clean[cell] ?? 0,
        stored: shares.stored[cell] ?? 0,
        unknown: shares.unknown[cell] ?? 0,
      });
      const since = now - (this.#changedAt[cell] ?? 0);
      if (moving && (this.#changedAt[cell] ?? 0) > 0 && since < FLASH_MS) {
        color = mix(color, text, 0.55 * (1 - since / FLASH_MS));
        flashing = true;
      }
      const [x, y] = this.#placeOf(cell);
      const side = this.#pitch - GAP;
      square(context, x, y, side, color);
      const inner = side * dirtySide(shares.dirty[cell] ?? 0);
      if (inner > 0) square(context, x + (side - inner) / 2, y + (side - inner) / 2, inner, colors.dirty);
    }
    if (this.#cursor !== null) this.#paintCursor(context, this.#cursor, text);
    if (flashing) this.#draw();
  }

  #paintCursor(context: CanvasRenderingContext2D, cell: number, color: Rgb): void {
    const [x, y] = this.#placeOf(cell);
    context.strokeStyle = `rgb(${color.join(' ')})`;
    context.lineWidth = 2;
    context.strokeRect(x, y, this.#pitch - GAP, this.#pitch - GAP);
  }

  #placeOf(cell: number): readonly [x: number, y: number] {
    return [(cell % this.#columns) * this.#pitch, Math.floor(cell / this.#columns) * this.#pitch];
  }
}

function square(context: CanvasRenderingContext2D, x: number, y: number, side: number, color: Rgb): void {
  context.fillStyle = `rgb(${color.map(Math.round).join(' ')})`;
  context.beginPath();
  context.roundRect(x, y, side, side, 2);
  context.fill();
}

function bytesOf(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function describeRange({ offset, length, cellBytes }: MapView, cell: number): string {
  const from = offset + cell * cellBytes;
  return `${size(from)} to ${size(Math.min(from + cellBytes, offset + length))}`;
}

function describeCell(shares: Shares, cell: number): string {
  const parts = KINDS.flatMap(([kind, label]) => {
    const share = kind === 'hole' ? 0 : (shares[kind][cell] ?? 0) / 255;
    return share === 0 ? [] : [`${percent(share)} ${label.toLowerCase()}`];
  });
  return parts.length === 0 ? 'empty' : parts.join(', ');
}
