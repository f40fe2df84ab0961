/** Whether an appliance does what it was configured for, and the routes that tell it. */
import { type HttpRoutes, plain } from './http-routes.ts';

export interface VolumeHealth {
  readonly name: string;
  /** `serving`, or what it is instead. */
  readonly state: string;
  readonly error: { readonly message: string } | null;
}

export interface HealthFacts {
  /** `starting`: not everything that is configured has been started. */
  readonly phase: 'starting' | 'running' | 'stopping';
  readonly volumes: readonly VolumeHealth[];
  /** Whether fuse.dir is mounted; null where there is none. */
  readonly fuseMounted: boolean | null;
  /** Filesystems that were mounted and are not seen where they were. */
  readonly lostMounts: readonly { readonly name: string; readonly dir: string }[];
}

/** What is not as it should be, a line each; none where the appliance is ready. Whether the bucket answers is no part of it. */
export function healthProblems({ phase, volumes, fuseMounted, lostMounts }: HealthFacts): string[] {
  const problems = volumes
    .filter(({ state }) => state !== 'serving')
    .map(({ name, state, error }) => `volume ${name} is ${state}${error === null ? '' : `: ${error.message}`}`);
  if (phase !== 'running') problems.unshift(`the appliance is ${phase}`);
  else {
    // Before that they are not mounted yet, and afterwards they are not to be.
    if (fuseMounted === false) problems.push('fuse.dir is not mounted');
    for (const { name, dir } of lostMounts) problems.push(`volume ${name} is no longer mounted on ${dir}`);
  }
  return problems;
}

/** `/healthz`: the process answers, which its event loop must run for. `/readyz`: 503 with what is not ready. */
export function healthRoutes(problems: () => readonly string[]): HttpRoutes {
  return {
    '/healthz': { GET: () => plain(200, 'ok') },
    '/readyz': {
      GET: () => {
        const lines = problems();
        return lines.length === 0 ? plain(200, 'ok') : plain(503, lines.join('\n'));
      },
    },
  };
}
