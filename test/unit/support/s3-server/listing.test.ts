/** Both listings, page by page, against a plain reading of what they promise. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { compareUtf8 } from '../../../support/s3-server/bucket.ts';
import { parseXml, type XmlElement } from '../../../support/s3-server/parse-xml.ts';
import { startS3Server } from '../../../support/s3-server/s3-server.ts';
import { send } from './raw-client.ts';

const server = await startS3Server();
after(() => server.close());

interface Page {
  readonly keys: string[];
  readonly prefixes: string[];
  readonly truncated: boolean;
  field(name: string): string | undefined;
}

async function list(bucket: string, parameters: Record<string, string>): Promise<Page> {
  const query = Object.entries(parameters).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  const answer = await send(server, { target: `/${bucket}?${query.join('&')}` });
  assert.equal(answer.status, 200, answer.text);
  const root = parseXml(answer.text);
  const text = (element: XmlElement, name: string): string | undefined =>
    element.children.find((child) => child.name === name)?.text;
  const decode = (value: string): string =>
    parameters['encoding-type'] === 'url' ? decodeURIComponent(value.replaceAll('+', ' ')) : value;
  const all = (container: string, name: string): string[] =>
    root.children.filter((child) => child.name === container).map((child) => decode(text(child, name) ?? ''));
  return {
    keys: all('Contents', 'Key'),
    prefixes: all('CommonPrefixes', 'Prefix'),
    truncated: text(root, 'IsTruncated') === 'true',
    field: (name) => text(root, name),
  };
}

async function listAll(
  version: 1 | 2,
  bucket: string,
  parameters: Record<string, string>,
): Promise<Omit<Page, 'field' | 'truncated'>> {
  const keys: string[] = [];
  const prefixes: string[] = [];
  let next: Record<string, string> = version === 2 ? { 'list-type': '2' } : {};
  for (;;) {
    const page = await list(bucket, { 'encoding-type': 'url', ...parameters, ...next });
    keys.push(...page.keys);
    prefixes.push(...page.prefixes);
    if (!page.truncated) return { keys, prefixes };
    const last = [...page.keys, ...page.prefixes].sort(compareUtf8).at(-1) ?? '';
    next =
      version === 2
        ? { 'list-type': '2', 'continuation-token': page.field('NextContinuationToken') ?? '' }
        : { marker: last };
  }
}

test('every page of both listings adds up to the keys in UTF-8 order, rolled up at the delimiter', async () => {
  const part = fc.string({
    unit: fc.constantFrom('a', 'b', '/', '-', ' ', 'é', '\uffff', '😀'),
    minLength: 1,
    maxLength: 5,
  });
  const scenario = fc.record({
    keys: fc.uniqueArray(part, { maxLength: 12 }),
    prefix: fc.oneof(
      fc.constant(''),
      part.map((key) => key.slice(0, 1)).filter((text) => text.isWellFormed()),
    ),
    delimiter: fc.constantFrom('', '/', '-'),
    maxKeys: fc.integer({ min: 1, max: 5 }),
    version: fc.constantFrom<1 | 2>(1, 2),
  });
  await fc.assert(
    fc.asyncProperty(scenario, async ({ keys, prefix, delimiter, maxKeys, version }) => {
      const bucket = server.createBucket('listed');
      for (const key of keys) bucket.put(key, '');
      const matching = keys.filter((key) => key.startsWith(prefix));
      matching.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      const rolled = (key: string): string | null => {
        const at = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length);
        return at < 0 ? null : key.slice(0, at + 1);
      };
      const expected = {
        keys: matching.filter((key) => rolled(key) === null),
        prefixes: [...new Set(matching.map(rolled).filter((one) => one !== null))],
      };
      const found = await listAll(version, 'listed', { prefix, delimiter, 'max-keys': String(maxKeys) });
      assert.deepEqual(found, expected);
    }),
    { numRuns: 60 },
  );
});

test('ListObjectsV2 tells how many, where it began and how to go on', async () => {
  const bucket = server.createBucket('b');
  for (const key of ['a', 'b', 'c&d']) bucket.put(key, 'body');
  const page = await list('b', { 'list-type': '2', 'start-after': 'a', 'max-keys': '1' });
  assert.deepEqual(page.keys, ['b']);
  assert.equal(page.field('KeyCount'), '1');
  assert.equal(page.field('StartAfter'), 'a');
  assert.equal(page.field('MaxKeys'), '1');
  const token = page.field('NextContinuationToken') ?? '';
  const rest = await list('b', { 'list-type': '2', 'continuation-token': token });
  assert.deepEqual({ keys: rest.keys, truncated: rest.truncated }, { keys: ['c&d'], truncated: false });
  assert.equal(rest.field('NextContinuationToken'), undefined);
});

test('a key put between two pages is seen where it sorts after the first', async () => {
  const bucket = server.createBucket('b');
  for (const key of ['b', 'd']) bucket.put(key, '');
  const first = await list('b', { 'list-type': '2', 'max-keys': '1' });
  bucket.put('a', '');
  bucket.put('c', '');
  const token = first.field('NextContinuationToken') ?? '';
  assert.deepEqual((await list('b', { 'list-type': '2', 'continuation-token': token })).keys, ['c', 'd']);
});

test('a page has at most 1000 keys', async () => {
  const bucket = server.createBucket('b');
  for (let i = 0; i < 1001; i++) bucket.put(i.toString().padStart(4, '0'), '');
  const page = await list('b', { 'max-keys': '5000' });
  assert.deepEqual({ count: page.keys.length, truncated: page.truncated }, { count: 1000, truncated: true });
  assert.equal(page.field('NextMarker'), undefined, 'only with a delimiter');
  assert.deepEqual((await list('b', { marker: '0999' })).keys, ['1000']);
});

test('no keys asked for, none given', async () => {
  server.createBucket('b').put('k', '');
  const page = await list('b', { 'list-type': '2', 'max-keys': '0' });
  assert.deepEqual({ keys: page.keys, truncated: page.truncated }, { keys: [], truncated: false });
});

test('parameters that are no good are refused', async () => {
  server.createBucket('b');
  for (const query of [
    'max-keys=x',
    'max-keys=-1',
    'encoding-type=base64',
    'list-type=2&continuation-token=!',
    'list-type=2&fetch-owner=1',
  ]) {
    const answer = await send(server, { target: `/b?${query}` });
    assert.deepEqual({ status: answer.status, code: answer.code }, { status: 400, code: 'InvalidArgument' }, query);
  }
  assert.equal((await send(server, { target: '/b?list-type=3' })).code, 'NotImplemented');
  assert.equal((await send(server, { target: '/b?prefix=a&prefix=b' })).code, 'InvalidArgument');
});
