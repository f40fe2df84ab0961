/** From the page hash's text to its code: at development only, as the assembler is large. */
import loadAssembler from 'wabt';
import { MEMORY_BYTES } from './layout.ts';
import { pageHashSource } from './source.ts';

export async function assemblePageHash(): Promise<Buffer> {
  const assembler = await loadAssembler();
  const parsed = assembler.parseWat('source.ts', pageHashSource(MEMORY_BYTES), { simd: true });
  try {
    return Buffer.from(parsed.toBinary({}).buffer);
  } finally {
    parsed.destroy();
  }
}
