/** The numbers of the kernel's FUSE protocol, as its include/uapi/linux/fuse.h gives them. */

export const MAJOR_VERSION = 7;
/** What is spoken here, and the least a kernel must speak: Linux 5.4. */
export const MINOR_VERSION = 31;

export const ROOT_NODE = 1;

export const Opcode = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  DESTROY: 38,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
} as const;

export const InitFlag = {
  ASYNC_READ: 1 << 0,
  BIG_WRITES: 1 << 5,
  DO_READDIRPLUS: 1 << 13,
  READDIRPLUS_AUTO: 1 << 14,
  ASYNC_DIO: 1 << 15,
  PARALLEL_DIROPS: 1 << 18,
  MAX_PAGES: 1 << 22,
} as const;

export const OpenReplyFlag = {
  DIRECT_IO: 1 << 0,
  /** Closing it sends no FLUSH. */
  NO_FLUSH: 1 << 5,
  PARALLEL_DIRECT_WRITES: 1 << 6,
} as const;

/** Of SETATTR: which attributes are to be set. */
export const SetAttributes = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
} as const;

/** Of open(2), as Linux has them on every machine whose byte order is ours. */
export const OpenFlag = {
  ACCESS_MODES: 0o3,
  READ_ONLY: 0o0,
  DSYNC: 0o10000,
} as const;

export const AccessMask = { WRITE: 2 } as const;

export const FileType = {
  DIRECTORY: 0o040000,
  REGULAR: 0o100000,
} as const;

/** A directory entry's type is the file type without its lower bits. */
export const ENTRY_TYPE_SHIFT = 12;

export const FallocateMode = {
  KEEP_SIZE: 0x01,
  PUNCH_HOLE: 0x02,
  ZERO_RANGE: 0x10,
} as const;

export const Whence = {
  DATA: 3,
  HOLE: 4,
} as const;

/** Error numbers of Linux. */
export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  EACCES: 13,
  EBUSY: 16,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENOSPC: 28,
  EROFS: 30,
  ENOSYS: 38,
  EPROTO: 71,
  EOPNOTSUPP: 95,
  ESTALE: 116,
} as const;

export type Errno = (typeof Errno)[keyof typeof Errno];
