/** The kernel's table of mounts, as /proc/self/mountinfo spells it (proc_pid_mountinfo(5)). */
import { readFileSync } from 'node:fs';

export interface MountEntry {
  /** The filesystem's device number, `0:57`: two mounts with the same one are the same filesystem. */
  readonly device: string;
  readonly path: string;
  readonly type: string;
  readonly source: string;
  /** Whether what is mounted below it is seen in other mount namespaces too (mount_namespaces(7)). */
  readonly shared: boolean;
}

/** In the order they were made: of several on one path the last is the one that is seen. Lines of another shape are passed over. */
export function parseMountTable(text: string): MountEntry[] {
  return text.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ', 2);
    const [, , device, , path, , ...optional] = before.split(' ');
    const [type, source] = after.split(' ');
    if (device === undefined || path === undefined || type === undefined || source === undefined) return [];
    const shared = optional.some((field) => field.startsWith('shared:'));
    return [{ device, path: unescapePath(path), type, source: unescapePath(source), shared }];
  });
}

/** Of this process's namespace, as it is now. Reading it asks no filesystem, so that none can make it wait. */
export function readMountTable(): MountEntry[] {
  return parseMountTable(readFileSync('/proc/self/mountinfo', 'utf8'));
}

/** What is seen at `path`, where something is mounted there. */
export function topMountAt(table: readonly MountEntry[], path: string): MountEntry | undefined {
  return table.findLast((entry) => entry.path === path);
}

/** Spaces, tabs, line ends and backslashes are written as three octal digits, byte by byte. */
function unescapePath(text: string): string {
  if (!text.includes('\\')) return text;
  const bytes = Buffer.from(text, 'utf8').toString('latin1');
  const plain = bytes.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
  return Buffer.from(plain, 'latin1').toString('utf8');
}
