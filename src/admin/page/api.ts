/** What the page asks of the appliance: events as they come, the past, maps, and changes with the token. */
import type { HistoryView, LiveDocument, MapView } from './document.ts';

const TOKEN_KEY = 'bucketdisk-token';
/** An appliance that says nothing for so long is gone, or the network between is. */
const SILENCE_MS = 10_000;

export type LinkState = 'live' | 'waiting' | 'lost';

export class Api {
  #token = sessionStorage.getItem(TOKEN_KEY);

  get unlocked(): boolean {
    return this.#token !== null;
  }

  unlock(token: string): void {
    this.#token = token;
    sessionStorage.setItem(TOKEN_KEY, token);
  }

  lock(): void {
    this.#token = null;
    sessionStorage.removeItem(TOKEN_KEY);
  }

  /** Calls back for ever; a connection that is lost is made again. */
  listen(onDocument: (document: LiveDocument) => void, onLink: (state: LinkState) => void): void {
    let silent = 0;
    const heard = (): void => {
      clearTimeout(silent);
      silent = setTimeout(() => onLink('lost'), SILENCE_MS);
    };
    const open = (): void => {
      const source = new EventSource('events');
      source.onmessage = ({ data }) => {
        heard();
        onLink('live');
        onDocument(JSON.parse(data) as LiveDocument);
      };
      source.onerror = () => {
        onLink('lost');
        // A refusal ends it for good; a cut connection it makes again by itself.
        if (source.readyState !== EventSource.CLOSED) return;
        source.close();
        setTimeout(open, 5_000);
      };
    };
    open();
  }

  history(volume: string): Promise<HistoryView> {
    return ask(`history?volume=${encodeURIComponent(volume)}`) as Promise<HistoryView>;
  }

  map(volume: string, offset: number, length: number | null, cells: number): Promise<MapView> {
    const range = length === null ? '' : `&length=${length}`;
    const query = `volume=${encodeURIComponent(volume)}&offset=${offset}${range}&cells=${cells}`;
    return ask(`map?${query}`) as Promise<MapView>;
  }

  /** Rejects with what the appliance says against it. A token that it does not take is forgotten. */
  async change(path: string, body: object): Promise<unknown> {
    const answer = fetch(path.replace(/^\//, ''), {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${this.#token ?? ''}` },
      body: JSON.stringify(body),
    });
    const response = await answer;
    if (response.status === 401) this.lock();
    return readAnswer(response);
  }
}

async function ask(path: string): Promise<unknown> {
  return readAnswer(await fetch(path));
}

async function readAnswer(response: Response): Promise<unknown> {
  const body: unknown = await response.json().catch(() => null);
  if (response.ok) return body;
  const { error } = (body ?? {}) as { error?: { message?: string } };
  throw new Refusal(response.status, error?.message ?? `the appliance answered ${response.status}`);
}

/** What the appliance says against a request. */
export class Refusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}
