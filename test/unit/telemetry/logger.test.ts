/** The logger: one line a fact, in either style, bounded, without secrets, and nothing lost at the end. */
import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { StorageError } from '../../../src/lib/errors.ts';
import { createLogger, type Logger, type LoggerOptions } from '../../../src/telemetry/logger.ts';

/** A stream that takes its time, as a pipe may. */
class SlowStream extends Writable {
  text = '';
  readonly isTTY: boolean;

  constructor(isTTY: boolean) {
    super({ decodeStrings: false });
    this.isTTY = isTTY;
  }

  override _write(chunk: string | Buffer, _encoding: string, callback: () => void): void {
    this.text += chunk.toString();
    setImmediate(callback);
  }
}

async function logged(write: (log: Logger) => void, options: Partial<LoggerOptions> = {}, isTTY = false) {
  const stream = new SlowStream(isTTY);
  const now = () => new Date('2026-01-31T12:34:56.789Z');
  const log = createLogger({ level: 'info', format: 'auto', stream, now, ...options });
  write(log);
  await log.close();
  assert.ok(stream.text === '' || stream.text.endsWith('\n'));
  return stream.text.split('\n').slice(0, -1);
}

describe('logger', () => {
  it('writes JSON where nobody watches', async () => {
    const [line = '', ...more] = await logged((log) =>
      log.info('volume open', { volume: 'demo', sizeBytes: 5, gone: undefined }),
    );
    assert.deepEqual(more, []);
    assert.equal(
      line,
      '{"time":"2026-01-31T12:34:56.789Z","level":"info","message":"volume open","volume":"demo","sizeBytes":5}',
    );
  });

  it('writes a readable line on a terminal, coloured by level', async () => {
    const [line = ''] = await logged((log) => log.warn('slow', { volume: 'demo', why: 'two words' }), {}, true);
    for (const part of ['\x1b[33mwarn \x1b[0m slow  ', 'volume=\x1b[0mdemo', 'why=\x1b[0m"two words"']) {
      assert.ok(line.includes(part), JSON.stringify(part));
    }
    const [plain = ''] = await logged((log) => log.warn('slow', { volume: 'demo' }), { format: 'pretty' });
    assert.match(plain, /^\d\d:34:56\.789 warn {2}slow {2}volume=demo$/);
  });

  it('honours the level', async () => {
    const write = (log: Logger) => {
      log.debug('d');
      log.info('i');
      log.warn('w');
      log.error('e');
    };
    const messages = async (level: LoggerOptions['level']) =>
      (await logged(write, { level })).map((line) => JSON.parse(line).message).join('');
    assert.equal(await messages('error'), 'e');
    assert.equal(await messages('info'), 'iwe');
    assert.equal(await messages('debug'), 'diwe');
  });

  it('gives a child its fields, and keeps the names of its own', async () => {
    const [line = ''] = await logged((log) =>
      log.child({ volume: 'demo', level: 9 }).child({ request: 7 }).error('failed', { time: 'x', message: 'y' }),
    );
    assert.deepEqual(JSON.parse(line), {
      time: '2026-01-31T12:34:56.789Z',
      level: 'error',
      message: 'failed',
      volume: 'demo',
      level_: 9,
      request: 7,
      time_: 'x',
      message_: 'y',
    });
  });

  it('describes errors by code and causes, and shows the stack of unexpected ones only', async () => {
    const cause = new StorageError('TIMEOUT', 'no answer', { cause: new Error('socket hang up') });
    const error = new StorageError('UNAVAILABLE', 'the bucket is away', { cause });
    const [known = '', unknown = ''] = await logged((log) => {
      log.error('failed', { error });
      log.error('failed', { error: new TypeError('x is undefined') });
    });
    assert.deepEqual(JSON.parse(known).error, {
      code: 'UNAVAILABLE',
      message: 'the bucket is away',
      causes: ['TIMEOUT: no answer', 'socket hang up'],
    });
    assert.equal(JSON.parse(unknown).error.name, 'TypeError');
    assert.match(JSON.parse(unknown).error.stack, /logger\.test\.ts/);
  });

  it('masks known secrets wherever they are', async () => {
    const secret = 'hunter2.(hunter)';
    const write = (log: Logger) =>
      log.child({ a: secret }).info(`using ${secret}`, {
        url: `s3://x:${secret}@y`,
        nested: [{ deep: secret }],
        error: new StorageError('ACCESS_DENIED', `refused ${secret}`, { cause: new Error(secret) }),
      });
    for (const format of ['json', 'pretty'] as const) {
      const text = (await logged(write, { format, secrets: [secret, 'abc', 'hunter2'] })).join('\n');
      assert.equal(text.includes('hunter'), false, text);
      assert.ok(text.includes('using ***'));
    }
  });

  it('never lets a text begin a line of its own or steer a terminal', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary' }), fc.constantFrom('json', 'pretty'), async (text, format) => {
        const lines = await logged((log) => log.info(`a${text}`, { text, [text]: text }), { format });
        assert.equal(lines.length, 1);
        if (format === 'pretty') assert.doesNotMatch(lines[0] ?? '', /\p{Cc}/u);
      }),
      { numRuns: 200, examples: [['\n{"level":"error"}\r\n\x1b[2J', 'pretty']] },
    );
  });

  it('bounds what one line can hold', async () => {
    const cycle: Record<string, unknown> = {};
    cycle.self = cycle;
    const [line = ''] = await logged((log) =>
      log.info('big', {
        text: 'x'.repeat(1_000_000),
        list: Array.from({ length: 100_000 }, (_, index) => index),
        cycle,
        data: Buffer.alloc(5000),
        big: 5n,
        when: new Date(0),
      }),
    );
    assert.ok(line.length < 20_000);
    const { data, big, when } = JSON.parse(line);
    assert.deepEqual({ data, big, when }, { data: '5000 bytes', big: '5', when: '1970-01-01T00:00:00.000Z' });
  });

  it('has written every line when close resolves, and drops later ones', async () => {
    const stream = new SlowStream(false);
    const log = createLogger({ level: 'info', format: 'json', stream });
    for (let n = 0; n < 1000; n++) log.info(`line ${n}`);
    await log.close();
    assert.equal(stream.text.split('\n').length, 1001);
    log.info('late');
    log.announce('late', 'late', {});
    await log.close();
    assert.equal(stream.text.includes('late'), false);
  });
});
