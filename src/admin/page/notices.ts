/** What needs somebody to do something, above everything else. */
import type { LiveDocument } from './document.ts';
import { make } from './dom.ts';
import { duration } from './format.ts';

export class Notices {
  readonly #element: HTMLElement;
  #shown = '';

  constructor(element: HTMLElement) {
    this.#element = element;
    element.setAttribute('role', 'alert');
  }

  update({ status }: LiveDocument): void {
    const { store, volumes } = status;
    const notices = [
      ...(store.health === 'failing' ? [`The bucket fails: ${store.error ?? 'no reason is known'}`] : []),
      ...volumes.flatMap(({ name, state, error, cache }) => [
        ...(state === 'serving' || state === 'opening'
          ? []
          : [`${name} is ${state}${error === null ? '' : `: ${error.message}`}`]),
        ...(cache?.logError == null ? [] : [`${name}: the cache disk fails, and flushes with it: ${cache.logError}`]),
        ...(cache !== null && cache.damagedPages > 0
          ? [`${name}: ${cache.damagedPages} pages were damaged on the cache disk and cannot be read`]
          : []),
        ...(cache?.uploadError == null ? [] : [`${name}: ${uploadNotice(cache.uploadError)}`]),
      ]),
    ];
    const text = notices.join('\n');
    if (text === this.#shown) return;
    this.#shown = text;
    this.#element.replaceChildren(...notices.map((notice) => make('p', { class: 'notice bad' }, notice)));
  }
}

function uploadNotice({ message, sinceMs }: { readonly message: string; readonly sinceMs: number }): string {
  // By the minute, so that it is not read out anew every two seconds.
  const minutes = Math.floor(sinceMs / 60_000) * 60_000;
  return `nothing can be uploaded${minutes === 0 ? '' : ` for ${duration(minutes)}`}: ${message}`;
}
