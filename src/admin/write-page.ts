/** Writes the status page beside the compiled program: part of the build. */
import { writeFileSync } from 'node:fs';
import { assemblePage } from './assemble-page.ts';

writeFileSync(new URL('../../dist/admin/status-page.html', import.meta.url), assemblePage());
