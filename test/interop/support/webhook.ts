/** Somebody's HTTP server that an appliance sends its events to. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { WebhookMessage } from '../../../src/events/webhook.ts';
import { type Lifetime, onEnd } from '../../support/cleanup.ts';

export interface TestWebhook {
  /** With a secret in its path. */
  readonly url: string;
  /** What has come so far. */
  readonly messages: readonly WebhookMessage[];
  /** The names of the events, in the order they came. */
  names(): string[];
}

export async function startWebhook(lifetime: Lifetime): Promise<TestWebhook> {
  const messages: WebhookMessage[] = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    messages.push(JSON.parse(body) as WebhookMessage);
    response.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onEnd(lifetime, () => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/s3cr3t`,
    messages,
    names: () => messages.map(({ event }) => event.name),
  };
}
