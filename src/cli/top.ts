/** `bucketdisk top`: what the running appliance does, as it does it. */
import { type Command, Option } from 'commander';
import { parseDuration } from '../lib/units.ts';
import type { Actions, CommandContext, PastActivity } from './actions.ts';
import { type Frame, withContext } from './command-frame.ts';
import { EXIT_CODES_HELP, EXIT_OK } from './exit-code.ts';
import type { Host } from './host.ts';
import { topLines, topScreen } from './top-screen.ts';

const INTERVAL_MIN_MS = 500;
/** A terminal that says nothing of its size. */
const COLUMNS = 100;

/** The terminal's other screen, without a cursor; and back to what was there before. */
const ENTER = '\x1b[?1049h\x1b[?25l';
const LEAVE = '\x1b[?25h\x1b[?1049l';
const HOME = '\x1b[H';
const CLEAR_LINE = '\x1b[K';
const CLEAR_BELOW = '\x1b[J';
/** q, Ctrl-C and Ctrl-D. */
const END_KEYS = 'qQ\x03\x04';
const ESCAPE = '\x1b';

interface Options {
  readonly interval: string;
  readonly once?: true;
}

export function addTop(program: Command, frame: Frame): void {
  program
    .command('top')
    .summary('watch what the appliance does')
    .description(
      'Shows what the running appliance does, anew every few seconds: volumes, the bucket, clients, events. q ends it. Where the ' +
        'output is no terminal it prints a line for each volume each time, and with --json what the status page is sent.',
    )
    .addOption(new Option('--interval <duration>', 'how often').default('2s'))
    .option('--once', 'print everything once, and end')
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk top
  bucketdisk top --once
  bucketdisk top --json | jq '.activity.volumes.media.readBytes'
${EXIT_CODES_HELP}`,
    )
    .action((options: Options, command: Command) =>
      withContext(frame, command, { quiet: true }, async (context) => {
        const intervalMs = Math.max(INTERVAL_MIN_MS, parseDuration(options.interval));
        const actions = await frame.host.loadActions();
        if (options.once === true) await printOnce(actions, context);
        else if (context.stdout.isTTY === true && !context.json) await watch(actions, context, frame.host, intervalMs);
        else await printOn(actions, context, intervalMs);
        return EXIT_OK;
      }),
    );
}

async function printOnce(actions: Actions, context: CommandContext): Promise<void> {
  const live = await actions.live(context);
  const { stdout, json } = context;
  if (json) stdout.write(`${JSON.stringify(live)}\n`);
  else {
    const past = await pastOf(actions, context, live.status.volumes);
    const columns = stdout.columns || Number.POSITIVE_INFINITY;
    const lines = topScreen(live, past, { columns, rows: null, color: stdout.isTTY === true });
    stdout.write(`${lines.join('\n')}\n`);
  }
}

/** Until it is interrupted, or the appliance is gone. */
async function printOn(actions: Actions, context: CommandContext, intervalMs: number): Promise<void> {
  while (!context.signal.aborted) {
    const live = await actions.live(context);
    const lines = context.json ? [JSON.stringify(live)] : topLines(live);
    context.stdout.write(lines.map((line) => `${line}\n`).join(''));
    await pause(intervalMs, context.signal);
  }
}

/** Until a key or a signal ends it. What was on the terminal before is there again afterwards. */
async function watch(actions: Actions, context: CommandContext, host: Host, intervalMs: number): Promise<void> {
  const { stdout, signal } = context;
  const keys = new AbortController();
  const over = AbortSignal.any([signal, keys.signal]);
  const stopListening = listenForKeys(host, () => keys.abort());
  stdout.write(ENTER);
  try {
    while (!over.aborted) {
      const live = await actions.live(context);
      const past = await pastOf(actions, context, live.status.volumes);
      // A terminal that does not know its size says 0.
      const columns = stdout.columns || COLUMNS;
      const rows = stdout.rows ? stdout.rows - 2 : null;
      const lines = topScreen(live, past, { columns, rows, color: true });
      const text = [...lines, '', 'q ends'].map((line) => line + CLEAR_LINE).join('\n');
      if (!over.aborted) stdout.write(HOME + text + CLEAR_BELOW);
      await pause(intervalMs, over);
    }
  } finally {
    stdout.write(LEAVE);
    stopListening();
  }
}

async function pastOf(
  actions: Actions,
  context: CommandContext,
  volumes: readonly { readonly name: string }[],
): Promise<Map<string, PastActivity>> {
  const entries = volumes.map(async ({ name }) => [name, await actions.past(context, name)] as const);
  return new Map(await Promise.all(entries));
}

/** In raw mode the terminal sends Ctrl-C as a byte, and no signal. */
function listenForKeys({ stdin }: Host, onEnd: () => void): () => void {
  if (stdin.isTTY !== true) return () => undefined;
  const onData = (data: Buffer | string): void => {
    // An arrow key begins with an escape, too, but does not end there.
    const keys = data.toString();
    if (keys === ESCAPE || [...END_KEYS].some((key) => keys.includes(key))) onEnd();
  };
  stdin.setRawMode?.(true);
  stdin.on('data', onData);
  stdin.resume();
  return () => {
    stdin.off('data', onData);
    stdin.setRawMode?.(false);
    stdin.pause();
  };
}

/** Ends early where the signal aborts. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}
