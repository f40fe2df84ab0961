/** Asks for the token, and forgets it again. */
import type { Api } from './api.ts';
import { byId, say } from './dom.ts';

export class TokenDialog {
  readonly #api: Api;
  readonly #dialog = byId('token-dialog') as HTMLDialogElement;
  readonly #input = byId('token') as HTMLInputElement;
  readonly #button = byId('unlock') as HTMLButtonElement;
  readonly #onChange: () => void;

  constructor(api: Api, onChange: () => void) {
    this.#api = api;
    this.#onChange = onChange;
    this.#button.addEventListener('click', () => {
      if (!api.unlocked) {
        this.open('');
        return;
      }
      api.lock();
      this.#changed();
    });
    byId('token-cancel').addEventListener('click', () => this.#dialog.close());
    this.#dialog.addEventListener('close', () => {
      if (this.#dialog.returnValue === 'ok' && this.#input.value !== '') this.#api.unlock(this.#input.value);
      this.#input.value = '';
      this.#changed();
    });
  }

  open(problem: string): void {
    say(byId('token-problem'), problem);
    this.#dialog.returnValue = '';
    this.#dialog.showModal();
  }

  /** The button is there only where the appliance has a token. */
  offer(changes: readonly string[]): void {
    this.#button.hidden = changes.length === 0;
    say(this.#button, this.#api.unlocked ? 'Lock' : 'Unlock');
  }

  #changed(): void {
    say(this.#button, this.#api.unlocked ? 'Lock' : 'Unlock');
    this.#onChange();
  }
}
