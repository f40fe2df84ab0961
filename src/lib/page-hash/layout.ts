/** What lies where in the memory that the page hash works on. */

export const HASHED_PAGE_BYTES = 4096;
/** A page that lies elsewhere is copied to here. The secret of the hash is in front of it. */
export const SCRATCH_START: number = 4096;
/** From here on the memory is for buffers. */
export const BUFFERS_START: number = 64 * 1024;
/** 40 slabs of write logs, 32 MiB of NBD, four replies of FUSE. Only reserved: what nobody has written to takes no memory. */
export const MEMORY_BYTES: number = BUFFERS_START + 84 * 1024 * 1024;
