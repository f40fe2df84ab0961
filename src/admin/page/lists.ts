/** The tables and lists below: clients, jobs, events. */
import type { Api } from './api.ts';
import type { ConnectionView, EventView, JobView, LiveDocument } from './document.ts';
import { LiveTable, make, say } from './dom.ts';
import { count, duration, fromNow, NOTHING_KNOWN, size, timeOfDay } from './format.ts';

const RUN_JOB = '/v1/jobs/run';
const EVENTS_SHOWN = 50;

interface RunAnswer {
  readonly id: string;
  /** Null while it is under way. */
  readonly run: { readonly result: string; readonly detail: string | null } | null;
}

export class ClientsView {
  readonly #table = new LiveTable('Clients', [
    ...['Client', 'Who', 'Volume', 'TLS', '#Attached', '#Requests', '#Under way', '#Read', '#Written'],
  ]);
  readonly #nobody = make('p', { class: 'muted' }, 'Nobody is connected over NBD.');

  constructor(section: HTMLElement) {
    section.append(this.#table.element, this.#nobody);
  }

  update({ status }: LiveDocument): void {
    this.#table.element.hidden = status.connections.length === 0;
    this.#nobody.hidden = status.connections.length > 0;
    const { fuse, mounts } = status;
    const files = fuse === null ? [] : [`Files in ${fuse.dir} are open ${fuse.openFiles} times.`];
    const mounted = mounts.map(({ name, dir, device }) => `${name} is mounted on ${dir} (${device}).`);
    say(this.#nobody, ['Nobody is connected over NBD.', ...files, ...mounted].join(' '));
    // Several may come from one unix socket: they are told apart by their place.
    this.#table.show(
      status.connections.map((one, index) => ({ key: `${index} ${one.peer}`, cells: clientCells(one) })),
    );
  }
}

function clientCells(one: ConnectionView): string[] {
  return [
    one.peer,
    one.client.join(', ') || NOTHING_KNOWN,
    one.volume === null ? `(${one.state})` : `${one.volume}${one.readOnly === true ? ', read-only' : ''}`,
    one.tls ?? NOTHING_KNOWN,
    duration(one.connectedMs),
    count(one.requests),
    `${one.requestsInFlight}, ${size(one.inFlightBytes)}`,
    size(one.readBytes),
    size(one.writtenBytes),
  ];
}

export class JobsView {
  readonly #section: HTMLElement;
  readonly #api: Api;
  readonly #table = new LiveTable('Jobs', ['Job', 'When', 'Next run', 'Last run', 'Result', '#Took', '#Runs']);
  readonly #buttons = make('div', { class: 'actions' });
  readonly #told = make('p', { class: 'action-told', role: 'status' });

  constructor(section: HTMLElement, api: Api) {
    this.#section = section;
    this.#api = api;
    section.append(this.#table.element, this.#buttons, this.#told);
  }

  update({ status: { jobs }, changes }: LiveDocument): void {
    this.#section.hidden = jobs.length === 0;
    this.#table.show(jobs.map((job) => ({ key: job.name, cells: jobCells(job) })));
    const names = changes.includes(RUN_JOB) ? jobs.map(({ name }) => name) : [];
    if (this.#buttons.children.length !== names.length) {
      this.#buttons.replaceChildren(...names.map((name) => this.#button(name)));
    }
    [...this.#buttons.children].forEach((button, index) => {
      (button as HTMLButtonElement).disabled = !this.#api.unlocked || jobs[index]?.running === true;
    });
  }

  #button(name: string): HTMLButtonElement {
    const button = make('button', { type: 'button', class: 'quiet' }, `Run ${name}`);
    button.addEventListener('click', () => {
      say(this.#told, `${name} has been asked for`);
      void this.#run(name);
    });
    return button;
  }

  /** What takes long is asked after until it has ended. */
  async #run(name: string): Promise<void> {
    try {
      let answer = (await this.#api.change(RUN_JOB, { name })) as RunAnswer;
      while (answer.run === null) {
        say(this.#told, `${name} runs`);
        answer = (await this.#api.change(RUN_JOB, { name, id: answer.id })) as RunAnswer;
      }
      const { result, detail } = answer.run;
      say(this.#told, `${name}: ${[result, detail].filter((part) => part !== null).join(', ')}`);
    } catch (error) {
      say(this.#told, error instanceof Error ? error.message : String(error));
    }
  }
}

function jobCells({ name, cron, running, nextRunAt, lastRun, succeeded, failed }: JobView): string[] {
  return [
    name,
    cron ?? 'on demand',
    running ? 'runs now' : fromNow(nextRunAt),
    fromNow(lastRun?.startedAt ?? null),
    lastRun === null ? NOTHING_KNOWN : [lastRun.result, lastRun.detail].filter((part) => part !== null).join(': '),
    duration(lastRun?.durationMs ?? null),
    failed === 0 ? count(succeeded) : `${count(succeeded)}, ${count(failed)} failed`,
  ];
}

export class EventsView {
  readonly #section: HTMLElement;
  readonly #list = make('ol', { class: 'event-list', tabindex: '0', 'aria-label': 'Events, the newest first' });
  #shown = '';

  constructor(section: HTMLElement) {
    this.#section = section;
    section.append(this.#list);
  }

  /** The newest come last in the document, and first here. */
  update({ status: { recentEvents } }: LiveDocument): void {
    this.#section.hidden = recentEvents.length === 0;
    const newest = recentEvents.slice(-EVENTS_SHOWN).toReversed();
    const text = JSON.stringify(newest);
    if (text === this.#shown) return;
    this.#shown = text;
    this.#list.replaceChildren(...newest.map(eventItem));
  }
}

function eventItem({ at, level, message, volume }: EventView): HTMLElement {
  const about = volume === null ? message : `${volume}: ${message}`;
  const time = make('time', { datetime: at, class: 'muted' }, timeOfDay(at));
  return make('li', {}, time, make('span', { class: level }, about));
}
