/** Who may change something over HTTP: whoever knows the token, and no web page of somebody else's. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';

export interface Refusal {
  readonly status: number;
  readonly message: string;
  readonly headers: Readonly<Record<string, string>>;
}

export class ChangeGuard {
  readonly #tokenHash: Buffer | null;

  /** Null: nobody may change anything. */
  constructor(token: string | null) {
    this.#tokenHash = token === null ? null : hash(token);
  }

  /**
   * Null where the request may go ahead. The token comes in a header that a browser never adds by itself, so that another page
   * cannot have it sent; Origin and Sec-Fetch-Site, which pages cannot set, are looked at all the same.
   */
  refusal(headers: IncomingHttpHeaders): Refusal | null {
    if (!isOwnPage(headers)) return refuse(403, 'not from another page');
    if (!/^application\/json(?:;|$)/i.test(headers['content-type'] ?? '')) {
      return refuse(415, 'what is sent has to be application/json');
    }
    if (this.#tokenHash === null) return refuse(403, 'nothing can be changed here: set admin.token');
    const [, token] = /^Bearer ([\x21-\x7e]+)$/i.exec(headers.authorization ?? '') ?? [];
    if (token === undefined) return refuse(401, 'the token is missing', { 'www-authenticate': 'Bearer' });
    // Hashes have the same length, and what their comparison takes tells nothing about the token.
    if (timingSafeEqual(hash(token), this.#tokenHash)) return null;
    return refuse(401, 'the token is wrong', { 'www-authenticate': 'Bearer error="invalid_token"' });
  }
}

/** Programs send neither header. A proxy in front may speak TLS where we do not: the scheme is not compared. */
function isOwnPage({ origin, host, 'sec-fetch-site': site }: IncomingHttpHeaders): boolean {
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return false;
  if (origin === undefined) return true;
  const url = URL.parse(origin);
  return url !== null && /^https?:$/.test(url.protocol) && url.host === host?.toLowerCase();
}

function hash(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function refuse(status: number, message: string, headers: Readonly<Record<string, string>> = {}): Refusal {
  return { status, message, headers };
}
