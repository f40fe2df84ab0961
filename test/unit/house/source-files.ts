/** The project's source as text, with what each file imports. */
import { globSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

export interface SourceFile {
  /** Relative to the folder it was read from: `nbd/wire.ts`. */
  readonly path: string;
  readonly text: string;
}

export interface Import {
  /** `node:net`, `winston`, or the path of one of our files, relative like `SourceFile.path`. */
  readonly target: string;
  /** Erased before the program runs. */
  readonly typeOnly: boolean;
}

export function readFiles(folder: string, pattern = '**/*.ts'): SourceFile[] {
  const cwd = posix.join(ROOT, folder);
  return globSync(pattern, { cwd })
    .sort()
    .map((path) => ({ path, text: readFileSync(posix.join(cwd, path), 'utf8') }));
}

const STATEMENT = /^\s*(?:import|export)(\s+type)?\b[^'";]*?\bfrom\s*['"]([^'"]+)['"]/gm;
const SIDE_EFFECT = /^\s*import\s*['"]([^'"]+)['"]/gm;
const DYNAMIC = /\bimport\(\s*['"]([^'"]+)['"]/g;

/** A plain scan for import and re-export statements: our files are formatted, so nothing cleverer is needed. */
export function importsOf({ path, text }: SourceFile): Import[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '');
  const found: Import[] = [];
  const add = (specifier: string, typeOnly: boolean): void => {
    const ours = specifier.startsWith('.');
    found.push({ target: ours ? posix.join(posix.dirname(path), specifier) : specifier, typeOnly });
  };
  for (const [, type, specifier = ''] of code.matchAll(STATEMENT)) add(specifier, type !== undefined);
  for (const [, specifier = ''] of code.matchAll(SIDE_EFFECT)) add(specifier, false);
  for (const [, specifier = ''] of code.matchAll(DYNAMIC)) add(specifier, false);
  return found;
}
