/** Finds the line on which each value of a JSON5 text begins, which JSON5.parse does not tell. */
import JSON5 from 'json5';

export interface Json5Lines {
  /** Line (from 1) of the key, by path: `volumes.media.size`. Array items have the path of their array. */
  readonly lines: ReadonlyMap<string, number>;
  /** Paths that are given more than once: all but the last would be dropped in silence. */
  readonly duplicates: readonly { readonly path: string; readonly line: number }[];
}

/** `text` is one that JSON5.parse accepts: nothing is checked here again. */
export function findLines(text: string): Json5Lines {
  const scan = new Scanner(text);
  scan.value('', true);
  return { lines: scan.lines, duplicates: scan.duplicates };
}

class Scanner {
  readonly lines = new Map<string, number>();
  readonly duplicates: { path: string; line: number }[] = [];
  readonly #text: string;
  #at = 0;
  #line = 1;

  constructor(text: string) {
    this.#text = text;
  }

  /** Passes over the value at hand. `named`: its keys have paths of their own. */
  value(path: string, named: boolean): void {
    this.#blank();
    const first = this.#text[this.#at];
    if (first === '{') this.#items('}', () => this.#member(path, named));
    else if (first === '[') this.#items(']', () => this.value(path, false));
    else this.#token();
  }

  #items(end: string, item: () => void): void {
    this.#at += 1;
    for (this.#blank(); this.#at < this.#text.length && this.#text[this.#at] !== end; this.#blank()) {
      item();
      this.#blank();
      if (this.#text[this.#at] === ',') this.#at += 1;
    }
    this.#at += 1;
  }

  #member(parent: string, named: boolean): void {
    const line = this.#line;
    const token = this.#token();
    const key = /^['"]/.test(token) ? String(JSON5.parse(token)) : token;
    const path = parent === '' ? key : `${parent}.${key}`;
    if (named) {
      if (this.lines.has(path)) this.duplicates.push({ path, line });
      this.lines.set(path, line);
    }
    this.#blank();
    this.#at += 1;
    this.value(path, named);
  }

  /** A string, name, number or word. */
  #token(): string {
    const match = this.#match(/"(?:\\[\s\S]|[^"\\])*"|'(?:\\[\s\S]|[^'\\])*'|[^\s,:{}[\]"'/]+/y);
    // Only a text that is no JSON5 has nothing here: step on rather than stand still.
    if (match === '') this.#at += 1;
    return match;
  }

  #blank(): void {
    this.#match(/(?:[\s\ufeff]+|\/\/[^\n\r\u2028\u2029]*|\/\*[\s\S]*?\*\/)*/y);
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text)?.[0] ?? '';
    this.#at += match.length;
    this.#line += match.split('\n').length - 1;
    return match;
  }
}
