/**
 * What a test must put back: undone in reverse order when the test ends, each step whatever became of the others, and
 * also when the test process is told to stop.
 */

/** A test's context; for a whole file see fileLifetime: `after` of node:test, called in a hook, ends with the hook. */
export interface Lifetime {
  after(fn: () => void | Promise<void>): void;
  /** Its owner ends it also when the process is told to stop; otherwise that is done here. */
  readonly ownsSignals?: boolean;
}

type Undo = () => void | Promise<void>;

const stacks = new Map<Lifetime, Undo[]>();
let signalsHandled = false;

/** Runs `undo` when the test ends, after all that is registered later. Returns a function that runs it now, once. */
export function onEnd(lifetime: Lifetime, undo: Undo): () => Promise<void> {
  let stack = stacks.get(lifetime);
  if (stack === undefined) {
    stack = [];
    stacks.set(lifetime, stack);
    lifetime.after(() => unwind(lifetime));
    if (lifetime.ownsSignals !== true) handleSignals();
  }
  const held = stack;
  held.push(undo);
  return async () => {
    const at = held.indexOf(undo);
    if (at < 0) return;
    held.splice(at, 1);
    await undo();
  };
}

async function unwind(lifetime: Lifetime): Promise<void> {
  const stack = stacks.get(lifetime) ?? [];
  const errors: unknown[] = [];
  for (let undo = stack.pop(); undo !== undefined; undo = stack.pop()) {
    try {
      await undo();
    } catch (error) {
      errors.push(error);
    }
  }
  stacks.delete(lifetime);
  if (errors.length > 0) throw new AggregateError(errors, `cleaning up failed: ${errors.map(String).join('; ')}`);
}

/**
 * The test runner ends a file that takes too long with SIGTERM, a person ends it with SIGINT. Often it comes twice, to the
 * runner and to all of its group: the second must not end what the first has begun.
 */
function handleSignals(): void {
  if (signalsHandled) return;
  signalsHandled = true;
  let stopping = false;
  const numbers = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 };
  for (const [signal, number] of Object.entries(numbers)) {
    process.on(signal, () => {
      if (stopping) return;
      stopping = true;
      // Whoever read the output may be gone already; that is no reason to stop half way.
      for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
      const all = [...stacks.keys()].reverse().map((lifetime) => unwind(lifetime));
      void Promise.allSettled(all).then(() => process.exit(128 + number));
    });
  }
}
