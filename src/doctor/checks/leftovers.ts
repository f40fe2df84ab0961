/** What processes of ours have left: mounts whose server has gone, and loop devices on their files. */
import type { MountEntry } from '../../lib/mount-table.ts';
import type { RunningFacts } from '../facts.ts';
import { fail, ok, type Result, warn } from '../finding.ts';
import type { Machine } from '../machine.ts';

/** As src/fuse calls its mounts. */
const OURS = 'fuse.bucketdisk';

export async function checkMounts(
  machine: Machine,
  table: readonly MountEntry[],
  running: RunningFacts | null,
): Promise<Result[]> {
  const ours = table.filter(({ type }) => type === OURS);
  const results: Result[] = [];
  for (const { path } of ours) {
    if (path === running?.fuse?.dir) continue;
    const answers = await machine.answers(path);
    if (answers === 'dead') {
      results.push(
        fail(`the mount on ${path} is stale: the process that served it has gone`, `"umount -l ${quoted(path)}"`),
      );
    } else if (answers === 'no') {
      results.push(
        fail(
          `the mount on ${path} does not answer`,
          `find out what the appliance that serves it waits for, or "umount -l ${quoted(path)}"`,
        ),
      );
    }
  }
  return results.length > 0
    ? results
    : [ok(ours.length === 0 ? 'none is stale: there is none' : `none of ${ours.length} is stale`)];
}

/**
 * Loop devices on files that nobody serves any more: those below a mount of ours that is no longer there or no longer answers.
 * `directories`: where volumes are files.
 */
export async function checkLoopDevices(
  machine: Machine,
  table: readonly MountEntry[],
  directories: readonly string[],
  running: RunningFacts | null,
): Promise<Result[]> {
  const mounts = table.filter(({ type }) => type === OURS).map(({ path }) => path);
  const results: Result[] = [];
  for (const name of machine.list('/sys/block')) {
    if (!/^loop\d+$/.test(name)) continue;
    const file = machine.readText(`/sys/block/${name}/loop/backing_file`)?.trimEnd();
    if (file === undefined) continue;
    const device = `/dev/${name}`;
    const dir = [...new Set([...directories, ...mounts])].find((one) => file.startsWith(`${one}/`));
    if (dir === undefined || running?.mounts.some((mount) => mount.device === device)) continue;
    const alive = mounts.includes(dir) && (dir === running?.fuse?.dir || (await machine.answers(dir)) === 'yes');
    if (alive) continue;
    const on = table.filter(({ source }) => source === device).map(({ path }) => path);
    const unmount = on.map((path) => `umount -l ${quoted(path)} && `).join('');
    const mounted = on.length === 0 ? '' : `, mounted on ${on.join(', ')}`;
    results.push(
      fail(
        `${device} is attached to ${file}, which nobody serves${mounted}`,
        `start the appliance, which takes away what it had mounted; or "${unmount}losetup -d ${device}"`,
      ),
    );
  }
  return results.length > 0 ? results : [ok('none is stale')];
}

/** What is in a volume's cache and not in its bucket. */
export interface Leftover {
  readonly volume: string;
  readonly configured: boolean;
  /** `busy`: another process uses it. `unknown`: it cannot be told; `reason` says why. */
  readonly state: 'saved' | 'unsaved' | 'busy' | 'unknown';
  readonly reason: string | null;
}

export function leftoverResults(leftovers: readonly Leftover[]): Result[] {
  const results = leftovers.flatMap(({ volume, configured, state, reason }) => {
    if (state === 'saved') return [];
    if (state === 'busy') return [warn(`the cache of ${volume} is in use by another process: it was not looked at`)];
    if (state === 'unknown') {
      return [
        fail(
          `it cannot be told whether the cache of ${volume} has writes that are not in the bucket: ${reason ?? 'unknown'}`,
          'keep the directory as it is, and ask for help with a support-bundle',
        ),
      ];
    }
    if (configured) {
      return [
        warn(
          `the cache of ${volume} has writes that are not in the bucket`,
          `they are uploaded when the appliance runs, or by "bucketdisk flush ${volume}": until then keep cache.dir`,
        ),
      ];
    }
    return [
      fail(
        `the cache of ${volume} has writes that are not in the bucket, and the volume is not configured any more`,
        `configure it again and run "bucketdisk flush ${volume}", or "bucketdisk cache export ${volume} FILE" and then "cache drop"`,
      ),
    ];
  });
  return results.length > 0 ? results : [ok('every write that was answered is in a bucket')];
}

function quoted(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}
