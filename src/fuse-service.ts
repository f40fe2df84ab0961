/** The FUSE server of an appliance. It mounts nothing before it is told to. */
import type { FuseStatus } from './cli/actions.ts';
import type { FuseFile } from './fuse/files.ts';
import { FuseServer } from './fuse/server.ts';
import type { Clock } from './lib/clock.ts';
import type { Log } from './lib/log.ts';

export interface FuseServiceOptions {
  /** The volumes that are served at the moment. */
  readonly files: () => readonly FuseFile[];
  readonly instance: string;
  readonly clock: Clock;
  readonly log: Log;
}

export function fuseServerFor({ files, instance, clock, log }: FuseServiceOptions): FuseServer {
  return new FuseServer({
    files: { list: files, find: (name) => files().find((file) => file.name === name) },
    owner: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
    instance,
    clock,
    log,
  });
}

/** As status tells it: null where the volumes are no files, or not yet. */
export function fuseStatus(server: FuseServer): FuseStatus | null {
  const status = server.status();
  if (status === null) return null;
  const { dir, mounted, openFiles, requests, requestsInFlight } = status;
  return { dir, mounted, openFiles, requests, requestsInFlight };
}
