/** Light, dark, or what the system has: chosen by a button and kept by the browser. */
import { say } from './dom.ts';

const KEY = 'bucketdisk-theme';
const CHOICES = ['system', 'light', 'dark'] as const;

type Choice = (typeof CHOICES)[number];

export function offerThemes(button: HTMLElement): void {
  const show = (choice: Choice): void => {
    if (choice === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    say(button, `Theme: ${choice}`);
  };
  const kept = localStorage.getItem(KEY);
  let current: Choice = CHOICES.find((choice) => choice === kept) ?? 'system';
  show(current);
  button.addEventListener('click', () => {
    current = CHOICES[(CHOICES.indexOf(current) + 1) % CHOICES.length] ?? 'system';
    localStorage.setItem(KEY, current);
    show(current);
  });
}
