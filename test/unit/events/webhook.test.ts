/** Events on their way to somebody's HTTP server that is slow, away, refusing or malicious. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import type { ApplianceEvent } from '../../../src/events/event.ts';
import { Webhook, type WebhookMessage } from '../../../src/events/webhook.ts';
import { SystemClock } from '../../../src/lib/clock.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { LogBook } from '../volume/fixtures.ts';

const URL_WITH_SECRET = 'https://hooks.example.com/services/T0/s3cr3t';

function event(message: string): ApplianceEvent {
  return { at: '2026-01-02T03:04:05.000Z', name: 'report', level: 'info', volume: 'media', message, fields: {} };
}

type Answer = (message: WebhookMessage, signal: AbortSignal) => Promise<Response> | Response;

function webhook(answer: Answer) {
  const clock = new VirtualClock();
  const log = new LogBook();
  const requests: { url: string; message: WebhookMessage; redirect: string | undefined }[] = [];
  const send = (async (url: string, options: RequestInit) => {
    const message = JSON.parse(String(options.body)) as WebhookMessage;
    requests.push({ url, message, redirect: options.redirect });
    return answer(message, options.signal as AbortSignal);
  }) as typeof fetch;
  const hook = new Webhook({
    url: URL_WITH_SECRET,
    appliance: { host: 'nas', version: '1.2.3' },
    clock,
    log,
    fetch: send,
    random: () => 1,
  });
  return { hook, clock, log, requests, texts: () => requests.map(({ message }) => message.event.message) };
}

describe('Webhook', () => {
  test('sends events in order, each once, and says who it is', async () => {
    const { hook, clock, requests, texts } = webhook(() => new Response('ok'));
    hook.send(event('one'));
    hook.send(event('two'));
    assert.deepEqual(texts(), [], 'nobody waits for it');
    await clock.advance(0);
    assert.deepEqual(texts(), ['one', 'two']);
    assert.equal(requests[0]?.url, URL_WITH_SECRET);
    assert.equal(requests[0]?.redirect, 'manual');
    const { source, host, version, text, dropped } = requests[0]?.message ?? {};
    assert.deepEqual(
      { source, host, version, text, dropped },
      { source: 'bucketdisk', host: 'nas', version: '1.2.3', text: 'bucketdisk on nas: media: one', dropped: 0 },
    );
    assert.deepEqual(hook.status, { sent: 2, dropped: 0, waiting: 0 });
  });

  test('tries again with growing pauses, tells of the failure once and without the url, and goes on', async () => {
    let answers = 0;
    const { hook, clock, log, texts } = webhook(() => {
      answers++;
      if (answers === 1) throw new Error(`connect ECONNREFUSED for ${URL_WITH_SECRET}`);
      return new Response(null, { status: answers <= 4 ? 503 : 204 });
    });
    hook.send(event('one'));
    await clock.advance(999);
    assert.equal(answers, 1);
    await clock.advance(1);
    assert.equal(answers, 2);
    await clock.advance(2_000 + 4_000);
    assert.equal(answers, 4);
    await clock.advance(8_000);
    assert.deepEqual(texts(), ['one', 'one', 'one', 'one', 'one']);
    assert.deepEqual(hook.status, { sent: 1, dropped: 0, waiting: 0 });
    assert.equal(log.messages('warn').length, 1);
    assert.ok(!JSON.stringify(log.lines).includes('s3cr3t'));
    assert.deepEqual(log.messages('info'), ['events.webhook takes events again']);
  });

  test('waits as long as it is asked to, within bounds', async () => {
    let answers = 0;
    const { hook, clock } = webhook(() => {
      answers++;
      return answers === 1 ? new Response(null, { status: 429, headers: { 'retry-after': '30' } }) : new Response('ok');
    });
    hook.send(event('one'));
    await clock.advance(29_000);
    assert.equal(answers, 1);
    await clock.advance(1_000);
    assert.equal(answers, 2);
  });

  test('gives up an event that is refused, or answered with a redirection, and says so with the next', async () => {
    const { hook, clock, requests } = webhook(({ event: { message } }) => {
      if (message === 'refused') return new Response(null, { status: 400 });
      if (message === 'elsewhere') return new Response(null, { status: 302, headers: { location: 'http://evil/' } });
      return new Response('ok');
    });
    for (const message of ['refused', 'elsewhere', 'fine']) hook.send(event(message));
    await clock.advance(0);
    assert.deepEqual(
      requests.map(({ message }) => message.dropped),
      [0, 1, 2],
    );
    assert.deepEqual(hook.status, { sent: 1, dropped: 2, waiting: 0 });
  });

  test('gives up an answer that does not come, and an event after an hour', async () => {
    let hangs = 0;
    const { hook, clock } = webhook(
      (_message, signal) =>
        new Promise((_resolve, reject) => {
          hangs++;
          signal.addEventListener('abort', () => reject(signal.reason), { once: true });
        }),
    );
    hook.send(event('one'));
    await clock.advance(10_000);
    assert.equal(hangs, 1);
    await clock.advance(1_000);
    assert.equal(hangs, 2);
    await clock.advance(2 * 3_600_000);
    assert.deepEqual(hook.status, { sent: 0, dropped: 1, waiting: 0 });
  });

  test('keeps no more than a hundred, the newest', async () => {
    const gate = Promise.withResolvers<Response>();
    const { hook, clock, texts } = webhook(() => gate.promise);
    for (let number = 0; number < 250; number++) hook.send(event(String(number)));
    await clock.advance(0);
    assert.equal(hook.status.waiting, 100);
    gate.resolve(new Response('ok'));
    await clock.advance(0);
    assert.equal(texts().at(-1), '249');
    assert.equal(hook.status.waiting, 0);
    assert.equal(hook.status.dropped, 150);
  });

  test('is given little time to send the rest when the appliance stops', async () => {
    const { hook, clock } = webhook(
      (_message, signal) =>
        new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason), { once: true }),
        ),
    );
    hook.send(event('one'));
    await clock.run(hook.close(2_000));
    assert.equal(clock.time.nowMs, 2_000);
    hook.send(event('two'));
    await clock.advance(100_000);
    assert.equal(clock.time.pending, 0);
  });

  test('speaks HTTP', async (t) => {
    const bodies: string[] = [];
    const server = createServer(async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      bodies.push(`${request.method} ${request.url} ${request.headers['content-type']} ${body.length > 0}`);
      response.end('x'.repeat(1_000_000));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const url = `http://127.0.0.1:${port}/hook`;
    const appliance = { host: 'nas', version: '1.2.3' };
    const hook = new Webhook({ url, appliance, clock: new SystemClock(), log: new LogBook() });
    hook.send(event('one'));
    await hook.close(10_000);
    assert.deepEqual(bodies, ['POST /hook application/json true']);
    assert.equal(hook.status.sent, 1);
  });
});
