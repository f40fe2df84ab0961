/** The last resort against secrets in the log: known secret values are replaced wherever they turn up. */

/** Shorter values would also hit ordinary words, and so harm the log more than they protect. */
const SECRET_LENGTH_MIN = 6;

export const MASK = '***';

/** A function that replaces every one of `secrets` in a text. */
export function redactor(secrets: readonly string[]): (text: string) => string {
  const known = [...new Set(secrets)].filter((secret) => secret.length >= SECRET_LENGTH_MIN);
  // The longest first, so that a secret that contains another leaves nothing behind.
  known.sort((a, b) => b.length - a.length);
  return (text) => known.reduce((masked, secret) => masked.replaceAll(secret, MASK), text);
}
