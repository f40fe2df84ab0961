/** The last quarter of an hour of a volume: fetched once, and then continued by what comes. */
import type { Api } from './api.ts';
import type { ActivityView, HistoryView } from './document.ts';
import { PLOT_SAMPLES } from './plot.ts';

type Series = Record<string, (number | null)[]>;

export interface PastSamples {
  readonly volume: Readonly<Record<string, readonly (number | null)[]>>;
  readonly store: Readonly<Record<string, readonly (number | null)[]>>;
  readonly endMs: number;
  readonly intervalMs: number;
}

export class Past {
  readonly #api: Api;
  readonly #name: string;
  readonly #volume: Series = {};
  readonly #store: Series = {};
  #endMs = 0;
  #intervalMs = 2_000;
  #loading = false;

  constructor(api: Api, name: string) {
    this.#api = api;
    this.#name = name;
  }

  /** Adds what a document says; fetches what is missing before it. True where there is something new to show. */
  add(activity: ActivityView | null): boolean {
    if (activity === null || this.#loading) return false;
    const atMs = Date.parse(activity.at);
    if (atMs <= this.#endMs) return false;
    if (atMs - this.#endMs > 2.5 * this.#intervalMs) {
      void this.#load();
      return false;
    }
    append(this.#volume, { ...activity.volumes[this.#name] });
    append(this.#store, { ...activity.store });
    this.#endMs = atMs;
    return true;
  }

  get samples(): PastSamples {
    return { volume: this.#volume, store: this.#store, endMs: this.#endMs, intervalMs: this.#intervalMs };
  }

  async #load(): Promise<void> {
    this.#loading = true;
    try {
      const history: HistoryView = await this.#api.history(this.#name);
      for (const [name, values] of Object.entries(history.volume)) this.#volume[name] = [...values];
      for (const [name, values] of Object.entries(history.store)) this.#store[name] = [...values];
      this.#intervalMs = history.intervalMs;
      this.#endMs = history.at === null ? 0 : Date.parse(history.at);
    } catch {
      // With the next document it is tried again.
    } finally {
      this.#loading = false;
    }
  }
}

function append(series: Series, sample: Readonly<Record<string, number | null>>): void {
  for (const [name, values] of Object.entries(series)) {
    values.push(sample[name] ?? null);
    if (values.length > PLOT_SAMPLES) values.shift();
  }
}
