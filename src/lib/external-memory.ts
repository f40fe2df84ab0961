/**
 * Has the collector of Node 24 weigh memory outside its heap as its successors do. Buffers are such memory, and by the older rule
 * every 64 MiB of them, freed or not, begin a collection of the whole heap: some ten a second while a cold volume was read, which took
 * a third of all CPU time. By the newer one they count towards the limit that the heap has anyway. V8 made that the default after 13.6
 * and then took the flag away (513bb22991, cf511a65ad), so that only a V8 that has it is told.
 */
import { setFlagsFromString } from 'node:v8';

const FLAG = '--external-memory-accounted-in-global-limit';

/** To be called before threads are begun: it holds for all of them. `version`: of V8. Returns whether it was told. */
export function weighExternalMemory(version = process.versions.v8): boolean {
  if (!version.startsWith('13.')) return false;
  setFlagsFromString(FLAG);
  return true;
}
