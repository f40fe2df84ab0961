/** What happened in a run, line by line: kept to be shown, or only summed up, so that two runs can be compared. */

export class Trace {
  readonly #print: ((line: string) => void) | null;
  #hash = 0x811c9dc5;
  #lines = 0;
  /** The last few, for a run that fails. */
  readonly #last: string[] = [];
  prefix: () => string = () => '';

  constructor(print: ((line: string) => void) | null = null) {
    this.#print = print;
  }

  readonly line = (text: string): void => {
    const line = `${this.prefix()}${text}`;
    // FNV-1a: what matters is that it changes with everything that happens.
    let hash = this.#hash;
    for (let at = 0; at < line.length; at++) hash = Math.imul(hash ^ line.charCodeAt(at), 0x01000193);
    this.#hash = hash >>> 0;
    this.#lines++;
    this.#print?.(line);
    if (this.#last.push(line) > 60) this.#last.splice(0, 30);
  };

  get summary(): string {
    return `${this.#lines}-${this.#hash.toString(16).padStart(8, '0')}`;
  }

  get lastLines(): readonly string[] {
    return this.#last.slice(-30);
  }
}
