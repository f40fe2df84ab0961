/** An appliance whose volumes are files, for tests against the real kernel. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Appliance, startAppliance } from '../../support/appliance.ts';
import { onEnd } from '../../support/cleanup.ts';
import { runCommand } from '../../support/run-command.ts';
import { tempDir } from '../../support/temp.ts';

export interface FuseAppliance {
  readonly appliance: Appliance;
  /** The directory with the files. */
  readonly dir: string;
  /** The file of the volume `disk`. */
  readonly file: string;
}

export interface FuseApplianceOptions {
  /** Of an appliance before it, to go on with what that has left. */
  readonly after?: FuseAppliance;
  readonly volumes?: Readonly<Record<string, unknown>>;
  readonly config?: Readonly<Record<string, unknown>>;
}

/** Serves the volume `disk` (256 MiB unless said) from a directory as the bucket, with a cache. */
export async function startFuseAppliance(t: TestContext, options: FuseApplianceOptions = {}): Promise<FuseAppliance> {
  const { after, volumes = { disk: { size: '256MiB', blockSize: '256KiB' } }, config = {} } = options;
  const home = after?.appliance.dir ?? (await tempDir(t, 'fuse'));
  const dir = join(home, 'disks');
  if (after === undefined) {
    await mkdir(join(home, 'bucket'));
    // Whatever became of the appliance, the test leaves no mount behind.
    onEnd(t, async () => {
      await runCommand('umount', ['-l', dir], { okCodes: null });
    });
  }
  const appliance = await startAppliance({
    lifetime: t,
    dir: home,
    config: {
      store: { url: `file://${join(home, 'bucket')}` },
      cache: { size: '1GiB' },
      fuse: { dir },
      volumes,
      ...config,
    },
  });
  return { appliance, dir, file: join(dir, 'disk') };
}
