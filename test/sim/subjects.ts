/** The volumes that can be simulated, by name. */
import { MISTAKES, referenceSubject } from './reference-volume.ts';
import type { Subject } from './subject.ts';

export function subjectNamed(name: string): Subject {
  if (name === 'reference') return referenceSubject();
  const mistake = MISTAKES.find((one) => one === name);
  if (mistake === undefined)
    throw new Error(`there is no subject "${name}"; there are: reference, ${MISTAKES.join(', ')}`);
  return referenceSubject(mistake);
}
