/** A fixed table of exports; the first is the default one. */
import type { ExportTable, NbdExport } from '../../../src/nbd/exports.ts';

export function tableOf(...exports: NbdExport[]): ExportTable {
  return {
    list: () => exports,
    find: (name) => (name === '' ? exports[0] : exports.find((entry) => entry.name === name)),
  };
}
