/** Hands out maps of volumes: each is drawn once for all who want it at about the same time, and only so many at once. */
import { StorageError } from '../lib/errors.ts';
import type { MapRange, VolumeMap } from '../volume/volume-map.ts';
import type { MapView } from './page/document.ts';

export type DrawMap = (volume: string, range: MapRange) => Promise<VolumeMap>;

/** A picture of this age is as good as a new one. */
const FRESH_MS = 1_000;
const DRAWING_MAX = 4;
/** A place is free again only after so many times as long as the drawing took: however many ask, requests of clients come first. */
const REST_FACTOR = 4;
const KEPT_MAX = 16;

interface Kept {
  readonly at: number;
  readonly view: Promise<MapView>;
}

export class MapDesk {
  readonly #draw: DrawMap;
  readonly #kept = new Map<string, Kept>();
  #drawing = 0;

  constructor(draw: DrawMap) {
    this.#draw = draw;
  }

  /** Rejects with INVALID for a range that is not in the volume, UNAVAILABLE where too many are being drawn. */
  get(volume: string, range: MapRange): Promise<MapView> {
    const key = JSON.stringify([volume, range]);
    const now = performance.now();
    const kept = this.#kept.get(key);
    if (kept !== undefined && now - kept.at < FRESH_MS) return kept.view;
    if (this.#drawing >= DRAWING_MAX) {
      return Promise.reject(new StorageError('UNAVAILABLE', 'too many maps are being drawn: ask again'));
    }
    const view = this.#view(volume, range);
    this.#kept.delete(key);
    this.#kept.set(key, { at: now, view });
    view.catch(() => this.#kept.delete(key));
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > KEPT_MAX && oldest !== undefined) this.#kept.delete(oldest);
    return view;
  }

  async #view(volume: string, range: MapRange): Promise<MapView> {
    this.#drawing++;
    const begunAt = performance.now();
    try {
      const { dirty, clean, stored, unknown, ...rest } = await this.#draw(volume, range);
      const [dirtyText, cleanText, storedText, unknownText] = [dirty, clean, stored, unknown].map((cells) =>
        Buffer.from(cells.buffer).toString('base64'),
      ) as [string, string, string, string];
      return { ...rest, dirty: dirtyText, clean: cleanText, stored: storedText, unknown: unknownText };
    } finally {
      const free = (): void => {
        this.#drawing--;
      };
      setTimeout(free, REST_FACTOR * (performance.now() - begunAt)).unref();
    }
  }
}
