/** Parts of buffers that may outlive the whole. */

/** Bytes [start, end): `bytes` itself where that is all of them, else a copy, so that a small part does not keep a large whole. */
export function copyPart(bytes: Buffer, start: number, end: number): Buffer {
  return start === 0 && end === bytes.length ? bytes : Buffer.from(bytes.subarray(start, end));
}
