/** The bucket: whether it answers, how fast, and what that has cost. */
import type { LiveDocument } from './document.ts';
import { make } from './dom.ts';
import { Figure } from './figure.ts';
import { count, duration, milliseconds, money, rate, size } from './format.ts';
import type { PastSamples } from './past.ts';
import { Plot, topByHundred, topByTwo } from './plot.ts';

const DAY_MS = 86_400_000;
const MONTH_MS = 30 * DAY_MS;
/** What a month costs is not told from less. */
const TELLING_MS = 10 * 60_000;

export class BucketView {
  readonly #health = new Figure('Health');
  readonly #cost = new Figure('Cost since the start');
  readonly #writes = new Figure('Writing requests');
  readonly #reads = new Figure('Reading requests');
  readonly #plots = storePlots();

  constructor(section: HTMLElement) {
    const figures = [this.#health, this.#cost, this.#writes, this.#reads].map(({ element }) => element);
    section.append(
      make('dl', { class: 'bucket-facts' }, ...figures),
      make('div', { class: 'plots' }, ...this.#plots.map(({ plot }) => plot.element)),
    );
  }

  update({ status, cost }: LiveDocument, past: PastSamples | null): void {
    const { health, error, description } = status.store;
    const words = { ok: 'answers', failing: 'fails', unknown: 'not asked yet' } as Readonly<Record<string, string>>;
    this.#health.show({
      value: words[health] ?? health,
      note: error ?? description,
      alarm: health === 'failing' ? 'bad' : '',
    });
    const total = cost.cost.write + cost.cost.read + cost.cost.received;
    const [amount = '', currency = ''] = money(total, cost.currency).split(' ');
    const upMs = status.uptimeMs ?? 0;
    const month = upMs < TELLING_MS ? '' : `, ${money((total / upMs) * MONTH_MS, cost.currency)} a month at this pace`;
    this.#cost.show({ value: amount, unit: currency, note: `in ${duration(upMs)}${month}` });
    this.#writes.show({
      value: count(cost.requests.write),
      note: `PUT and LIST, ${money(cost.cost.write, cost.currency)}; ${count(cost.requests.free)} DELETE`,
    });
    const received = `${size(cost.receivedBytes)} fetched, ${money(cost.cost.received, cost.currency)}`;
    this.#reads.show({
      value: count(cost.requests.read),
      note: `GET and HEAD, ${money(cost.cost.read, cost.currency)}; ${received}`,
    });
    if (past === null) return;
    for (const { plot, names } of this.#plots) {
      const values = names.map((name) => past.store[name] ?? []);
      plot.show(values, past.endMs, past.intervalMs);
    }
  }
}

function storePlots(): { readonly plot: Plot; readonly names: readonly string[] }[] {
  return [
    {
      names: ['sentBytes', 'receivedBytes'],
      plot: new Plot({
        title: 'Sent and fetched',
        format: rate,
        top: topByTwo(2 ** 20),
        lines: [
          { label: 'sent', color: 'write', look: 'area' },
          { label: 'fetched', color: 'read', look: 'area' },
        ],
      }),
    },
    {
      names: ['getMs', 'putMs'],
      plot: new Plot({
        title: 'Latency of the bucket, mean',
        format: milliseconds,
        bottom: 0.1,
        top: topByHundred(10),
        lines: [
          { label: 'GET', color: 'read' },
          { label: 'PUT', color: 'write' },
        ],
      }),
    },
  ];
}
