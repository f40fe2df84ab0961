/** The status page and what it asks for: events, the past of a volume, its map, and what may be changed with the token. */
import { StorageError } from '../lib/errors.ts';
import { MAP_CELLS_MAX } from '../volume/volume-map.ts';
import type { ControlRoutes } from './control-server.ts';
import type { EventHub } from './event-hub.ts';
import { type HttpRequest, type HttpRoutes, json } from './http-routes.ts';
import { type DrawMap, MapDesk } from './map-desk.ts';
import type { HistoryView } from './page/document.ts';
import { loadPage } from './page-html.ts';

export interface StatusRoutesOptions {
  readonly hub: EventHub;
  /** What a listener gets to begin with, as JSON. */
  readonly document: () => string;
  /** Null for a volume that there is not. */
  readonly history: (volume: string) => HistoryView | null;
  readonly drawMap: DrawMap;
  /** Those of the control socket that can be asked for here too, by `POST` and path. */
  readonly changes: ControlRoutes;
}

const CELLS_DEFAULT = 1024;

export function statusRoutes({ hub, document, history, drawMap, changes }: StatusRoutesOptions): HttpRoutes {
  const page = loadPage();
  const desk = new MapDesk(drawMap);
  const posts = Object.entries(changes).map(([route, handler]) => [
    route.replace(/^POST /, ''),
    { POST: async ({ body, gone }: HttpRequest) => json(200, await handler(body, gone)) },
  ]);
  return {
    ...Object.fromEntries(posts),
    '/': { GET: () => ({ status: 200, contentType: 'text/html; charset=utf-8', ...page() }) },
    '/events': { GET: () => hub.join(document()) },
    '/history': {
      GET: ({ query }) => {
        const found = history(query.get('volume') ?? '');
        if (found === null) throw new StorageError('NOT_FOUND', 'there is no such volume');
        return json(200, found);
      },
    },
    '/map': {
      GET: async ({ query }) => {
        const range = {
          offset: wholeNumber(query, 'offset', 0),
          length: query.has('length') ? wholeNumber(query, 'length', 0) : null,
          cells: Math.min(MAP_CELLS_MAX, wholeNumber(query, 'cells', CELLS_DEFAULT)),
        };
        return json(200, await desk.get(query.get('volume') ?? '', range));
      },
    },
  };
}

function wholeNumber(query: URLSearchParams, name: string, otherwise: number): number {
  const text = query.get(name);
  if (text === null) return otherwise;
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw new StorageError('INVALID', `${name} has to be a whole number`);
  return value;
}
