/** Which part of the house may import which: one way, from the volumes down to the objects. */
import { importsOf, type SourceFile } from './source-files.ts';

/**
 * What the files of each folder of src may import of the others: folders, or single files. `type` in front: types only.
 * The files in src itself put the parts together; `app.ts` is the door through which the command line reaches them.
 */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  lib: [],
  object: ['lib'],
  layout: ['lib', 'object'],
  cache: ['lib', 'object', 'layout'],
  volume: ['lib', 'object', 'layout', 'cache'],
  nbd: ['lib', 'volume/block-device.ts'],
  fuse: ['lib', 'volume/block-device.ts'],
  config: ['lib'],
  telemetry: ['lib'],
  host: ['lib'],
  schedule: ['lib'],
  scan: ['lib', 'object', 'layout', 'cache', 'volume'],
  events: ['lib', 'type telemetry'],
  metrics: ['lib', 'object', 'type nbd', 'type fuse', 'type cache', 'type schedule'],
  admin: ['lib', 'telemetry', 'volume', 'type config'],
  doctor: ['lib', 'object', 'type config'],
  support: ['lib'],
  bench: ['lib', 'object'],
  cli: ['lib', 'config', 'telemetry', 'admin', 'type doctor', 'type bench', 'type scan/scan-report.ts', 'app.ts'],
  'main.ts': ['cli', 'app.ts'],
};

/** Ways out of the process that some parts must not take themselves: they are handed what they need. */
const OUTSIDE = /^node:(fs|fs\/promises|net|tls|http|https|http2|dgram|child_process|worker_threads|cluster)$/;

interface PureFiles {
  readonly files: RegExp;
  readonly may: RegExp;
}

/** Only the socket side of the NBD server knows sockets; a layout knows nothing but its store. */
const PURE: readonly PureFiles[] = [
  { files: /^layout\//, may: /^$/ },
  { files: /^cache\//, may: /^node:worker_threads$/ },
  { files: /^nbd\/(?!(server|connection|listen|socket-reader)\.ts$|tls\/)/, may: /^$/ },
  { files: /^fuse\/(?!(channel|mount-point)\.ts$)/, may: /^$/ },
];

/** The folder, or the file where it is in src itself. */
function partOf(path: string): string {
  return path.split('/', 1)[0] ?? path;
}

/** One line for each import that is against the rules. */
export function importViolations(files: readonly SourceFile[]): string[] {
  const violations: string[] = [];
  for (const file of files) {
    const part = partOf(file.path);
    const allowed = MAY_IMPORT[part];
    const isRoot = !file.path.includes('/') && part !== 'main.ts';
    if (allowed === undefined && !isRoot) violations.push(`${file.path} is in a folder that has no rule`);
    for (const { target, typeOnly } of importsOf(file)) {
      const pure = PURE.find(({ files: pattern }) => pattern.test(file.path));
      if (pure !== undefined && OUTSIDE.test(target) && !pure.may.test(target)) {
        violations.push(`${file.path} must not import ${target}`);
      }
      if (!target.endsWith('.ts') || partOf(target) === part || allowed === undefined) continue;
      const names = [target, partOf(target)].flatMap((name) => (typeOnly ? [name, `type ${name}`] : [name]));
      if (!names.some((name) => allowed.includes(name))) violations.push(`${file.path} must not import ${target}`);
    }
  }
  return violations;
}

/** The files of one circle of imports that exist at run time, or null. */
export function importCycle(files: readonly SourceFile[]): string[] | null {
  const graph = new Map(
    files.map((file) => [
      file.path,
      importsOf(file)
        .filter(({ typeOnly }) => !typeOnly)
        .map(({ target }) => target),
    ]),
  );
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): string[] | null => {
    const at = trail.indexOf(path);
    if (at >= 0) return [...trail.slice(at), path];
    if (done.has(path)) return null;
    for (const next of graph.get(path) ?? []) {
      const cycle = visit(next, [...trail, path]);
      if (cycle !== null) return cycle;
    }
    done.add(path);
    return null;
  };
  for (const path of graph.keys()) {
    const cycle = visit(path, []);
    if (cycle !== null) return cycle;
  }
  return null;
}
