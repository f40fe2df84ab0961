/** Writes docs/METRICS.md: to be run after each change of the metrics. */
import { writeFileSync } from 'node:fs';
import { metricsReference } from './reference.ts';

writeFileSync(new URL('../../docs/METRICS.md', import.meta.url), metricsReference());
