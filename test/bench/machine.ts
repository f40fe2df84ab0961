/** On what a run was measured. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { availableParallelism, cpus, loadavg, release, tmpdir, totalmem, version } from 'node:os';
import { findProgram } from '../support/tools.ts';

export interface Machine {
  readonly date: string;
  readonly commit: string | null;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly node: string;
  /** Of the directory that all files of the run are in. */
  readonly filesystem: string;
  /** Load over the last minute, before the run: what others were doing. */
  readonly load: number;
  /** Versions of the programs compared with. */
  readonly programs: Readonly<Record<string, string>>;
}

const PROGRAMS = ['fio', 'nbdkit', 'nbdfuse', 's3backer'];
/** From linux/magic.h. */
const FILESYSTEMS: Readonly<Record<number, string>> = {
  61267: 'ext4',
  1481003842: 'xfs',
  2435016766: 'btrfs',
  16914836: 'tmpfs',
  2035054128: 'overlay',
};

export async function describeMachine(root: string): Promise<Machine> {
  const { type } = await statfs(tmpdir());
  const versions = PROGRAMS.map((name) => [name, programVersion(name)] as const);
  return {
    date: new Date().toISOString(),
    commit: output('git', ['-C', root, 'rev-parse', '--short', 'HEAD']),
    cpu: cpus()[0]?.model.trim() || cpuModel(),
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: `${release()} ${version()}`,
    node: process.version,
    filesystem: FILESYSTEMS[type] ?? `type 0x${type.toString(16)}`,
    load: loadavg()[0] ?? 0,
    programs: Object.fromEntries(versions.filter(([, found]) => found !== null)) as Record<string, string>,
  };
}

function cpuModel(): string {
  return /^model name\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown';
}

function programVersion(name: string): string | null {
  const path = findProgram(name);
  if (path === null) return null;
  return /\d+\.\d+[\w.]*/.exec(output(path, ['--version']) ?? '')?.[0] ?? 'unknown';
}

/** What a program prints, on either stream; null where it fails. */
function output(file: string, args: readonly string[]): string | null {
  const { status, stdout, stderr } = spawnSync(file, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  return status === 0 ? `${stdout}${stderr}`.trim() : null;
}
