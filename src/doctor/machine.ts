/** The machine as the doctor looks at it, so that tests can put a broken one in its place. */

export interface FileFacts {
  readonly kind: 'file' | 'directory' | 'socket' | 'other';
  /** What it takes on the disk. */
  readonly usedBytes: number;
}

export interface SpaceFacts {
  readonly totalBytes: number;
  /** For a process without privileges. */
  readonly freeBytes: number;
}

/** Nothing here changes anything but `syncTimes`, whose file is removed again. */
export interface Machine {
  readonly nodeVersion: string;
  readonly uid: number;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Null where it is missing or may not be read. */
  readText(path: string): string | null;
  /** Names in a directory; none where it is missing or may not be read. */
  list(directory: string): readonly string[];
  stat(path: string): FileFacts | null;
  space(path: string): SpaceFacts | null;
  /** Why the file or directory cannot be opened for reading and writing, as the system spells it (`EACCES`); null where it can. */
  openError(path: string): string | null;
  /** The path of a program of the system's, or null. */
  program(name: string): string | null;
  /** Whether a filesystem answers: `dead` is one whose server has gone. */
  answers(path: string): Promise<'yes' | 'dead' | 'no'>;
  /** Why one cannot listen there (`EADDRINUSE`), or null. */
  listenError(host: string, port: number): Promise<string | null>;
  /** Whether somebody listens on a unix socket. */
  connects(socketPath: string): Promise<boolean>;
  /**
   * Appends a block of 4 KiB to a new file in the directory and makes it durable, `count` times; what each took, in ms. Rejects with the
   * system's error.
   */
  syncTimes(directory: string, count: number): Promise<readonly number[]>;
}
