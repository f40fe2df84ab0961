/**
 * Faults on demand. Rules stand in a list, in the order they were added. For each request the rules that match it apply
 * together, up to and including the first that decides the answer.
 */
import { Gate } from './gate.ts';
import type { Operation, S3Request } from './request.ts';

/** Which requests a rule is for. What is left out matches everything. */
export interface FaultMatch {
  readonly method?: string;
  readonly op?: Operation | readonly Operation[];
  readonly bucket?: string;
  readonly key?: string | RegExp;
  readonly when?: (request: S3Request) => boolean;
  /** Pass over the matches before the nth, counted from 1. */
  readonly nth?: number;
  /** Apply this many times. By default once where `nth` is given, and without end where it is not. */
  readonly times?: number;
}

/** How a request ends other than by its proper answer. */
export type Outcome =
  | { readonly kind: 'status'; readonly status: number; readonly code: string; readonly retryAfter: string | null }
  | { readonly kind: 'cutBody'; readonly atBytes: number | null }
  | { readonly kind: 'lostAnswer' }
  | { readonly kind: 'refuse' }
  | { readonly kind: 'hang'; readonly afterEffect: boolean };

/** What all the rules together do to one request. */
export interface FaultPlan {
  delayMs: number;
  answerDelayMs: number;
  skewMs: number;
  ignoreConditions: boolean;
  ignoreRange: boolean;
  readonly failingKeys: Set<string>;
  readonly gates: Gate[];
  readonly answerGates: Gate[];
  outcome: Outcome | null;
}

/** One way to go wrong; made by the functions below. */
export interface Fault {
  readonly name: string;
  apply(plan: FaultPlan): void;
}

/** A rule in force. */
export interface FaultRule {
  /** How many requests it has been applied to. */
  readonly applied: number;
  remove(): void;
}

/** Waits before the request takes effect. */
export function late(ms: number): Fault {
  return {
    name: 'late',
    apply: (plan) => {
      plan.delayMs += ms;
    },
  };
}

/** Waits after the effect, before the answer. */
export function lateAnswer(ms: number): Fault {
  return {
    name: 'lateAnswer',
    apply: (plan) => {
      plan.answerDelayMs += ms;
    },
  };
}

const CODE_OF_STATUS: Readonly<Record<number, string>> = {
  400: 'RequestTimeout',
  403: 'AccessDenied',
  404: 'NoSuchBucket',
  409: 'ConditionalRequestConflict',
  412: 'PreconditionFailed',
  429: 'TooManyRequests',
  500: 'InternalError',
  501: 'NotImplemented',
  503: 'SlowDown',
  507: 'InsufficientStorage',
};

/** Answers an error without any effect. `retryAfter` is the header as it stands: seconds or a date. */
export function status(code: number, options: { code?: string; retryAfter?: string | number } = {}): Fault {
  const outcome: Outcome = {
    kind: 'status',
    status: code,
    code: options.code ?? CODE_OF_STATUS[code] ?? 'InternalError',
    retryAfter: options.retryAfter === undefined ? null : String(options.retryAfter),
  };
  return decisive('status', outcome);
}

/** 403 to everything that matches, until cleared. */
export function denyFromNowOn(): Fault {
  return status(403);
}

/** Announces the whole body, sends half of it (or `atBytes`), and ends the connection. */
export function cutBody(options: { atBytes?: number } = {}): Fault {
  return decisive('cutBody', { kind: 'cutBody', atBytes: options.atBytes ?? null });
}

/** The request takes effect, then the connection is reset. */
export function lostAnswer(): Fault {
  return decisive('lostAnswer', { kind: 'lostAnswer' });
}

/** The connection is reset before any effect. */
export function refuse(): Fault {
  return decisive('refuse', { kind: 'refuse' });
}

/** Never answers. */
export function hang(options: { afterEffect?: boolean } = {}): Fault {
  return decisive('hang', { kind: 'hang', afterEffect: options.afterEffect ?? false });
}

/** The server's clock is ahead (or, negative, behind) by this much. */
export function clockSkew(ms: number): Fault {
  return {
    name: 'clockSkew',
    apply: (plan) => {
      plan.skewMs += ms;
    },
  };
}

/** If-Match and If-None-Match are passed over, as some servers do. */
export function ignoreConditions(): Fault {
  return {
    name: 'ignoreConditions',
    apply: (plan) => {
      plan.ignoreConditions = true;
    },
  };
}

/** Range is passed over: the whole object comes, with 200. */
export function ignoreRange(): Fault {
  return {
    name: 'ignoreRange',
    apply: (plan) => {
      plan.ignoreRange = true;
    },
  };
}

/** These keys of a DeleteObjects fail, one by one, in an answer that is a 200. */
export function partialDelete(keys: Iterable<string>): Fault {
  const failing = [...keys];
  return {
    name: 'partialDelete',
    apply: (plan) => {
      for (const key of failing) plan.failingKeys.add(key);
    },
  };
}

function decisive(name: string, outcome: Outcome): Fault {
  return {
    name,
    apply: (plan) => {
      plan.outcome = outcome;
    },
  };
}

class Rule implements FaultRule {
  readonly #match: FaultMatch;
  readonly #fault: Fault;
  readonly #remove: (rule: Rule) => void;
  #seen = 0;
  applied = 0;

  constructor(match: FaultMatch, fault: Fault, remove: (rule: Rule) => void) {
    this.#match = match;
    this.#fault = fault;
    this.#remove = remove;
  }

  offer(request: S3Request, plan: FaultPlan): void {
    const { nth, times = nth === undefined ? Number.POSITIVE_INFINITY : 1 } = this.#match;
    if (this.applied >= times || !matches(this.#match, request)) return;
    if (++this.#seen < (nth ?? 1)) return;
    this.applied++;
    this.#fault.apply(plan);
  }

  remove(): void {
    this.#remove(this);
  }
}

function matches({ method, op, bucket, key, when }: FaultMatch, request: S3Request): boolean {
  if (method !== undefined && method !== request.method) return false;
  if (op !== undefined && !(typeof op === 'string' ? [op] : op).includes(request.op)) return false;
  if (bucket !== undefined && bucket !== request.bucket) return false;
  if (typeof key === 'string' && key !== request.key) return false;
  if (key instanceof RegExp && (request.key === null || request.key.search(key) < 0)) return false;
  return when === undefined || when(request);
}

export class Faults {
  #rules: Rule[] = [];
  readonly #gates = new Set<Gate>();

  /** Puts a rule at the end of the list. */
  add(fault: Fault, match: FaultMatch = {}): FaultRule {
    const rule = new Rule(match, fault, (gone) => {
      this.#rules = this.#rules.filter((one) => one !== gone);
    });
    this.#rules.push(rule);
    return rule;
  }

  /** Holds matching requests before their effect, or with `answer` after it, until the gate lets them go. */
  hold(match: FaultMatch = {}, options: { answer?: boolean } = {}): Gate {
    const gate = new Gate();
    this.#gates.add(gate);
    const apply = (plan: FaultPlan): void => void (options.answer ? plan.answerGates : plan.gates).push(gate);
    this.add({ name: 'hold', apply }, match);
    return gate;
  }

  /** Takes all rules away and lets go of all that is held. */
  clear(): void {
    this.#rules = [];
    for (const gate of this.#gates) gate.release();
    this.#gates.clear();
  }

  /** For the server: what is to become of this request. */
  plan(request: S3Request): FaultPlan {
    const plan: FaultPlan = {
      delayMs: 0,
      answerDelayMs: 0,
      skewMs: 0,
      ignoreConditions: false,
      ignoreRange: false,
      failingKeys: new Set(),
      gates: [],
      answerGates: [],
      outcome: null,
    };
    for (const rule of this.#rules) {
      rule.offer(request, plan);
      if (plan.outcome !== null) break;
    }
    return plan;
  }

  /** For the server: it closes. */
  close(): void {
    for (const gate of this.#gates) gate.close();
    this.clear();
  }
}
