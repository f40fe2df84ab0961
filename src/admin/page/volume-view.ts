/** One volume: what it is, how it is, its map and its plots. */
import type { Api } from './api.ts';
import { DiskMap } from './disk-map.ts';
import type { LiveDocument, VolumeStatusView } from './document.ts';
import { make, say } from './dom.ts';
import { Figure } from './figure.ts';
import { count, duration, milliseconds, NOTHING_KNOWN, percent, rate, size, sizeParts } from './format.ts';
import { Past, type PastSamples } from './past.ts';
import { Plot, topByHundred, topByTen, topByTwo } from './plot.ts';
import type { VolumeButtons } from './volume-buttons.ts';

const MIB = 2 ** 20;
/** Fuller than this, writes are slowed. */
const LOG_ALARM = 0.8;

export class VolumeView {
  readonly element: HTMLElement;
  readonly #name: string;
  readonly #past: Past;
  readonly #map: DiskMap;
  readonly #buttons: VolumeButtons;
  readonly #url = make('code');
  readonly #state = make('span', { class: 'chip' });
  readonly #chips = make('ul', { class: 'chips' });
  readonly #used = new Figure('Used');
  readonly #dirty = new Figure('Not in the bucket yet', 'dirty');
  readonly #cached = new Figure('Cached here');
  readonly #hits = new Figure('Read from the cache');
  readonly #plots = volumePlots();

  constructor(api: Api, name: string, buttons: VolumeButtons) {
    this.#name = name;
    this.#past = new Past(api, name);
    this.#map = new DiskMap(api, name);
    this.#buttons = buttons;
    const title = make('h2', {}, make('span', {}, name), this.#state);
    const text = make('div', { class: 'head-text' }, title, make('p', { class: 'muted' }, this.#url), this.#chips);
    const figures = [this.#used, this.#dirty, this.#cached, this.#hits].map(({ element }) => element);
    this.element = make(
      'div',
      { class: 'pane' },
      make('div', { class: 'card head' }, text, buttons.element),
      make('dl', { class: 'card figures' }, ...figures),
      this.#map.element,
      make(
        'section',
        { class: 'card', 'aria-labelledby': 'plots-title' },
        make('h2', { id: 'plots-title' }, 'The last 15 minutes'),
        make('div', { class: 'plots' }, ...this.#plots.map(({ plot }) => plot.element)),
      ),
    );
  }

  get past(): PastSamples {
    return this.#past.samples;
  }

  update(live: LiveDocument): void {
    const volume = live.status.volumes.find(({ name }) => name === this.#name);
    if (volume === undefined) return;
    const isNew = this.#past.add(live.activity);
    this.#tellHead(volume);
    this.#tellFigures(volume, live);
    this.#buttons.update(live, volume);
    this.#map.refresh();
    if (!isNew) return;
    const { volume: series, endMs, intervalMs } = this.#past.samples;
    for (const { plot, names } of this.#plots) {
      const values = names.map((name) => series[name] ?? []);
      plot.show(values, endMs, intervalMs);
    }
  }

  #tellHead(volume: VolumeStatusView): void {
    say(this.#url, volume.url);
    say(this.#state, volume.state);
    this.#state.className = `chip ${volume.state === 'serving' ? 'good' : 'bad'}`;
    const chips = [
      ...(volume.sizeBytes === null ? [] : [size(volume.sizeBytes)]),
      ...(volume.blockSizeBytes === null ? [] : [`blocks of ${size(volume.blockSizeBytes)}`]),
      volume.durability === 'local' ? 'a flush is on the cache disk' : 'a flush is in the bucket',
      volume.compress === 'none' ? 'not compressed' : volume.compress,
      volume.encryption ?? 'not encrypted',
      ...(volume.readOnly ? ['read-only'] : []),
      ...(volume.sharedDisk ? ['shared'] : []),
      ...(volume.default ? ['default export'] : []),
      ...(volume.lease === null ? [] : [leaseText(volume.lease)]),
    ];
    const items = [...this.#chips.children];
    // Made anew only where there are more or fewer of them: they hardly ever change.
    if (items.length !== chips.length)
      this.#chips.replaceChildren(...chips.map((chip) => make('li', { class: 'chip' }, chip)));
    else for (const [index, chip] of chips.entries()) say(items[index] as Element, chip);
  }

  #tellFigures(volume: VolumeStatusView, live: LiveDocument): void {
    const { sizeBytes, storedBlocks, blockSizeBytes, survey, cache } = volume;
    if (storedBlocks === null || blockSizeBytes === null || sizeBytes === null) {
      const listed = survey === null ? '' : `${count(survey.blocksListed)} blocks so far`;
      this.#used.show({ value: survey !== null && !survey.done ? 'counting' : NOTHING_KNOWN, note: listed });
    } else {
      const bytes = storedBlocks * blockSizeBytes;
      const { value, unit } = sizeParts(bytes);
      const share = bytes / sizeBytes;
      this.#used.show({
        value,
        unit,
        share,
        note: `${percent(share)} of ${size(sizeBytes)}, ${count(storedBlocks)} blocks`,
      });
    }
    this.#tellDirty(volume, live.activity?.volumes[this.#name]?.drainMs ?? null);
    if (cache === null) this.#cached.show({ value: NOTHING_KNOWN, note: 'this volume has no cache' });
    else {
      const { value, unit } = sizeParts(cache.cachedBytes);
      const share = cache.cacheSizeBytes === 0 ? 0 : cache.cachedBytes / cache.cacheSizeBytes;
      this.#cached.show({ value, unit, share, note: `${percent(share)} of ${size(cache.cacheSizeBytes)}` });
    }
    const hits = hitShare(this.#past.samples);
    if (hits === null)
      this.#hits.show({ value: NOTHING_KNOWN, note: 'nothing was read from the bucket or its cache lately' });
    else {
      const text = percent(hits);
      this.#hits.show({ value: text.slice(0, -1), unit: '%', share: hits, note: 'in the last 15 minutes' });
    }
  }

  #tellDirty({ cache }: VolumeStatusView, drainMs: number | null): void {
    if (cache === null) {
      this.#dirty.show({ value: '0', unit: 'B', note: 'every write goes through to the bucket' });
      return;
    }
    const { value, unit } = sizeParts(cache.dirtyBytes);
    const share = cache.logUsedBytes / cache.logSizeBytes;
    const told = { value, unit, share };
    if (cache.logError !== null)
      this.#dirty.show({ ...told, alarm: 'bad', note: 'the cache disk fails: flushes fail' });
    else if (cache.uploadError !== null) {
      const note = `oldest ${duration(cache.oldestDirtyMs)}; cannot be uploaded for ${duration(cache.uploadError.sinceMs)}`;
      this.#dirty.show({ ...told, alarm: 'bad', note });
    } else if (cache.oldestDirtyMs === null) this.#dirty.show({ ...told, note: 'everything is in the bucket' });
    else {
      const soon = drainMs === null || drainMs === 0 ? '' : `, about ${duration(drainMs)} to upload`;
      const full = share > LOG_ALARM ? `; the log is ${percent(share)} full` : '';
      const note = `oldest ${duration(cache.oldestDirtyMs)}${soon}${full}`;
      this.#dirty.show({ ...told, alarm: full === '' ? '' : 'warn', note });
    }
  }
}

function leaseText({ state, holder }: NonNullable<VolumeStatusView['lease']>): string {
  return state === 'held' ? 'lease held' : `held by ${holder}`;
}

/** Each time counts as much as was read in it. */
function hitShare({ volume }: PastSamples): number | null {
  let hits = 0;
  let reads = 0;
  volume.hitShare?.forEach((share, index) => {
    const weight = volume.reads?.[index] ?? 0;
    if (share === null) return;
    hits += share * weight;
    reads += weight;
  });
  return reads === 0 ? null : hits / reads;
}

function volumePlots(): { readonly plot: Plot; readonly names: readonly string[] }[] {
  return [
    {
      names: ['readBytes', 'writtenBytes'],
      plot: new Plot({
        title: 'Throughput',
        format: rate,
        top: topByTwo(MIB),
        lines: [
          { label: 'read', color: 'read', look: 'area' },
          { label: 'written', color: 'write', look: 'area' },
        ],
      }),
    },
    {
      names: ['readMs', 'writeMs', 'flushMs', 'readMs99'],
      plot: new Plot({
        title: 'Latency',
        format: milliseconds,
        bottom: 0.01,
        top: topByHundred(1),
        lines: [
          { label: 'read, median', color: 'read' },
          { label: 'write, median', color: 'write' },
          { label: 'flush, median', color: 'flush' },
          { label: 'read, 99 of 100', color: 'read', look: 'thin' },
        ],
      }),
    },
    {
      names: ['reads', 'writes', 'flushes'],
      plot: new Plot({
        title: 'Requests a second',
        format: count,
        top: topByTen(10),
        lines: [
          { label: 'reads', color: 'read' },
          { label: 'writes', color: 'write' },
          { label: 'flushes', color: 'flush' },
        ],
      }),
    },
    {
      names: ['hitShare'],
      plot: new Plot({
        title: 'Read from the cache',
        format: percent,
        top: () => 1,
        lines: [{ label: 'from the cache', color: 'clean', look: 'area' }],
      }),
    },
    {
      names: ['dirtyBytes'],
      plot: new Plot({
        title: 'Not in the bucket yet',
        format: size,
        top: topByTwo(MIB),
        lines: [{ label: 'not in the bucket', color: 'dirty', look: 'area' }],
      }),
    },
    {
      names: ['uploadedBytes'],
      plot: new Plot({
        title: 'Uploaded',
        format: rate,
        top: topByTwo(MIB),
        lines: [{ label: 'uploaded', color: 'clean', look: 'area' }],
      }),
    },
  ];
}
