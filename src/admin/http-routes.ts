/** What the HTTP server's handlers get, and what they answer. */
import type { ServerResponse } from 'node:http';

export interface HttpRequest {
  readonly query: URLSearchParams;
  /** JSON that came with a POST; empty for GET. */
  readonly body: Readonly<Record<string, unknown>>;
  /** Aborts when the client has gone before its answer. */
  readonly gone: AbortSignal;
}

export interface HttpAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
  /** Instead of, or beside, the headers that every answer has. Never made of what a client sends. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** An answer that goes on: `open` gets the response after its headers, and whoever holds it ends it. */
export interface HttpStream {
  readonly contentType: string;
  readonly open: (response: ServerResponse) => void;
}

export type HttpHandler = (request: HttpRequest) => HttpAnswer | HttpStream | Promise<HttpAnswer | HttpStream>;

/** Handlers by path, without a query, and method. HEAD is answered by GET's; POST is for those with the token only. */
export type HttpRoutes = Readonly<Record<string, Readonly<Partial<Record<'GET' | 'POST', HttpHandler>>>>>;

/** A line of text. */
export function plain(status: number, text: string, headers: Readonly<Record<string, string>> = {}): HttpAnswer {
  return { status, contentType: 'text/plain; charset=utf-8', body: `${text}\n`, headers };
}

export function json(status: number, body: object): HttpAnswer {
  return { status, contentType: 'application/json', body: `${JSON.stringify(body)}\n` };
}
