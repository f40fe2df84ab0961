/** An answer before it is sent. */
import { document } from './xml.ts';

export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** Where the body's length is announced without the body (HEAD). */
  readonly announcedBytes?: number;
}

const NOTHING = Buffer.alloc(0);

export function emptyReply(status: number, headers: Readonly<Record<string, string>> = {}): Reply {
  return { status, headers, body: NOTHING };
}

export function xmlReply(root: string, content: string, status = 200): Reply {
  return { status, headers: { 'content-type': 'application/xml' }, body: Buffer.from(document(root, content)) };
}
