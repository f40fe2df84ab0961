/** Writes docs/CONFIGURATION.md: to be run after each change of the schema. */
import { writeFileSync } from 'node:fs';
import { configurationReference } from './reference.ts';

writeFileSync(new URL('../../docs/CONFIGURATION.md', import.meta.url), configurationReference());
