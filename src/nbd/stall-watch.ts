/** Finds out that a peer is not getting on, by looking at what it has done from time to time. */

/** What is known of a connection at one moment. */
export interface Activity {
  readonly requests: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  /** The peer owes us the rest of a payload. */
  readonly midPayload: boolean;
  /** The peer has replies to read. */
  readonly unsent: boolean;
}

export class StallWatch {
  /** The payload holds memory that others wait for: as much as this must get through from one look to the next. */
  readonly #payloadBytesMin: number;
  #last: Activity = { requests: 0, bytesReceived: 0, bytesSent: 0, midPayload: false, unsent: false };

  constructor(payloadBytesMin: number) {
    this.#payloadBytesMin = payloadBytesMin;
  }

  /** Why the peer is to be given up, or null. */
  look(now: Activity): string | null {
    const last = this.#last;
    this.#last = now;
    if (last.unsent && now.unsent && now.bytesSent === last.bytesSent) return 'the client does not read its replies';
    const samePayload = last.midPayload && now.midPayload && now.requests === last.requests;
    if (samePayload && now.bytesReceived - last.bytesReceived < this.#payloadBytesMin) {
      return 'the client does not finish the payload it began';
    }
    return null;
  }
}
