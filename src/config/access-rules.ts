/** Who may open a volume, as it is written in a configuration: `cn:nas`, `psk:alice(ro)`, `anyone`. */
import JSON5 from 'json5';
import type { Format } from './formats.ts';
import { show } from './problems.ts';
import type { AccessRule } from './settings.ts';

/** An entry as it is written: a text, or an object for names that a text cannot hold. */
export type SpelledAccessRule = string | { readonly client: string; readonly readOnly?: boolean };

/** Whoever can attach at all, whether or not it has shown who it is. */
export const ANYONE = 'anyone';
/** Clients of the unix socket. */
const SOCKET = 'socket';
const KINDS = ['cn', 'dns', 'email', 'uri', 'ip', 'psk'] as const;
export type ClientKind = (typeof KINDS)[number];

const CLIENT = new RegExp(`^(?:${ANYONE}|${SOCKET}|(?:${KINDS.join('|')}):.+)$`, 's');
const READ_ONLY_MARK = '(ro)';
const EXPECTED = `expected a client such as "cn:nas", "dns:nas.example.net", "psk:alice(ro)", "${SOCKET}" or "${ANYONE}"`;

/** A list of rules, of which the first that is about a client decides. In a text: separated by commas, or a list in JSON5. */
export const accessList: Format<readonly SpelledAccessRule[]> = {
  name: 'list of `KIND:NAME` or `KIND:NAME(ro)`',
  read(text) {
    if (text === '[]') return [];
    if (!text.startsWith('[')) return text.split(',').map((rule) => rule.trim());
    try {
      return JSON5.parse(text);
    } catch {
      return text;
    }
  },
  check(value) {
    if (!Array.isArray(value))
      throw new Error(`expected a list such as ["cn:nas", "psk:alice(ro)"], not ${show(value)}`);
    const rules = value.map(parseRule);
    rules.forEach(({ client }, index) => {
      const earlier = rules.slice(0, index).find((rule) => rule.client === client || rule.client === ANYONE);
      if (earlier !== undefined)
        throw new Error(`"${client}" comes after "${earlier.client}", which decides for it already`);
    });
  },
};

/** Rules that `accessList` has checked. */
export function accessRules(spelled: readonly SpelledAccessRule[]): AccessRule[] {
  return spelled.map(parseRule);
}

/** Null for rules that are not about a certificate or a key. */
export function kindOf(rule: AccessRule): ClientKind | null {
  return KINDS.find((kind) => rule.client.startsWith(`${kind}:`)) ?? null;
}

function parseRule(spelled: unknown): AccessRule {
  if (typeof spelled === 'string') {
    const readOnly = spelled.endsWith(READ_ONLY_MARK);
    return { client: parseClient(readOnly ? spelled.slice(0, -READ_ONLY_MARK.length).trim() : spelled), readOnly };
  }
  if (typeof spelled !== 'object' || spelled === null) throw new Error(`${EXPECTED}, not ${show(spelled)}`);
  const { client, readOnly = false, ...others } = spelled as Record<string, unknown>;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw new Error(`expected { client, readOnly }, not "${unknown}"`);
  if (typeof readOnly !== 'boolean') throw new Error(`expected true or false for readOnly, not ${show(readOnly)}`);
  return { client: parseClient(client), readOnly };
}

/** DNS names are compared in lower case. */
function parseClient(client: unknown): string {
  if (typeof client !== 'string' || !CLIENT.test(client)) throw new Error(`${EXPECTED}, not ${show(client)}`);
  return client.startsWith('dns:') ? client.toLowerCase() : client;
}
