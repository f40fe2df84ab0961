/** The status page over HTTP: what it is, what it lets a browser do, and who may change something through it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { assemblePage } from '../../../src/admin/assemble-page.ts';
import type { ControlRoutes } from '../../../src/admin/control-server.ts';
import { EventHub } from '../../../src/admin/event-hub.ts';
import { HttpServer } from '../../../src/admin/http-server.ts';
import { MapDesk } from '../../../src/admin/map-desk.ts';
import { statusRoutes } from '../../../src/admin/status-routes.ts';
import { StorageError } from '../../../src/lib/errors.ts';
import type { MapRange, VolumeMap } from '../../../src/volume/volume-map.ts';
import { LogBook } from '../volume/fixtures.ts';

const KEY = 'a-token-of-24-characters';

const MAP: VolumeMap = {
  ...{ sizeBytes: 8192, offset: 0, length: 8192, cellBytes: 4096 },
  ...{
    dirty: Uint8Array.of(255, 0),
    clean: Uint8Array.of(0, 1),
    stored: Uint8Array.of(0, 2),
    unknown: Uint8Array.of(0, 0),
  },
  ...{ dirtyBytes: 4096, cleanBytes: 4096, storedBytes: 4096, unknownBytes: 0 },
};

async function serve(t: TestContext, token: string | null = KEY) {
  const log = new LogBook();
  const asked: unknown[] = [];
  const changes: ControlRoutes = {
    'POST /v1/flush': async (body) => {
      asked.push(body);
      if (body.name === 'nope') throw new StorageError('NOT_FOUND', 'no volume nope');
      return { dirtyBytes: 0 };
    },
  };
  const drawMap = async (volume: string, range: MapRange): Promise<VolumeMap> => {
    asked.push([volume, range]);
    return MAP;
  };
  const routes = statusRoutes({ hub: new EventHub(log), document: () => '{}', history: () => null, drawMap, changes });
  const server = new HttpServer({ routes, hosts: [], token, log });
  await server.listen('127.0.0.1', 0);
  t.after(() => server.close());
  const url = `http://127.0.0.1:${server.address?.port}`;
  const post = (path: string, body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Response> =>
    fetch(url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${KEY}`, ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
  return { url, post, asked, log };
}

describe('the page', () => {
  test('is one document that may run its own script and nothing else', async (t) => {
    const { url } = await serve(t);
    const answer = await fetch(`${url}/`);
    const html = await answer.text();
    assert.equal(answer.headers.get('content-type'), 'text/html; charset=utf-8');
    const policy = new Map(
      (answer.headers.get('content-security-policy') ?? '').split('; ').map((directive) => {
        const [name = '', ...values] = directive.split(' ');
        return [name, values.join(' ')] as const;
      }),
    );
    assert.equal(policy.get('default-src'), "'none'");
    assert.equal(policy.get('frame-ancestors'), "'none'");
    assert.equal(policy.get('base-uri'), "'none'");
    assert.equal(policy.get('form-action'), "'none'");
    assert.equal(policy.get('connect-src'), "'self'");
    assert.equal(policy.get('require-trusted-types-for'), "'script'");
    for (const [tag, directive] of [
      ['script', 'script-src'],
      ['style', 'style-src'],
    ] as const) {
      const [, text = ''] = new RegExp(`<${tag}[^>]*>([\\s\\S]*)</${tag}>`).exec(html) ?? [];
      assert.ok(text.length > 1000);
      assert.equal(policy.get(directive), `'sha256-${createHash('sha256').update(text).digest('base64')}'`);
    }
    assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
    assert.equal(answer.headers.get('referrer-policy'), 'no-referrer');
    assert.equal(answer.headers.get('cross-origin-opener-policy'), 'same-origin');
    assert.equal(answer.headers.get('cache-control'), 'no-store');
    assert.equal(answer.headers.get('set-cookie'), null);
  });

  test('names nothing that would have to be fetched, and has no style or handler in an attribute', () => {
    const html = assemblePage();
    const [markup = ''] = html.split('<script type="module">');
    assert.doesNotMatch(
      markup.replace(/<style>[\s\S]*<\/style>/, ''),
      /\s(?:style|on\w+)=|<(?:script|img|iframe|object|embed)\b/i,
    );
    const elsewhere = [...html.matchAll(/(?:https?:)?\/\/[\w.-]+\.\w+/g)].map(([text]) => text);
    assert.deepEqual([...new Set(elsewhere)], ['http://www.w3.org']);
    assert.doesNotMatch(html, /@import|url\(/);
    assert.doesNotMatch(html, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(/);
  });

  test('has a script that is one module, without a name that is declared twice', () => {
    const [, script = ''] = /<script type="module">([\s\S]*)<\/script>/.exec(assemblePage()) ?? [];
    assert.doesNotMatch(script, /<\/script|^\s*(?:import|export)\b/m);
    const check = ['--input-type=module', '--check'];
    const { status, stderr } = spawnSync(process.execPath, check, { input: script, encoding: 'utf8' });
    assert.deepEqual([status, stderr], [0, '']);
    const twice = spawnSync(process.execPath, check, { input: `${script}\nfunction make() {}`, encoding: 'utf8' });
    assert.notEqual(twice.status, 0);
  });
});

describe('what changes something', () => {
  test('is done for who has the token', async (t) => {
    const { post, asked } = await serve(t);
    const answer = await post('/v1/flush', { name: 'media' });
    assert.deepEqual([answer.status, await answer.json()], [200, { dirtyBytes: 0 }]);
    assert.deepEqual(asked, [{ name: 'media' }]);
  });

  test('and for nobody else, nor is what they send read', async (t) => {
    const { post, asked, url } = await serve(t);
    const wrong = await post('/v1/flush', { name: 'media' }, { authorization: 'Bearer something-else-altogether' });
    assert.equal(wrong.status, 401);
    assert.deepEqual(await wrong.json(), { error: { code: 'ACCESS_DENIED', message: 'the token is wrong' } });
    assert.equal((await post('/v1/flush', {}, { origin: 'http://evil.example' })).status, 403);
    assert.equal((await post('/v1/flush', '{}', { 'content-type': 'text/plain' })).status, 415);
    assert.equal((await fetch(`${url}/v1/flush`, { method: 'POST' })).status, 415);
    assert.equal((await fetch(`${url}/v1/flush`)).status, 405);
    assert.equal((await post('/events', {})).status, 405);
    assert.deepEqual(asked, []);
  });

  test('tells what went wrong as the control socket does', async (t) => {
    const { post } = await serve(t);
    const answer = await post('/v1/flush', { name: 'nope' });
    assert.deepEqual(
      [answer.status, await answer.json()],
      [404, { error: { code: 'NOT_FOUND', message: 'no volume nope' } }],
    );
    for (const body of ['[]', '"x"', '{', `{"name":"${'x'.repeat(70_000)}"}`]) {
      assert.equal((await post('/v1/flush', body)).status, 400, body.slice(0, 10));
    }
  });
});

describe('a map', () => {
  test('has its cells in base64, of the range that was asked for', async (t) => {
    const { url, asked } = await serve(t);
    const answer = await fetch(`${url}/map?volume=media&offset=4096&length=8192&cells=99999`);
    const { dirty, stored, cellBytes } = (await answer.json()) as Record<string, unknown>;
    assert.deepEqual([dirty, stored, cellBytes], ['/wA=', 'AAI=', 4096]);
    assert.deepEqual(asked, [['media', { offset: 4096, length: 8192, cells: 8192 }]]);
  });

  for (const query of ['offset=-1', 'offset=1e3', 'offset=9999999999999999', 'length=x', 'cells=0x10', 'offset=']) {
    test(`of ${query} is refused`, async (t) => {
      const { url, asked } = await serve(t);
      assert.equal((await fetch(`${url}/map?volume=media&${query}`)).status, 400);
      assert.deepEqual(asked, []);
    });
  }

  test('is drawn once for all who want it, and no more than so many at once', async () => {
    let drawn = 0;
    const { promise, resolve } = Promise.withResolvers<void>();
    const desk = new MapDesk(async () => {
      drawn++;
      await promise;
      return MAP;
    });
    const range = { offset: 0, length: null, cells: 2 };
    const same = [desk.get('media', range), desk.get('media', range)];
    const others = ['a', 'b', 'c'].map((name) => desk.get(name, range));
    assert.equal(drawn, 4);
    await assert.rejects(desk.get('d', range), { code: 'UNAVAILABLE' });
    resolve();
    await Promise.all([...same, ...others]);
    // Places are free again a little later.
    for (;;) {
      const view = await desk.get('d', range).catch(() => null);
      if (view !== null) break;
      await turn();
    }
    assert.equal(drawn, 5);
  });
});

test('the past of a volume that there is not is not found', async (t) => {
  const { url } = await serve(t);
  assert.equal((await fetch(`${url}/history?volume=media`)).status, 404);
  assert.equal((await fetch(`${url}/history`)).status, 404);
});
