/** A process that runs the seeds it is told, until its parent lets go of it. */
import { weighExternalMemory } from '../../src/lib/external-memory.ts';
import { addOutcomes, NO_OUTCOME, runSeed, type SeedRange, UnhandledRejections } from './run-seeds.ts';

// As in an appliance; a seed takes an eighth less time.
weighExternalMemory();
// Errors are made by the thousand; whoever repeats a seed that fails sees where they come from.
Error.stackTraceLimit = 0;
const unhandled = new UnhandledRejections();

async function runShare({ subject, from, count }: SeedRange): Promise<void> {
  let total = NO_OUTCOME;
  for (let seed = from; seed < from + count; seed++) {
    total = addOutcomes(total, await runSeed(subject, seed, unhandled));
  }
  process.send?.(total);
}

process.on('message', (share) => void runShare(share as SeedRange));
// Also where the parent was killed.
process.on('disconnect', () => process.exit());
