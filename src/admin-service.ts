/** What an appliance tells and takes over HTTP, where its settings ask for that: status page, metrics, health checks. */
import { hostname } from 'node:os';
import type { ControlRoutes } from './admin/control-server.ts';
import { EventHub } from './admin/event-hub.ts';
import { healthRoutes } from './admin/health.ts';
import { HttpServer } from './admin/http-server.ts';
import type { DrawMap } from './admin/map-desk.ts';
import type { LiveDocument, StatusView } from './admin/page/document.ts';
import { statusRoutes } from './admin/status-routes.ts';
import type { AdminSettings, CostSettings } from './config/settings.ts';
import type { Clock } from './lib/clock.ts';
import { StorageError } from './lib/errors.ts';
import type { Log } from './lib/log.ts';
import { Activity, SAMPLE_INTERVAL_MS } from './metrics/activity/activity.ts';
import { Metrics } from './metrics/metrics.ts';
import type { Reading } from './metrics/sources.ts';
import { billedRequests, storeCost } from './metrics/store-cost.ts';

/** What may be changed over HTTP by whoever has the token: nothing that could lose data. */
const CHANGES = ['POST /v1/flush', 'POST /v1/warm', 'POST /v1/jobs/run'];

export interface AdminServiceOptions {
  readonly settings: AdminSettings;
  readonly cost: CostSettings;
  /** What is not as it should be, a line each: see healthProblems. */
  readonly problems: () => readonly string[];
  /** What the metrics are read from. */
  readonly read: () => Reading;
  readonly status: () => StatusView;
  readonly drawMap: DrawMap;
  /** What the control socket answers: some of it may be asked for here. */
  readonly control: ControlRoutes;
  readonly clock: Clock;
  readonly log: Log;
}

export class AdminService {
  readonly #options: AdminServiceOptions;
  readonly #activity = new Activity();
  readonly #stop = new AbortController();
  readonly #hub: EventHub;
  readonly #changes: ControlRoutes;
  #server: HttpServer | null = null;

  constructor(options: AdminServiceOptions) {
    this.#options = options;
    this.#hub = new EventHub(options.log);
    const allowed = options.settings.token === null ? [] : CHANGES;
    this.#changes = Object.fromEntries(Object.entries(options.control).filter(([route]) => allowed.includes(route)));
  }

  /** What the control socket answers of this. */
  get routes(): ControlRoutes {
    return {
      'GET /v1/live': async () => this.live(),
      'POST /v1/past': async ({ name }) => {
        const past = this.#activity.history(String(name));
        if (past === null) throw new StorageError('NOT_FOUND', `this appliance has no volume ${name}`);
        return past;
      },
    };
  }

  /** Begins to remember what is done lately; listens where admin.listen is set. */
  async start(): Promise<void> {
    void this.#sample();
    const { settings, problems, read, drawMap, log } = this.#options;
    const { listen, hosts, token } = settings;
    if (listen === null) return;
    const metrics = new Metrics(read);
    const server = new HttpServer({
      routes: {
        ...healthRoutes(problems),
        '/metrics': {
          GET: async () => ({ status: 200, contentType: metrics.contentType, body: await metrics.text() }),
        },
        ...statusRoutes({
          hub: this.#hub,
          document: () => JSON.stringify(this.live()),
          history: (volume) => this.#activity.history(volume),
          drawMap,
          changes: this.#changes,
        }),
      },
      hosts: [listen.host, hostname(), ...hosts].map((name) => name.toLowerCase()),
      token,
      log,
    });
    await server.listen(listen.host, listen.port);
    this.#server = server;
    const { host, port } = server.address ?? listen;
    const url = `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
    log.info('the status page, metrics and health checks are served', { url, event: 'admin' });
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#hub.close();
    await this.#server?.close();
  }

  /** Everything of this moment, as the status page and `top` have it. */
  live(): LiveDocument {
    const { cost, read, status } = this.#options;
    const { metrics, prices } = read().store;
    return {
      status: status(),
      activity: this.#activity.latest,
      cost: {
        currency: cost.currency,
        requests: billedRequests(metrics),
        receivedBytes: metrics.bytesDown,
        cost: storeCost(metrics, prices),
      },
      changes: Object.keys(this.#changes).map((route) => route.replace(/^POST /, '')),
    };
  }

  /** Ends with close(). */
  async #sample(): Promise<void> {
    const { clock, read, log } = this.#options;
    let before = clock.now();
    while (!this.#stop.signal.aborted) {
      const now = clock.now();
      try {
        this.#activity.record(read(), now - before);
        if (this.#hub.clients > 0) this.#hub.publish(JSON.stringify(this.live()));
      } catch (error) {
        // A picture of the appliance is not worth more than the appliance.
        log.error('cannot tell what the appliance does', { error });
      }
      before = now;
      await clock.sleep(SAMPLE_INTERVAL_MS, this.#stop.signal).catch(() => {});
    }
  }
}
