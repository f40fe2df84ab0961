/** One way of telling other writers that a volume is taken. A volume is held while all its claims stand. */

export interface Claim {
  /**
   * Makes the claim. HELD where another writer has the volume; where that cannot be seen at once it waits until it can.
   */
  acquire(signal: AbortSignal): Promise<void>;

  /** Confirms that it stands. FENCED where another writer has taken the volume; any other error means: not known. */
  renew(signal: AbortSignal): Promise<void>;

  /** Gives it up, if it still stands. With `erase` nothing of it stays in the bucket. */
  release(options: { readonly erase: boolean }, signal: AbortSignal): Promise<void>;
}

/** Who claims: enough for an operator to find the process. */
export interface Claimant {
  /**
   * The appliance, by its cache directory: two processes of one instance never run at once, so a claim of our own instance
   * that is not ours is a dead process's.
   */
  readonly instance: string;
  readonly host: string;
  readonly pid: number;
}
