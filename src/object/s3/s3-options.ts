/** How to reach a bucket in S3. */

export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string | null;
}

export interface S3StoreOptions {
  readonly bucket: string;
  /** `http://host:port` or `https://host`; null: AWS itself. */
  readonly endpoint: string | null;
  readonly region: string;
  /** `https://host/bucket/key` instead of `https://bucket.host/key`. */
  readonly forcePathStyle: boolean;
  /** PEM file of certificate authorities to trust besides the usual ones. */
  readonly caFile: string | null;
  /** Accept any certificate. */
  readonly insecure: boolean;
  /** Null: the SDK's default chain (environment, shared files, web identity, container, IMDSv2). */
  readonly credentials: S3Credentials | null;
  /** A named profile of the shared AWS configuration files. */
  readonly profile: string | null;
  /** Send unsigned requests. */
  readonly anonymous: boolean;
  /** Canned ACL for every object. Null sends none. */
  readonly acl: string | null;
  readonly sse: 'none' | 'AES256' | 'aws:kms';
  readonly sseKmsKeyId: string | null;
  readonly storageClass: string | null;
  readonly connectTimeoutMs: number;
  /** The longest one request may take, its body included. */
  readonly requestTimeoutMs: number;
  /** Connections kept open: as many as requests are made at once. */
  readonly concurrency: number;
}
