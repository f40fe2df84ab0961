/** What opening a volume needs to know of it: the configuration's part, without the configuration. */

export interface VolumeOptions {
  readonly name: string;
  /** For people: where its objects are. */
  readonly url: string;
  /** What every key begins with. */
  readonly prefix: string;
  /** Null: as in the bucket. */
  readonly sizeBytes: number | null;
  readonly blockSizeBytes: number | null;
  readonly blockHashPrefix: boolean | null;
  readonly compress: 'none' | 'deflate' | 'zstd';
  readonly compressLevel: number | null;
  readonly encryption: {
    readonly cipher: string;
    readonly password: string;
    readonly keyLengthBytes: number | null;
  } | null;
  readonly readOnly: boolean;
  readonly sharedDisk: boolean;
  readonly survey: boolean;
  /** What a flush of a volume with a cache is answered for. */
  readonly durability: 'local' | 's3';
}
