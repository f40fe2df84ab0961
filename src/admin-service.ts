/** The HTTP server of an appliance, where its settings ask for one: metrics and health checks. */
import { hostname } from 'node:os';
import { healthRoutes } from './admin/health.ts';
import { HttpServer } from './admin/http-server.ts';
import type { AdminSettings } from './config/settings.ts';
import type { Log } from './lib/log.ts';
import { Metrics } from './metrics/metrics.ts';
import type { Reading } from './metrics/sources.ts';

export interface AdminServiceOptions {
  readonly settings: AdminSettings;
  /** What is not as it should be, a line each: see healthProblems. */
  readonly problems: () => readonly string[];
  /** What the metrics are read from. */
  readonly read: () => Reading;
  readonly log: Log;
}

export class AdminService {
  readonly #options: AdminServiceOptions;
  #server: HttpServer | null = null;

  constructor(options: AdminServiceOptions) {
    this.#options = options;
  }

  /** Does nothing where admin.listen is null. */
  async start(): Promise<void> {
    const { settings, problems, read, log } = this.#options;
    const { listen, hosts } = settings;
    if (listen === null) return;
    const metrics = new Metrics(read);
    const server = new HttpServer({
      routes: {
        ...healthRoutes(problems),
        '/metrics': {
          GET: async () => ({ status: 200, contentType: metrics.contentType, body: await metrics.text() }),
        },
      },
      hosts: [listen.host, hostname(), ...hosts].map((name) => name.toLowerCase()),
      log,
    });
    await server.listen(listen.host, listen.port);
    this.#server = server;
    const { host, port } = server.address ?? listen;
    const url = `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
    log.info('metrics and health checks are served', { url, event: 'admin' });
  }

  async close(): Promise<void> {
    await this.#server?.close();
  }
}
