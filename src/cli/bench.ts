/** `bucketdisk bench`: what one's own bucket and disk can do, and what that means for the settings. */
import type { Command } from 'commander';
import { StorageError } from '../lib/errors.ts';
import { approximateSize, formatSize, milliseconds } from '../lib/units.ts';
import type { BenchOutcome } from './actions.ts';
import { answer, type Frame } from './command-frame.ts';
import { EXIT_CODES_HELP } from './exit-code.ts';
import { withProgress } from './progress.ts';
import { formatTable } from './table.ts';

const SECONDS_DEFAULT = '30';
const SECONDS_MAX = 3600;

export function addBench(program: Command, frame: Frame): void {
  program
    .command('bench')
    .summary('measure your own bucket and disk')
    .description(
      'Measures the bucket of store.url, with objects of several sizes written and read by 1, 4 and 16 at once, and the disk of cache.dir, ' +
        'with small writes made durable one by one and long ones. Then it says what that means for blockSize and durability. ' +
        'The objects are in a prefix of their own and are deleted again, the file too, also after an interrupt. Each request ' +
        'may cost money, and a running appliance gets its share of bucket and disk less.',
    )
    .option('--store', 'only the bucket')
    .option('--cache', 'only the disk')
    .option('--seconds <number>', 'how long it may take, about', SECONDS_DEFAULT)
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk bench --config media.json5
  bucketdisk bench --store --seconds 120
  bucketdisk bench --cache --json | jq .cache.sync.p99Ms
${EXIT_CODES_HELP}`,
    )
    .action((options: { store?: true; cache?: true; seconds: string }, command: Command) =>
      answer(
        frame,
        command,
        async (context) => {
          const durationMs = secondsOf(options.seconds) * 1000;
          const both = options.store === options.cache;
          const actions = await frame.host.loadActions();
          return withProgress(context.stderr, 'measuring', (progress) =>
            actions.bench(context, {
              store: both || options.store === true,
              cache: both || options.cache === true,
              durationMs,
              ...progress,
            }),
          );
        },
        outcomeText,
      ),
    );
}

function secondsOf(text: string): number {
  const seconds = Number(text);
  if (/^\d+$/.test(text) && seconds >= 1 && seconds <= SECONDS_MAX) return seconds;
  throw new StorageError('INVALID', `--seconds takes a whole number from 1 to ${SECONDS_MAX}, not "${text}"`);
}

function outcomeText({ store, cache, advice }: BenchOutcome): string {
  const parts: string[] = [];
  if (cache !== null) {
    const { dir, sync, writeBytesPerSecond, readBytesPerSecond } = cache;
    const rows = [
      [
        '4 KiB and fdatasync',
        `${milliseconds(sync.p50Ms)} p50`,
        `${milliseconds(sync.p99Ms)} p99`,
        `${sync.operations} times`,
      ],
      ['sequential write', `${approximateSize(writeBytesPerSecond)}/s`],
      ['sequential read', `${approximateSize(readBytesPerSecond)}/s`, "(the kernel's memory included)"],
    ];
    parts.push(`the disk of ${dir}\n${formatTable(rows.map((row) => ['', ...row]))}`);
  }
  if (store !== null) {
    const header = ['', 'SIZE', 'AT ONCE', 'RATE', 'P50', 'P99', 'REQUESTS'];
    const rows = store.figures.map(
      ({ operation, sizeBytes, concurrency, bytesPerSecond, p50Ms, p99Ms, operations }) => [
        ...[operation, formatSize(sizeBytes), String(concurrency), `${approximateSize(bytesPerSecond)}/s`],
        ...[milliseconds(p50Ms), milliseconds(p99Ms), String(operations)],
      ],
    );
    parts.push(`the bucket ${store.url}\n${formatTable([header, ...rows])}`);
  }
  parts.push(advice.map((line) => `${line}\n`).join(''));
  return parts.join('\n');
}
