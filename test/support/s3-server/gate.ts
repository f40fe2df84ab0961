/** A place where requests wait until the test lets them go: races are made by holding one side, not by sleeping. */

export class Gate {
  readonly #waiters: (() => void)[] = [];
  readonly #watchers: { count: number; resolve: () => void; reject: (error: Error) => void }[] = [];
  #arrivals = 0;
  #open = false;
  #closed: Error | null = null;

  /** How many requests stand here now. */
  get waiting(): number {
    return this.#waiters.length;
  }

  /** Resolves once `count` requests in all have come here; rejects when the server closes before that. */
  arrived(count = 1): Promise<void> {
    if (this.#arrivals >= count) return Promise.resolve();
    if (this.#closed !== null) return Promise.reject(this.#closed);
    return new Promise((resolve, reject) => this.#watchers.push({ count, resolve, reject }));
  }

  /** Lets the one that has waited longest go on; those that come later still wait. */
  releaseOne(): void {
    this.#waiters.shift()?.();
  }

  /** Lets all go on, and all that come later too. */
  release(): void {
    this.#open = true;
    for (const go of this.#waiters.splice(0)) go();
  }

  /** For the server: the request waits here. */
  pass(): Promise<void> {
    this.#arrivals++;
    for (const watcher of this.#watchers.filter((one) => one.count <= this.#arrivals)) {
      this.#watchers.splice(this.#watchers.indexOf(watcher), 1);
      watcher.resolve();
    }
    if (this.#open) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  /** For the server: it closes, nobody else will come. */
  close(): void {
    this.#closed = new Error('the S3 test server was closed');
    for (const watcher of this.#watchers.splice(0)) watcher.reject(this.#closed);
    this.release();
  }
}
