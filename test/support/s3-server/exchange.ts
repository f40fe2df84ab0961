/** One request and its answer, from the request line to the last byte, with whatever is made to go wrong in between. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { Authenticator } from './authentication.ts';
import { readBody } from './body.ts';
import { checkPayloadHash } from './digests.ts';
import { authorize, execute, type Holdings } from './dispatch.ts';
import { errorDocument, S3Error } from './errors.ts';
import type { FaultPlan, Faults } from './faults.ts';
import { emptyReply, type Reply } from './reply.ts';
import { readRequest, refuseUnknown, type S3Request } from './request.ts';
import type { RequestRecord } from './request-log.ts';

/** What an exchange needs of its server. */
export interface ExchangeContext {
  readonly authenticator: Authenticator;
  readonly faults: Faults;
  readonly holdings: Holdings;
  readonly domain: string | null;
  readonly bodyBytesMax: number;
  /** Aborts when the server closes. */
  readonly closing: AbortSignal;
  latencyMs(request: S3Request): number;
  remember(request: S3Request): RequestRecord;
}

interface Settled {
  readonly reply: Reply;
  readonly error: S3Error | null;
}

export class Exchange {
  readonly #context: ExchangeContext;
  readonly #incoming: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #requestId: string;
  readonly #expectsContinue: boolean;

  /** `expectsContinue`: the client sends its body only once it is told to. */
  constructor(
    context: ExchangeContext,
    incoming: IncomingMessage,
    response: ServerResponse,
    requestId: string,
    expectsContinue: boolean,
  ) {
    this.#context = context;
    this.#incoming = incoming;
    this.#response = response;
    this.#requestId = requestId;
    this.#expectsContinue = expectsContinue;
    // A client may go away at any time; what it asked for takes effect all the same, as with any server.
    response.on('error', () => {});
  }

  /** Never rejects: what cannot be answered ends the connection. */
  async run(): Promise<void> {
    try {
      await this.#run();
    } catch {
      // The body never came whole, or the server is closing.
      this.#incoming.socket.destroy();
    }
  }

  async #run(): Promise<void> {
    const { faults, closing, domain } = this.#context;
    let request: S3Request;
    try {
      request = readRequest(this.#incoming, domain);
    } catch (error) {
      this.#response.setHeader('connection', 'close');
      this.#send(this.#asReply(error).reply, 0);
      return;
    }
    const record = this.#context.remember(request);
    const plan = faults.plan(request);
    if (plan.outcome?.kind === 'refuse') {
      this.#reset();
      return;
    }
    const { reply, error } = await this.#settle(request, plan, record);
    if (plan.answerDelayMs > 0) await this.#sleep(plan.answerDelayMs);
    for (const gate of plan.answerGates) await gate.pass();
    closing.throwIfAborted();
    const cut = plan.outcome?.kind === 'cutBody' ? plan.outcome : null;
    if (plan.outcome?.kind === 'lostAnswer' || (cut !== null && reply.body.length === 0)) {
      this.#reset();
      return;
    }
    record.status = reply.status;
    record.error = error?.code ?? null;
    record.sentBytes = reply.body.length;
    if (cut === null) this.#send(reply, plan.skewMs);
    else this.#sendCut(reply, plan.skewMs, cut.atBytes ?? reply.body.length >> 1);
  }

  /** The request's effect, and the answer it would get. */
  async #settle(request: S3Request, plan: FaultPlan, record: RequestRecord): Promise<Settled> {
    const { authenticator, holdings, closing, bodyBytesMax } = this.#context;
    let bodyRead = false;
    try {
      const identity = authenticator.authenticate(request.message, Date.now() + plan.skewMs);
      refuseUnknown(request);
      authorize(request, identity.accessKeyId, holdings);
      const body = await readBody(this.#incoming, request, bodyBytesMax, () => {
        if (this.#expectsContinue) this.#response.writeContinue();
      });
      bodyRead = true;
      record.receivedBytes = body.length;
      checkPayloadHash(body, identity.payloadHash);
      const waitMs = plan.delayMs + this.#context.latencyMs(request);
      if (waitMs > 0) await this.#sleep(waitMs);
      for (const gate of plan.gates) await gate.pass();
      closing.throwIfAborted();
      const { outcome } = plan;
      if (outcome?.kind === 'hang' && !outcome.afterEffect) await this.#hang();
      if (outcome?.kind === 'status') {
        const headers: Record<string, string> =
          outcome.retryAfter === null ? {} : { 'retry-after': outcome.retryAfter };
        throw new S3Error(outcome.code, 'This was asked for by the test.', { status: outcome.status, headers });
      }
      const reply = execute(request, body, plan, holdings);
      if (outcome?.kind === 'hang') await this.#hang();
      return { reply, error: null };
    } catch (error) {
      if (closing.aborted || (!bodyRead && !(error instanceof S3Error))) throw error;
      // With the body unread nobody knows where the connection's next request would begin.
      if (!bodyRead) this.#response.setHeader('connection', 'close');
      return this.#asReply(error);
    }
  }

  async #sleep(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#context.closing });
  }

  /** Rejects when the server closes, and does nothing else. */
  async #hang(): Promise<never> {
    const { closing } = this.#context;
    return await new Promise<never>((_resolve, reject) => {
      closing.addEventListener('abort', () => reject(closing.reason), { once: true });
    });
  }

  /** Any failure as an answer; one that is not S3's own is a fault of this server and says so. */
  #asReply(error: unknown): Settled {
    const known =
      error instanceof S3Error ? error : new S3Error('InternalError', `The S3 test server failed: ${String(error)}`);
    const { method, url = '' } = this.#incoming;
    const headers = { 'content-type': 'application/xml', ...known.headers };
    if (method === 'HEAD') return { reply: emptyReply(known.status, headers), error: known };
    const body = Buffer.from(errorDocument(known, url.split('?', 1)[0] ?? '', this.#requestId));
    return { reply: { status: known.status, headers, body }, error: known };
  }

  #writeHead(reply: Reply, skewMs: number): void {
    const headers: Record<string, string> = {
      ...reply.headers,
      server: 'bucketdisk-test-s3',
      'x-amz-request-id': this.#requestId,
      // Clients set their clock by this.
      date: new Date(Date.now() + skewMs).toUTCString(),
    };
    const hasLength = reply.status !== 204 && reply.status !== 304;
    if (hasLength) headers['content-length'] = String(reply.announcedBytes ?? reply.body.length);
    this.#response.writeHead(reply.status, headers);
  }

  #send(reply: Reply, skewMs: number): void {
    this.#writeHead(reply, skewMs);
    this.#response.end(reply.body);
  }

  #sendCut(reply: Reply, skewMs: number, atBytes: number): void {
    this.#writeHead(reply, skewMs);
    this.#response.write(reply.body.subarray(0, atBytes), () => this.#incoming.socket.destroySoon());
  }

  #reset(): void {
    this.#incoming.socket.resetAndDestroy();
  }
}
