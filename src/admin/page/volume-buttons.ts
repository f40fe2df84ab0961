/** What can be done to a volume with the token: upload what is not in the bucket, and load it into the cache. */
import type { Api } from './api.ts';
import type { LiveDocument, VolumeStatusView } from './document.ts';
import { make, say } from './dom.ts';
import { percent, size } from './format.ts';

/** Loaded by one request, so that it can be told how far it has come, and stopped. */
const WARM_BYTES = 16 * 2 ** 20;

const FLUSH = '/v1/flush';
const WARM = '/v1/warm';

interface FlushAnswer {
  readonly dirtyBytes: number;
  readonly uploadError: { readonly message: string } | null;
}

export class VolumeButtons {
  readonly element: HTMLElement;
  readonly #api: Api;
  readonly #name: string;
  readonly #onLocked: () => void;
  readonly #flush = make('button', { type: 'button' }, 'Upload now');
  readonly #warm = make('button', { type: 'button', class: 'quiet' }, 'Load into the cache');
  readonly #stop = make('button', { type: 'button', class: 'quiet', hidden: true }, 'Stop');
  readonly #told = make('p', { class: 'action-told', role: 'status' });
  #busy = false;
  #stopped = false;
  #hasCache = false;

  /** `onLocked`: the token was not taken. */
  constructor(api: Api, name: string, onLocked: () => void) {
    this.#api = api;
    this.#name = name;
    this.#onLocked = onLocked;
    this.element = make('div', { class: 'actions', hidden: true }, this.#flush, this.#warm, this.#stop, this.#told);
    this.#flush.addEventListener('click', () => void this.#run(() => this.#uploadAll()));
    this.#warm.addEventListener('click', () => void this.#run(() => this.#warmAll()));
    this.#stop.addEventListener('click', () => {
      this.#stopped = true;
    });
  }

  /** Without a token of the appliance's there are no buttons; without ours they cannot be pressed. */
  update({ changes }: LiveDocument, { cache }: VolumeStatusView): void {
    this.element.hidden = !changes.includes(FLUSH);
    this.#warm.hidden = !changes.includes(WARM);
    this.#hasCache = cache !== null;
    this.#enable();
  }

  #enable(): void {
    const able = this.#api.unlocked && !this.#busy && this.#hasCache;
    for (const button of [this.#flush, this.#warm]) {
      button.disabled = !able;
      button.title = this.#api.unlocked ? '' : 'Unlock the buttons first';
    }
    this.#stop.hidden = !this.#busy;
  }

  async #run(work: () => Promise<string>): Promise<void> {
    this.#busy = true;
    this.#stopped = false;
    this.#enable();
    try {
      say(this.#told, await work());
    } catch (error) {
      say(this.#told, error instanceof Error ? error.message : String(error));
      if (!this.#api.unlocked) this.#onLocked();
    } finally {
      this.#busy = false;
      this.#enable();
    }
  }

  async #uploadAll(): Promise<string> {
    say(this.#told, 'Uploading');
    while (!this.#stopped) {
      const answer = (await this.#api.change(FLUSH, { name: this.#name })) as FlushAnswer;
      if (answer.dirtyBytes === 0) return 'Everything that was written is in the bucket.';
      const problem = answer.uploadError === null ? '' : `, which fails at present: ${answer.uploadError.message}`;
      say(this.#told, `${size(answer.dirtyBytes)} left to upload${problem}`);
    }
    return 'Uploading goes on by itself.';
  }

  async #warmAll(): Promise<string> {
    let cachedBytes = 0;
    for (let offset = 0; !this.#stopped; offset += WARM_BYTES) {
      const body = { name: this.#name, offset, length: WARM_BYTES };
      const answer = (await this.#api.change(WARM, body)) as { sizeBytes: number; cachedBytes: number };
      cachedBytes = answer.cachedBytes;
      if (offset + WARM_BYTES >= answer.sizeBytes) return `Loaded: ${size(cachedBytes)} are in the cache.`;
      say(this.#told, `${percent((offset + WARM_BYTES) / answer.sizeBytes)} of the disk looked at`);
    }
    return `Stopped: ${size(cachedBytes)} are in the cache.`;
  }
}
