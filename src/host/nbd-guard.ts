/**
 * A process beside ours that cuts an nbd device off when ours dies. Without it whoever waits for an answer from a server that was
 * killed would wait, and could not be killed, until somebody detaches the device; a loop device needs nobody, its file fails
 * by itself.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Clock } from '../lib/clock.ts';
import { raceAbort, withDeadline } from '../lib/deadline.ts';
import { findProgram } from '../lib/run-program.ts';

/** Reads until nobody can write any more, which is when we are gone. What tells us to stop is not for it. */
export const GUARD_SCRIPT = `trap '' HUP INT TERM; read -r _; exec "$1" -d "$2"`;
const STOP_TIMEOUT_MS = 5_000;

export class NbdGuard {
  readonly #child: ChildProcess | null;

  private constructor(child: ChildProcess | null) {
    this.#child = child;
  }

  /** For a device that has just been attached. Where no shell can be run there is no guard, and the device is none the worse. */
  static start(device: string): NbdGuard {
    const shell = findProgram('sh');
    const client = findProgram('nbd-client');
    if (shell === null || client === null) return new NbdGuard(null);
    const child = spawn(shell, ['-c', GUARD_SCRIPT, 'sh', client, device], {
      cwd: '/',
      env: {},
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    child.on('error', () => {});
    child.stdin?.on('error', () => {});
    // It must not keep us from ending: that is what it waits for.
    child.unref();
    (child.stdin as unknown as { unref?: () => void } | null)?.unref?.();
    return new NbdGuard(child);
  }

  /** To be called before the device is detached: from then on it may be another's. */
  async stop(clock: Clock): Promise<void> {
    const child = this.#child;
    if (child === null || child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await withDeadline(clock, STOP_TIMEOUT_MS, (until) => raceAbort(ended, until));
  }
}
