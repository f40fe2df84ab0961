/** Who may have an export, and how. */
import type { ClientIdentity } from './exports.ts';

export interface AccessRule {
  /** `cn:nas`, `psk:alice`, `socket`, as in `ClientIdentity`; or `anyone`. */
  readonly client: string;
  readonly readOnly: boolean;
}

export type Access = 'none' | 'read' | 'write';

/** The first rule that is about the client decides; where none is, it has no access. Null: whoever can attach. */
export function accessOf(rules: readonly AccessRule[] | null, { names }: ClientIdentity): Access {
  if (rules === null) return 'write';
  const rule = rules.find(({ client }) => client === 'anyone' || names.includes(client));
  if (rule === undefined) return 'none';
  return rule.readOnly ? 'read' : 'write';
}
