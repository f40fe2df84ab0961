/** The volumes that can be simulated, by name. */
import { cachedSubject } from './cached-subject.ts';
import { MISTAKES, referenceSubject } from './reference-volume.ts';
import type { Subject } from './subject.ts';

/** The references with a mistake show that the checks find it. */
const SUBJECTS: readonly string[] = ['cached', 'reference', ...MISTAKES];

export function subjectNamed(name: string): Subject {
  if (name === 'cached') return cachedSubject;
  if (name === 'reference') return referenceSubject();
  const mistake = MISTAKES.find((one) => one === name);
  if (mistake === undefined) throw new Error(`there is no subject "${name}"; there are: ${SUBJECTS.join(', ')}`);
  return referenceSubject(mistake);
}
