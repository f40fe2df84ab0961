/** What `bucketdisk cache export` has saved, laid over a disk. */
import { open, readFile } from 'node:fs/promises';

interface ExportMap {
  readonly ranges: readonly { readonly offset: number; readonly length: number; readonly kind: 'zero' | 'data' }[];
}

/** Puts the ranges of the map beside the file over `disk`, in their order. Returns how many bytes that were. */
export async function readExport(path: string, disk: Buffer): Promise<number> {
  const { ranges } = JSON.parse(await readFile(`${path}.map.json`, 'utf8')) as ExportMap;
  await using file = await open(path);
  let bytes = 0;
  for (const { offset, length, kind } of ranges) {
    const target = disk.subarray(offset, offset + length);
    bytes += length;
    if (kind === 'zero') target.fill(0);
    else await file.read(target, 0, length, offset);
  }
  return bytes;
}
