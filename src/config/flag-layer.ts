/** The `--set path=value` flags as a layer of the configuration. */
import { assignText, emptyLayer, findTarget, type Layer } from './assignments.ts';

/** `set`: `path=value`, in order. */
export function flagLayer(set: readonly string[]): Layer {
  const layer = emptyLayer();
  for (const flag of set) {
    const [, path = '', text] = /^([^=]*)=([\s\S]*)$/.exec(flag) ?? [];
    const source = path === '' ? '--set' : `--set ${path}`;
    if (path === '' || text === undefined) {
      const message = 'expected --set PATH=VALUE, such as --set log.level=debug';
      layer.problems.push({ path: '--set', value: null, message, source });
      continue;
    }
    const target = findTarget(path);
    if (typeof target === 'string') layer.problems.push({ path, value: null, message: target, source });
    else assignText(layer, target, text, source);
  }
  return layer;
}
