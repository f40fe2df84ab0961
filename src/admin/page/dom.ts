/** Makes elements, and changes only what has changed: nothing here is ever read as HTML. */

type Attributes = Readonly<Record<string, string | boolean>>;
export type Child = Node | string;

export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  setAttributes(element, attributes);
  element.append(...children);
  return element;
}

export function makeSvg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): SVGElementTagNameMap[K] {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  setAttributes(element, attributes);
  element.append(...children);
  return element;
}

export function setAttributes(element: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    const text = value === true ? '' : value;
    if (text === false) element.removeAttribute(name);
    else if (element.getAttribute(name) !== text) element.setAttribute(name, text);
  }
}

/** Leaves it alone where it says that already, so that selections stay and nothing is read out twice. */
export function say(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** The element of the page with this id: index.html has it. */
export function byId(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`the page has no #${id}`);
  return element;
}

/** A table that keeps its rows: each is found again by its key, and its cells are changed where they differ. */
export class LiveTable {
  readonly element: HTMLElement;
  readonly #body: HTMLTableSectionElement;
  readonly #numeric: readonly boolean[];
  readonly #rows = new Map<string, HTMLTableRowElement>();

  /** Titles that begin with `#` are of columns of numbers. */
  constructor(caption: string, titles: readonly string[]) {
    this.#numeric = titles.map((title) => title.startsWith('#'));
    const heads = titles.map((title) =>
      make('th', { scope: 'col', class: title.startsWith('#') ? 'number' : '' }, title.replace('#', '')),
    );
    this.#body = make('tbody');
    const table = make('table', { 'aria-label': caption }, make('thead', {}, make('tr', {}, ...heads)), this.#body);
    this.element = make(
      'div',
      { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': `Table: ${caption}` },
      table,
    );
  }

  show(rows: readonly { readonly key: string; readonly cells: readonly string[] }[]): void {
    const keys = new Set(rows.map(({ key }) => key));
    for (const [key, row] of this.#rows) {
      if (keys.has(key)) continue;
      row.remove();
      this.#rows.delete(key);
    }
    rows.forEach(({ key, cells }, index) => {
      const row = this.#rows.get(key) ?? this.#newRow(key, cells.length);
      if (this.#body.children[index] !== row) this.#body.insertBefore(row, this.#body.children[index] ?? null);
      cells.forEach((text, column) => {
        const cell = row.cells[column];
        if (cell !== undefined) say(cell, text);
      });
    });
  }

  #newRow(key: string, columns: number): HTMLTableRowElement {
    const cells = Array.from({ length: columns }, (_, at) => make('td', { class: this.#numeric[at] ? 'number' : '' }));
    const row = make('tr', {}, ...cells);
    this.#rows.set(key, row);
    return row;
  }
}
