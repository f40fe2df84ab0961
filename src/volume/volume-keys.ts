/** The names of what a volume keeps beside its blocks. s3backer passes over the first two. */

export interface VolumeKeys {
  /** Every key that begins with this is ours, also those of a later version. */
  readonly reserved: string;
  /** What block 0 cannot hold: see volume-record.ts. */
  readonly record: string;
  readonly lease: string;
  /** What a repair has replaced is kept under keys that begin with this. */
  readonly quarantine: string;
  /** s3backer's own. */
  readonly token: string;
}

export function volumeKeys(prefix: string): VolumeKeys {
  return {
    reserved: `${prefix}bucketdisk-`,
    record: `${prefix}bucketdisk-volume.json`,
    lease: `${prefix}bucketdisk-lease.json`,
    quarantine: `${prefix}bucketdisk-quarantine/`,
    token: `${prefix}s3backer-mounted`,
  };
}
