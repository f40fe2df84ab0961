/** A small filesystem for a cache directory, which fills up, and is filled up by others. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { mkdir, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Lifetime, onEnd } from '../../support/cleanup.ts';
import { attachLoop } from '../../support/mounts.ts';
import { runCommand } from '../../support/run-command.ts';
import { tempDir } from '../../support/temp.ts';
import { toolPath } from '../../support/tools.ts';

export type SmallType = 'tmpfs' | 'ext4';

/** Without a share for root, which tests are. */
const MKFS_OPTIONS = ['-q', '-F', '-m', '0'];
const PIECES = [1024 * 1024, 4096, 512];

export class SmallFilesystem {
  readonly dir: string;

  private constructor(dir: string) {
    this.dir = dir;
  }

  /** Mounts a new one of `mebibytes` on `dir`, which is made. */
  static async mount(lifetime: Lifetime, type: SmallType, dir: string, mebibytes: number): Promise<SmallFilesystem> {
    await mkdir(dir, { recursive: true });
    if (type === 'tmpfs') {
      await runCommand(toolPath('mount'), ['-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'tmpfs', dir]);
    } else {
      const image = join(await tempDir(lifetime, 'image'), 'image');
      await writeFile(image, '');
      await truncate(image, mebibytes * 1024 * 1024);
      await runCommand(toolPath(`mkfs.${type}`), [...MKFS_OPTIONS, image]);
      const loop = await attachLoop(lifetime, image);
      await runCommand(toolPath('mount'), ['-t', type, loop.path, dir]);
    }
    onEnd(lifetime, async () => {
      await runCommand('umount', [dir]).catch(() => runCommand('umount', ['-l', dir]));
    });
    return new SmallFilesystem(dir);
  }

  /** Takes all the room there is. Returns how much that was. */
  fillUp(name = 'filler'): number {
    const fd = openSync(join(this.dir, name), 'a');
    let bytes = 0;
    try {
      for (const piece of PIECES) bytes += writeUntilFull(fd, piece);
    } finally {
      closeSync(fd);
    }
    return bytes;
  }

  /** Gives it back. */
  async makeRoom(name = 'filler'): Promise<void> {
    await rm(join(this.dir, name), { force: true });
    // Some give space back only when that is durable.
    await runCommand('sync', ['-f', this.dir]);
  }
}

function writeUntilFull(fd: number, pieceBytes: number): number {
  const piece = Buffer.alloc(pieceBytes, 0x5a);
  for (let bytes = 0; ; ) {
    try {
      bytes += writeSync(fd, piece);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      return bytes;
    }
  }
}
