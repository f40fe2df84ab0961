/** s3backer, mounted with FUSE on a bucket: the other program that reads and writes the `blocks` format. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Lifetime, onEnd } from '../../support/cleanup.ts';
import { type CommandResult, runCommand, startProcess } from '../../support/run-command.ts';
import { tempDir } from '../../support/temp.ts';
import type { Facility, Tool } from '../../support/tools.ts';
import { toolPath } from '../../support/tools.ts';
import type { TestS3Bucket } from './buckets.ts';

export const S3BACKER_TOOLS: readonly Tool[] = ['s3backer', 'fusermount3'];
export const S3BACKER_FACILITIES: readonly Facility[] = ['root', 'fuse'];

const UP_TIMEOUT_MS = 30_000;
const DOWN_TIMEOUT_MS = 60_000;

export interface S3backer {
  /** The disk as a file. */
  readonly file: string;
  readonly pid: number;
  /** Unmounts: all that was written is in the bucket then, and the token is cleared. */
  unmount(): Promise<void>;
  /** Ends it as a crash would: the token stays. */
  kill(): Promise<void>;
}

/** `prefix` as it stands; version 1.5.4 knows no `bucket/prefix`. A `--region` would make it send virtual-host requests. */
function argumentsFor(bucket: TestS3Bucket, prefix: string, flags: readonly string[]): string[] {
  const { endpoint, accessKeyId, secretAccessKey } = bucket;
  const where = [`--baseURL=${endpoint}/`, `--accessId=${accessKeyId}`, `--accessKey=${secretAccessKey}`];
  return [...where, `--prefix=${prefix}`, '--maxRetryPause=3000', ...flags, bucket.bucket];
}

/** Mounts it, and waits until the disk is there. */
export async function mountS3backer(
  lifetime: Lifetime,
  bucket: TestS3Bucket,
  prefix: string,
  flags: readonly string[] = [],
): Promise<S3backer> {
  const dir = await tempDir(lifetime, 's3backer');
  const file = join(dir, 'file');
  const program = startProcess(lifetime, toolPath('s3backer'), [...argumentsFor(bucket, prefix, flags), dir, '-f']);
  const unmount = onEnd(lifetime, async () => {
    await runCommand(toolPath('fusermount3'), ['-u', dir], { okCodes: program.running ? [0] : null }).catch(() =>
      runCommand(toolPath('fusermount3'), ['-u', '-z', dir], { okCodes: null }),
    );
    // It flushes what is dirty and clears its token once it is unmounted.
    await program
      .until('it has unmounted', () => undefined, DOWN_TIMEOUT_MS)
      .catch((error: unknown) => {
        if (program.running) throw error;
      });
  });
  const deadline = performance.now() + UP_TIMEOUT_MS;
  while (!(await isFile(file))) {
    if (!program.running) throw new Error(`s3backer ended: ${program.stdout}${program.stderr}`);
    if (performance.now() > deadline) throw new Error(`s3backer did not mount within ${UP_TIMEOUT_MS} ms`);
    await delay(20);
  }
  const kill = async (): Promise<void> => {
    await program.stop('SIGKILL');
    await unmount();
  };
  return { file, pid: program.pid, unmount, kill };
}

/** Tries to mount it where it must refuse; returns how it ended. */
export async function tryS3backer(
  lifetime: Lifetime,
  bucket: TestS3Bucket,
  prefix: string,
  flags: readonly string[] = [],
): Promise<CommandResult> {
  const dir = await tempDir(lifetime, 's3backer');
  const undo = onEnd(lifetime, async () => {
    await runCommand(toolPath('fusermount3'), ['-u', '-z', dir], { okCodes: null });
  });
  const args = [...argumentsFor(bucket, prefix, flags), dir, '-f'];
  const result = await runCommand(toolPath('s3backer'), args, { okCodes: null, timeoutMs: UP_TIMEOUT_MS });
  await undo();
  return result;
}

async function isFile(path: string): Promise<boolean> {
  return await stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}
