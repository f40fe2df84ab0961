/** The requests a server has had, for assertions: the last ones, oldest first. */
import type { Operation, S3Request } from './request.ts';

export interface RequestRecord {
  readonly op: Operation;
  readonly method: string;
  readonly bucket: string | null;
  readonly key: string | null;
  readonly query: ReadonlyMap<string, string>;
  /** Names lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** 0 while it is under way, and for ever where no answer was sent. */
  status: number;
  /** S3's error code, or null. */
  error: string | null;
  /** Bytes of the bodies. */
  receivedBytes: number;
  sentBytes: number;
}

export class RequestLog {
  readonly #recordsMax: number;
  #records: RequestRecord[] = [];

  constructor(recordsMax: number) {
    this.#recordsMax = recordsMax;
  }

  get records(): readonly RequestRecord[] {
    return this.#records;
  }

  add({ op, method, bucket, key, query, headers }: S3Request): RequestRecord {
    const record = { op, method, bucket, key, query, headers, status: 0, error: null, receivedBytes: 0, sentBytes: 0 };
    // Dropped in bulk, so that remembering stays cheap.
    if (this.#records.length >= 2 * this.#recordsMax) this.#records = this.#records.slice(-this.#recordsMax);
    this.#records.push(record);
    return record;
  }

  clear(): void {
    this.#records = [];
  }
}
