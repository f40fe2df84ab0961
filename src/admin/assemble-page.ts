/** Puts the status page together from its sources in page/: one document, with nothing to be fetched besides. */
import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';

const SOURCES = new URL('./page/', import.meta.url);
const MAIN = 'main.ts';

/**
 * The modules of the page keep to a few forms, so that putting them one after another makes one module of them: they import names
 * from each other, export what they declare, and no two of them use the same name at the top. A test has a browser read the result.
 */
export function assemblePage(): string {
  const script = modulesInOrder(MAIN).map(asPartOfOne).join('\n');
  return (
    read('index.html')
      // By functions: a text that is put in place may have a `$` in it.
      .replace('<!-- style -->', () => `<style>\n${read('style.css')}</style>`)
      .replace('<!-- script -->', () => `<script type="module">\n${script}</script>`)
  );
}

/** What a module imports comes before it. */
function modulesInOrder(name: string, seen = new Set<string>()): string[] {
  if (seen.has(name)) return [];
  seen.add(name);
  const imported = [...read(name).matchAll(/^import (?!type )[^;]*? from '\.\/([\w-]+\.ts)';$/gm)];
  return [...imported.flatMap(([, module = '']) => modulesInOrder(module, seen)), name];
}

function asPartOfOne(name: string): string {
  return stripTypeScriptTypes(read(name))
    .replace(/^import [^;]*;$/gm, '')
    .replace(/^export (?=(?:async )?(?:function|class|const) )/gm, '')
    .replace(/[ \t]+$/gm, '')
    .replace(/\n{2,}/g, '\n');
}

function read(name: string): string {
  return readFileSync(new URL(name, SOURCES), 'utf8');
}
