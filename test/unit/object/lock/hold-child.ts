/** A process of its own that takes a lock and keeps it: node hold-child.ts PATH. */
import { ProcessLock } from '../../../../src/lib/process-lock.ts';

const lock = new ProcessLock(process.argv[2] ?? '');
process.stdout.write(lock.tryHold() ? 'held\n' : 'refused\n');
setInterval(() => lock.path, 60_000);
