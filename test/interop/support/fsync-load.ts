/**
 * Writers on a mounted filesystem that is about to lose its disk, and what must be there afterwards: files that were synced
 * one by one, and a file in which fio has written blocks with checksums, each durable once its write returned.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { Lifetime } from '../../support/cleanup.ts';
import { type CommandResult, type RunningProcess, runCommand, startProcess } from '../../support/run-command.ts';
import { tempDir } from '../../support/temp.ts';
import { toolPath } from '../../support/tools.ts';
import { hashFile, writeRandomFile } from './random-data.ts';

const KIB = 1024;
const PAYLOAD_BYTES = 100 * KIB;
const FIO_FILE_KIB = 16 * KIB;
const FIO_TIMEOUT_MS = 120_000;
/** fio's word for a block that is not what its write has left. */
const FIO_BAD = /verify: bad|verify failed|crc32c: verify/;

/**
 * `sh PAYLOAD DIR ROUND`: copies the payload again and again, and names each copy once it is synced, with its directory. Ends
 * at the first error.
 */
const FSYNC_LOOP =
  'i=0; while dd if="$1" of="$2/synced-$3-$i" bs=64k conv=fsync status=none; do echo "synced-$3-$i"; i=$((i+1)); done';

export class FsyncLoad {
  readonly #lifetime: Lifetime;
  readonly #payload: string;
  readonly #hash: string;
  /** Where fio keeps its note of what it has written. */
  readonly #notes: string;
  #writer: RunningProcess | null = null;
  #fio: RunningProcess | null = null;
  #seed = 0;
  /** Files that were synced, by name. */
  synced: readonly string[] = [];
  /** Over all rounds. */
  readonly counts = { synced: 0, verified: 0 };

  private constructor(lifetime: Lifetime, parts: { payload: string; hash: string; notes: string }) {
    this.#lifetime = lifetime;
    this.#payload = parts.payload;
    this.#hash = parts.hash;
    this.#notes = parts.notes;
  }

  static async make(lifetime: Lifetime): Promise<FsyncLoad> {
    const notes = await tempDir(lifetime, 'fio');
    const payload = join(notes, 'payload');
    const hash = await writeRandomFile(payload, 'payload', PAYLOAD_BYTES);
    return new FsyncLoad(lifetime, { payload, hash, notes });
  }

  /** Begins to write on the filesystem at `dir`. */
  async start(dir: string, seed: number): Promise<void> {
    this.#seed = seed;
    await runCommand('sh', ['-c', 'rm -f "$1"/*.state "$2"/synced-*', 'sh', this.#notes, dir]);
    this.#writer = startProcess(this.#lifetime, 'sh', ['-c', FSYNC_LOOP, 'sh', this.#payload, dir, `${seed}`]);
    this.#fio = startProcess(
      this.#lifetime,
      toolPath('fio'),
      this.#fioArgs(dir, ['--do_verify=0', '--verify_state_save=1']),
      {
        cwd: this.#notes,
      },
    );
  }

  /** Resolves once so many files are synced, or none will be any more. */
  async untilSynced(count: number): Promise<void> {
    const writer = this.#writer as RunningProcess;
    await writer.until(`${count} files are synced`, () => names(writer.stdout).length >= count || undefined);
  }

  /** Resolves once both have met the end of their disk. */
  async ended(): Promise<void> {
    const written = await (this.#writer as RunningProcess).exited;
    await (this.#fio as RunningProcess).exited;
    this.synced = names(written.stdout);
    this.counts.synced += this.synced.length;
  }

  /** Reads everything back that was durable. */
  async verify(dir: string): Promise<void> {
    for (const name of this.synced) assert.equal(await hashFile(join(dir, name)), this.#hash, name);
    const state = await runCommand('sh', ['-c', 'ls -- *.state', 'sh'], { cwd: this.#notes, okCodes: null });
    // Killed before fio had anything to note.
    if (state.code !== 0) return;
    const args = this.#fioArgs(dir, [
      '--verify_only=1',
      '--verify_state_load=1',
      '--verify_state_save=0',
      '--output-format=json',
    ]);
    const result = await runCommand(toolPath('fio'), args, {
      cwd: this.#notes,
      timeoutMs: FIO_TIMEOUT_MS,
      okCodes: null,
    });
    const told = result.stderr.slice(-2000);
    assert.equal(result.code, 0, told);
    assert.doesNotMatch(told, FIO_BAD);
    this.counts.verified += readsOf(result);
  }

  #fioArgs(dir: string, more: readonly string[]): string[] {
    return [
      '--name=check',
      `--filename=${join(dir, 'fio.dat')}`,
      `--size=${FIO_FILE_KIB}k`,
      '--bs=4k',
      '--rw=randwrite',
      '--ioengine=psync',
      '--direct=1',
      // Each write is durable when it returns. One at a time, or fio could not tell which of the last ones had returned.
      '--sync=dsync',
      `--randseed=${this.#seed}`,
      '--verify=crc32c',
      '--verify_fatal=1',
      ...more,
    ];
  }
}

function names(stdout: string): string[] {
  return stdout.split('\n').slice(0, -1);
}

function readsOf({ stdout }: CommandResult): number {
  const from = stdout.indexOf('{');
  const { jobs } = JSON.parse(stdout.slice(from)) as { jobs: { read: { total_ios: number } }[] };
  return jobs.reduce((sum, { read }) => sum + read.total_ios, 0);
}
