/** A plot of the last quarter of an hour: lines over time, a cursor for pointer and keys, and in words what is under it. */
import { make, makeSvg, say, setAttributes } from './dom.ts';

/** Samples that fit from left to right. */
export const PLOT_SAMPLES = 450;

const HEIGHT = 132;
const TOP = 16;
const BOTTOM = 18;
const MINUTES = [15, 10, 5];
/** Samples without a value that a line goes on over: where little is asked, not every sample has a latency. */
const BRIDGED_MAX = 10;

type Values = readonly (number | null)[];

export interface PlotLine {
  readonly label: string;
  /** Of the style sheet: what colour it has. */
  readonly color: 'read' | 'write' | 'flush' | 'dirty' | 'clean' | 'stored';
  readonly look?: 'area' | 'thin';
}

export interface PlotOptions {
  readonly title: string;
  readonly lines: readonly PlotLine[];
  readonly format: (value: number | null) => string;
  /** The top of the scale for a largest value. */
  readonly top: (largest: number) => number;
  /** Where the scale begins, for one on which each step is so many times the one before. Left out: at 0, with equal steps. */
  readonly bottom?: number;
}

export class Plot {
  readonly element: HTMLElement;
  readonly #options: PlotOptions;
  readonly #svg: SVGSVGElement;
  readonly #paths: readonly { readonly line: SVGPathElement; readonly area: SVGPathElement | null }[];
  readonly #ticks: readonly SVGTextElement[];
  readonly #grid: readonly SVGLineElement[];
  readonly #times: readonly SVGTextElement[];
  readonly #cross = makeSvg('line', {
    class: 'plot-cross',
    y1: String(TOP),
    y2: String(HEIGHT - BOTTOM),
    hidden: true,
  });
  readonly #said = make('span', { class: 'plot-said' });
  #width = 480;
  #values: readonly Values[] = [];
  #endMs = 0;
  #intervalMs = 2_000;
  /** Samples from the right; null: nobody points at one. */
  #cursor: number | null = null;

  constructor(options: PlotOptions) {
    this.#options = options;
    const { title, lines } = options;
    this.#grid = [0, 1, 2].map(() => makeSvg('line', { class: 'plot-grid', x1: '0' }));
    this.#ticks = [1, 2].map(() => makeSvg('text', { class: 'plot-tick', x: '0' }));
    this.#times = MINUTES.map(() => makeSvg('text', { class: 'plot-tick', y: String(HEIGHT - 3) }));
    this.#paths = lines.map(({ color, look }) => ({
      line: makeSvg('path', { class: `plot-line c-${color}${look === 'thin' ? ' thin' : ''}` }),
      area: look === 'area' ? makeSvg('path', { class: `plot-area c-${color}` }) : null,
    }));
    this.#svg = makeSvg(
      'svg',
      {
        ...{ class: 'plot-svg', role: 'slider', tabindex: '0', 'aria-label': `${title}, the last 15 minutes` },
        ...{ 'aria-valuemin': '0', 'aria-valuemax': String(PLOT_SAMPLES - 1) },
      },
      ...this.#grid,
      ...this.#times,
      ...this.#paths.flatMap(({ line, area }) => (area === null ? [line] : [area, line])),
      ...this.#ticks,
      this.#cross,
    );
    const legend = lines.map(({ label, color }) =>
      make('li', {}, make('span', { class: `swatch c-${color}`, 'aria-hidden': 'true' }), label),
    );
    this.element = make(
      'figure',
      { class: 'plot' },
      make('div', { class: 'plot-head' }, make('h3', {}, title), this.#said),
      this.#svg,
      ...(lines.length > 1 ? [make('ul', { class: 'legend plot-legend' }, ...legend)] : []),
    );
    this.#listen();
  }

  /** `values`: of each line, the newest last. `endMs`: when that was. */
  show(values: readonly Values[], endMs: number, intervalMs: number): void {
    this.#values = values;
    this.#endMs = endMs;
    this.#intervalMs = intervalMs;
    this.#draw();
  }

  #listen(): void {
    const svg = this.#svg;
    const point = (event: PointerEvent): void => {
      const { left, width } = svg.getBoundingClientRect();
      const fromRight = 1 - (event.clientX - left) / width;
      this.#pointAt(Math.round(fromRight * (PLOT_SAMPLES - 1)));
    };
    svg.addEventListener('pointermove', point);
    svg.addEventListener('pointerdown', point);
    svg.addEventListener('pointerleave', () => this.#pointAt(null));
    svg.addEventListener('blur', () => this.#pointAt(null));
    const steps: Readonly<Record<string, number>> = { ArrowLeft: 1, ArrowRight: -1, PageUp: 30, PageDown: -30 };
    svg.addEventListener('keydown', (event) => {
      const step = steps[event.key];
      if (step !== undefined) this.#pointAt((this.#cursor ?? 0) + step);
      else if (event.key === 'Home') this.#pointAt(PLOT_SAMPLES - 1);
      else if (event.key === 'End') this.#pointAt(0);
      else return;
      event.preventDefault();
    });
    new ResizeObserver(() => {
      const width = Math.round(svg.clientWidth);
      if (width === 0 || width === this.#width) return;
      this.#width = width;
      this.#draw();
    }).observe(svg);
  }

  #pointAt(cursor: number | null): void {
    this.#cursor = cursor === null ? null : Math.max(0, Math.min(PLOT_SAMPLES - 1, cursor));
    this.#tell();
  }

  #draw(): void {
    const width = this.#width;
    setAttributes(this.#svg, { viewBox: `0 0 ${width} ${HEIGHT}` });
    const known = this.#values.flatMap((values) => values.filter((value) => value !== null));
    const top = this.#options.top(Math.max(0, ...known));
    const { bottom } = this.#options;
    const share = (value: number): number =>
      bottom === undefined ? value / top : Math.log(Math.max(1, value / bottom)) / Math.log(top / bottom);
    const y = (value: number): number => HEIGHT - BOTTOM - Math.min(1, share(value)) * (HEIGHT - BOTTOM - TOP);
    const middle = bottom === undefined ? top / 2 : Math.sqrt(bottom * top);
    [bottom ?? 0, middle, top].forEach((value, index) => {
      const at = String(Math.round(y(value)) + 0.5);
      setAttributes(this.#grid[index] as Element, { x2: String(width), y1: at, y2: at });
    });
    [middle, top].forEach((value, index) => {
      const tick = this.#ticks[index] as Element;
      setAttributes(tick, { y: String(Math.round(y(value)) - 4) });
      say(tick, this.#options.format(value));
    });
    MINUTES.forEach((minutes, index) => {
      const label = this.#times[index] as Element;
      setAttributes(label, { x: String(Math.round(width * (1 - minutes / 15))) });
      say(label, `${minutes} min ago`);
    });
    this.#paths.forEach(({ line, area }, index) => {
      const runs = runsOf(
        this.#values[index] ?? [],
        area === null ? BRIDGED_MAX : 0,
        (fromRight) => this.#x(fromRight),
        y,
      );
      setAttributes(line, { d: runs.map(({ points }) => `M${points}${points.includes('L') ? '' : 'h.01'}`).join('') });
      const floor = HEIGHT - BOTTOM;
      const areas = runs.map(({ points, firstX, lastX }) => `M${firstX} ${floor}L${points}L${lastX} ${floor}Z`);
      if (area !== null) setAttributes(area, { d: areas.join('') });
    });
    this.#tell();
  }

  #x(fromRight: number): number {
    return Math.round(this.#width * (1 - fromRight / (PLOT_SAMPLES - 1)) * 10) / 10;
  }

  #tell(): void {
    const at = this.#cursor ?? 0;
    const parts = this.#options.lines.flatMap(({ label }, index) => {
      const value = this.#values[index]?.at(-1 - at) ?? null;
      return value === null
        ? []
        : [`${this.#options.lines.length > 1 ? `${label} ` : ''}${this.#options.format(value)}`];
    });
    const when =
      this.#cursor === null ? 'now' : new Date(this.#endMs - at * this.#intervalMs).toLocaleTimeString('en-GB');
    const text = `${when}: ${parts.length === 0 ? 'nothing' : parts.join(', ')}`;
    say(this.#said, this.#cursor === null && parts.length === 0 ? '' : text);
    setAttributes(this.#svg, { 'aria-valuenow': String(PLOT_SAMPLES - 1 - at), 'aria-valuetext': text });
    const x = String(this.#x(at));
    setAttributes(this.#cross, { x1: x, x2: x, hidden: this.#cursor === null });
  }
}

interface Run {
  readonly points: string;
  readonly firstX: number;
  readonly lastX: number;
}

/** Where nothing is known for more than `bridged` samples the line has a gap. */
function runsOf(
  values: Values,
  bridged: number,
  x: (fromRight: number) => number,
  y: (value: number) => number,
): Run[] {
  const runs: Run[] = [];
  let points: string[] = [];
  let firstX = 0;
  let lastX = 0;
  let unknown = 0;
  const end = (): void => {
    if (points.length > 0) runs.push({ points: points.join('L'), firstX, lastX });
    points = [];
  };
  values.forEach((value, index) => {
    if (value === null) {
      if (++unknown > bridged) end();
      return;
    }
    unknown = 0;
    lastX = x(values.length - 1 - index);
    if (points.length === 0) firstX = lastX;
    points.push(`${lastX} ${Math.round(y(value) * 10) / 10}`);
  });
  end();
  return runs;
}

/** Twice as much again and again, from `least` on: for bytes. */
export function topByTwo(least: number): (largest: number) => number {
  return (largest) => 2 ** Math.ceil(Math.log2(Math.max(largest, least)));
}

/** A hundred times as much again and again, from `least` on: for a scale of equal ratios, so that its middle is a round number. */
export function topByHundred(least: number): (largest: number) => number {
  return (largest) => least * 100 ** Math.max(0, Math.ceil(Math.log10(Math.max(largest, least) / least) / 2 - 1e-9));
}

/** 1, 2, 5, 10 and so on, from `least` on: for what is counted in tens. */
export function topByTen(least: number): (largest: number) => number {
  return (largest) => {
    const value = Math.max(largest, least);
    const decade = 10 ** Math.floor(Math.log10(value));
    return ([1, 2, 5, 10].find((step) => step * decade >= value * 0.9999) ?? 10) * decade;
  };
}
