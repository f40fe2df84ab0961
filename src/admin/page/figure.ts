/** One large number with what it means, and a meter below it where it is a part of something. */
import { make, makeSvg, say, setAttributes } from './dom.ts';

export interface FigureText {
  readonly value: string;
  readonly unit?: string;
  readonly note?: string;
  readonly alarm?: '' | 'warn' | 'bad';
  /** From 0 to 1, or null for no meter. */
  readonly share?: number | null;
}

export class Figure {
  readonly element: HTMLElement;
  readonly #value = make('span');
  readonly #unit = make('small');
  readonly #note = make('dd', { class: 'note' });
  readonly #fill: SVGRectElement;
  readonly #meter: SVGSVGElement;

  constructor(title: string, color: 'clean' | 'dirty' = 'clean') {
    this.#fill = makeSvg('rect', { class: `meter-fill ${color}`, height: '6', rx: '3' });
    const back = makeSvg('rect', { class: 'meter-back', width: '100%', height: '6', rx: '3' });
    this.#meter = makeSvg('svg', { class: 'meter', 'aria-hidden': 'true', hidden: true }, back, this.#fill);
    const value = make('dd', { class: 'value' }, this.#value, this.#unit);
    this.element = make(
      'div',
      { class: 'figure' },
      make('dt', {}, title),
      value,
      make('dd', {}, this.#meter),
      this.#note,
    );
  }

  show({ value, unit = '', note = '', alarm = '', share = null }: FigureText): void {
    say(this.#value, value);
    say(this.#unit, unit);
    say(this.#note, note);
    setAttributes(this.#note, { class: `note ${alarm}` });
    setAttributes(this.#meter, { hidden: share === null });
    setAttributes(this.#fill, { width: `${Math.max(0, Math.min(1, share ?? 0)) * 100}%` });
  }
}
