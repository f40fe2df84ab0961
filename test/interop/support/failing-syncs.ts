/** Has system calls of a running process fail, by strace: for as long as it is attached, and told by what it has seen. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Lifetime } from '../../support/cleanup.ts';
import { type RunningProcess, startProcess } from '../../support/run-command.ts';
import { tempDir } from '../../support/temp.ts';
import { toolPath } from '../../support/tools.ts';

/** A call of fdatasync or pwrite64 on a file of the cache. */
export interface TracedCall {
  readonly call: 'fdatasync' | 'pwrite64';
  readonly path: string;
  /** Of what was written. */
  readonly offset: number;
  readonly length: number;
  readonly failed: boolean;
}

export class FailingSyncs {
  readonly #process: RunningProcess;
  readonly #output: string;

  private constructor(process: RunningProcess, output: string) {
    this.#process = process;
    this.#output = output;
  }

  /**
   * Attaches to all threads of the process. `inject` as strace has it, such as `fdatasync:error=EIO:when=2+3`, each thread
   * counting for itself; null: nothing fails.
   */
  static async attach(lifetime: Lifetime, pid: number, inject: string | null): Promise<FailingSyncs> {
    const output = join(await tempDir(lifetime, 'strace'), 'calls');
    const args = ['-f', '-y', '-s', '0', '-o', output, '-p', `${pid}`, '-e', 'trace=fdatasync,pwrite64'];
    const injected = inject === null ? [] : ['-e', `inject=${inject}`];
    const process = startProcess(lifetime, toolPath('strace'), [...args, ...injected], { endSignal: 'SIGINT' });
    await process.until('it is attached', () => (/attached/.test(process.stderr) ? true : undefined));
    // It tells of the first thread, and goes on to the others.
    await delay(300);
    return new FailingSyncs(process, output);
  }

  /** Lets the process go on as usual, and tells what it did. */
  async detach(): Promise<readonly TracedCall[]> {
    await this.#process.stop('SIGINT');
    return parseCalls(await readFile(this.#output, 'utf8'));
  }
}

/**
 * Lines such as `123 pwrite64(17</dir/log/00>, ""..., 4096, 8192) = 4096`; a call that another thread came into is on two lines,
 * and takes its place where it ended.
 */
export function parseCalls(text: string): TracedCall[] {
  const begun = new Map<string, string>();
  const calls: TracedCall[] = [];
  for (const line of text.split('\n')) {
    const found = /^(\d+)\s+(.*)$/.exec(line);
    if (found === null) continue;
    const [, thread = '', rest = ''] = found;
    if (rest.endsWith('<unfinished ...>')) {
      begun.set(thread, rest.slice(0, -'<unfinished ...>'.length).trimEnd());
      continue;
    }
    const resumed = /^<\.\.\. \w+ resumed>\s*(.*)$/.exec(rest);
    const whole = resumed === null ? rest : `${begun.get(thread) ?? ''}${resumed[1]}`;
    const call = parseCall(whole);
    if (call !== null) calls.push(call);
  }
  return calls;
}

function parseCall(text: string): TracedCall | null {
  const sync = /^fdatasync\(\d+<([^>]*)>\)\s+= (-?\d+)/.exec(text);
  if (sync !== null) {
    return { call: 'fdatasync', path: sync[1] ?? '', offset: 0, length: 0, failed: Number(sync[2]) < 0 };
  }
  const write = /^pwrite64\(\d+<([^>]*)>, .*?, (\d+), (\d+)\)\s+= (-?\d+)/.exec(text);
  if (write === null) return null;
  return {
    call: 'pwrite64',
    path: write[1] ?? '',
    length: Number(write[2]),
    offset: Number(write[3]),
    failed: Number(write[4]) < 0,
  };
}
