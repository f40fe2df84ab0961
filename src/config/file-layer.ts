/** A JSON5 file as a layer of the configuration. */
import JSON5 from 'json5';
import { assignValue, emptyLayer, type Layer, ROOT } from './assignments.ts';
import { findLines, type Json5Lines } from './json5-lines.ts';
import { readBounded } from './read-bounded.ts';

const CONFIG_FILE_BYTES_MAX = 2 ** 20;

/** `name` is what messages call the file. A file that cannot be read or parsed is a problem of the layer. */
export function fileLayer(path: string, name: string): Layer {
  const layer = emptyLayer();
  let where: Json5Lines;
  let value: unknown;
  try {
    const text = readBounded(path, CONFIG_FILE_BYTES_MAX);
    value = JSON5.parse(text);
    where = findLines(text);
  } catch (error) {
    const message = error instanceof Error ? error.message.replace(/^JSON5: /, 'not JSON5: ') : String(error);
    layer.problems.push({ path: name, value: null, message, source: 'configuration file' });
    return layer;
  }
  for (const { path: duplicate, line } of where.duplicates) {
    layer.problems.push({
      path: duplicate,
      value: null,
      message: 'given twice in this file',
      source: `${name}:${line}`,
    });
  }
  assignValue(layer, ROOT, value, (of) => {
    const line = where.lines.get(of);
    return line === undefined ? name : `${name}:${line}`;
  });
  return layer;
}
