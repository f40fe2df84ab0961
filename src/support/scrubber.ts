/** Takes secrets out of a text that leaves the machine: those that are known, in every spelling, and what looks like one. */

const MASK = '***';
/** Shorter ones would be found in the middle of ordinary words, and the text would be of no use. */
const SECRET_LENGTH_MIN = 4;

/** What looks like a secret whether it is known or not. */
const PATTERNS: readonly (readonly [RegExp, string])[] = [
  // The user and the password of a URL.
  [/([a-z][a-z0-9+.-]*:\/\/)[^/?#\s"'<>@]+@/gi, `$1${MASK}@`],
  // What signs a request: presigned URLs, and headers in a log.
  [/\b(X-Amz-(?:Signature|Credential|Security-Token)=)[^&\s"']+/gi, `$1${MASK}`],
  [/\b(authorization|x-amz-security-token|cookie)(["']?\s*[:=]\s*["']?)[^\r\n"']+/gi, `$1$2${MASK}`],
  [/\b((?:pass(?:word|wd|phrase)?|secret|token|api-?key|signature)=)[^&\s"']+/gi, `$1${MASK}`],
  // Access keys of AWS.
  [/\b(?:AKIA|ASIA)[A-Z0-9]{16}\b/g, MASK],
  [/-----BEGIN ([A-Z ]*PRIVATE KEY)-----[\s\S]*?(?:-----END \1-----|$)/g, `-----BEGIN $1-----${MASK}`],
];

/** A function that takes `secrets`, and whatever looks like one, out of a text. */
export function scrubber(secrets: readonly string[]): (text: string) => string {
  const spellings = secrets.filter((secret) => secret.length >= SECRET_LENGTH_MIN).flatMap(spellingsOf);
  // The longest first, so that a secret that contains another leaves nothing behind.
  const known = [...new Set(spellings)].sort((a, b) => b.length - a.length);
  return (text) => {
    const masked = known.reduce((rest, secret) => rest.replaceAll(secret, MASK), text);
    return PATTERNS.reduce((rest, [pattern, replacement]) => rest.replace(pattern, replacement), masked);
  };
}

/** As it stands, in JSON, in a URL, and as others encode it on its way. */
function spellingsOf(secret: string): string[] {
  const bytes = Buffer.from(secret, 'utf8');
  return [
    secret,
    JSON.stringify(secret).slice(1, -1),
    encodeURIComponent(secret),
    encodeURI(secret),
    ...(secret.length >= 8
      ? [bytes.toString('base64').replace(/=+$/, ''), bytes.toString('base64url'), bytes.toString('hex')]
      : []),
  ];
}

/** A setting whose value is not shown whatever it is: a secret, or a URL that lets whoever has it in. */
export function isSecretPath(path: string): boolean {
  return /(password|passphrase|secret|token|accessKeyId|webhook)[^.]*$/i.test(path) && !/File$/.test(path);
}
