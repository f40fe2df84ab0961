/** The command line as it is built, for what is made from it outside a process. */
import { PassThrough } from 'node:stream';
import { buildProgram } from '../program.ts';
import { type VerbEntry, verbTree } from './verb-tree.ts';

/** The whole tree. Nothing of it can be run. */
export function commandTree(): VerbEntry {
  const nowhere = new PassThrough();
  const signals = { on: () => undefined, off: () => undefined };
  const loadActions = (): Promise<never> => Promise.reject(new Error('there is nothing to be run here'));
  const host = { env: {}, cwd: '/', stdin: nowhere, stdout: nowhere, stderr: nowhere, signals, loadActions };
  return verbTree(buildProgram({ host, finish: () => undefined }));
}
