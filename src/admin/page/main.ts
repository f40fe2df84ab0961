/** The status page: shows what the appliance sends. */
import { Api, type LinkState } from './api.ts';
import { BucketView } from './bucket-view.ts';
import type { LiveDocument } from './document.ts';
import { byId, make, say, setAttributes } from './dom.ts';
import { duration, percent, size } from './format.ts';
import { ClientsView, EventsView, JobsView } from './lists.ts';
import { Notices } from './notices.ts';
import { offerThemes } from './theme.ts';
import { TokenDialog } from './token-dialog.ts';
import { VolumeButtons } from './volume-buttons.ts';
import { VolumeView } from './volume-view.ts';

/** What the address of the page says after `#` where somebody has chosen a volume. */
const VOLUME_HASH = '#volume=';

const LINK_WORDS: Readonly<Record<LinkState, string>> = {
  live: 'live',
  waiting: 'connecting',
  lost: 'no connection to the appliance: what is shown is old',
};

class StatusPage {
  readonly #api = new Api();
  readonly #dialog: TokenDialog;
  readonly #notices = new Notices(byId('notices'));
  readonly #bucket = new BucketView(byId('bucket'));
  readonly #jobs = new JobsView(byId('jobs'), this.#api);
  readonly #events = new EventsView(byId('events'));
  readonly #clients = new ClientsView(byId('clients'));
  readonly #tabs = byId('tabs');
  #view: VolumeView | null = null;
  #chosen: string | null = volumeInAddress();
  #live: LiveDocument | null = null;

  constructor() {
    offerThemes(byId('theme'));
    this.#dialog = new TokenDialog(this.#api, () => this.#update());
    addEventListener('hashchange', () => this.#choose(volumeInAddress() ?? ''));
    this.#api.listen(
      (live) => {
        this.#live = live;
        this.#update();
      },
      (state) => this.#tellLink(state),
    );
  }

  #update(): void {
    const live = this.#live;
    if (live === null) return;
    const { status, activity } = live;
    say(byId('version'), status.version);
    document.title = titleOf(live);
    this.#dialog.offer(live.changes);
    this.#notices.update(live);
    this.#showTabs(live);
    this.#view?.update(live);
    this.#bucket.update(live, this.#view?.past ?? null);
    this.#jobs.update(live);
    this.#events.update(live);
    this.#clients.update(live);
    const { cpuShare = null, residentBytes = null } = activity?.process ?? {};
    const where = status.nbd.length === 0 ? '' : ` · NBD on ${status.nbd.join(', ')}`;
    const load = `${percent(cpuShare)} of a core, ${size(residentBytes)} of memory`;
    say(byId('process'), `Running for ${duration(status.uptimeMs)} as process ${status.pid ?? '?'} · ${load}${where}`);
  }

  #showTabs({ status }: LiveDocument): void {
    const names = status.volumes.map(({ name }) => name);
    if (this.#chosen === null || !names.includes(this.#chosen)) {
      this.#choose((status.volumes.find((volume) => volume.default) ?? status.volumes[0])?.name ?? '');
    } else if (this.#view === null) this.#choose(this.#chosen);
    this.#tabs.hidden = names.length < 2;
    if (this.#tabs.children.length !== names.length) {
      const tabs = names.map((name) =>
        make('button', { type: 'button', class: 'quiet' }, make('span', {}, name), make('small')),
      );
      for (const [index, tab] of tabs.entries()) {
        tab.addEventListener('click', () => {
          location.hash = VOLUME_HASH + encodeURIComponent(names[index] ?? '');
        });
      }
      this.#tabs.replaceChildren(...tabs);
    }
    [...this.#tabs.children].forEach((tab, index) => {
      const volume = status.volumes[index];
      setAttributes(tab, { 'aria-pressed': String(volume?.name === this.#chosen) });
      const small = tab.querySelector('small');
      if (small !== null && volume !== undefined)
        say(small, volume.state === 'serving' ? size(volume.sizeBytes) : volume.state);
    });
  }

  #choose(name: string): void {
    if (name === '' || (name === this.#chosen && this.#view !== null)) return;
    this.#chosen = name;
    const section = byId('volume');
    const buttons = new VolumeButtons(this.#api, name, () =>
      this.#dialog.open('The appliance did not take that token.'),
    );
    this.#view = new VolumeView(this.#api, name, buttons);
    section.replaceChildren(this.#view.element);
    section.setAttribute('aria-label', `Volume ${name}`);
    this.#update();
  }

  #tellLink(state: LinkState): void {
    const link = byId('link');
    setAttributes(link, { 'data-state': state });
    say(link, LINK_WORDS[state]);
  }
}

function volumeInAddress(): string | null {
  const { hash } = location;
  return hash.startsWith(VOLUME_HASH) ? decodeURIComponent(hash.slice(VOLUME_HASH.length)) : null;
}

/** What matters most, for whoever has the page in a tab behind others. */
function titleOf({ status }: LiveDocument): string {
  const dirty = status.volumes.reduce((sum, { cache }) => sum + (cache?.dirtyBytes ?? 0), 0);
  const trouble = status.store.health === 'failing' || status.volumes.some(({ state }) => state !== 'serving');
  return `${trouble ? '! ' : ''}${dirty === 0 ? '' : `${size(dirty)} to upload · `}bucketdisk`;
}

new StatusPage();
