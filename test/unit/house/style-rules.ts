/** What the linter cannot hold us to. */
import type { SourceFile } from './source-files.ts';

const LINES_MAX = 500;

interface Rule {
  /** What is wrong with a line that matches. */
  readonly name: string;
  readonly pattern: RegExp;
  /** The files it is for; all unless said. */
  readonly files?: RegExp;
}

const ANYWHERE: readonly Rule[] = [
  // Spelled so that this file does not break its own rule.
  {
    name: 'has an unfinished part',
    pattern: new RegExp(`\\b(${['TO', 'DO'].join('')}|${['FIX', 'ME'].join('')})\\b`),
  },
  { name: "names a path of somebody's machine", pattern: /(^|[\s'"`(=])\/(home|Users)\/[a-z]/ },
];

const IN_SOURCE: readonly Rule[] = [
  { name: 'has a default export', pattern: /^export default\b/ },
  { name: 'ends the process', pattern: /\bprocess\.exit\(/, files: /^(?!main\.ts$)/ },
  { name: 'reads the environment', pattern: /\bprocess\.env\b/, files: /^(?!main\.ts$)/ },
  { name: 'keeps state in a module', pattern: /^(export )?(let|var)\b/ },
  // Received data is never gathered this way: a large request took over a minute. Option replies are short.
  { name: 'copies data with Buffer.concat', pattern: /\bBuffer\.concat\b/, files: /^(nbd|fuse)\/(?!option-wire\.ts$)/ },
  { name: 'writes to the console', pattern: /\bconsole\.(log|info|warn|debug)\b/ },
];

function broken(rules: readonly Rule[], { path, text }: SourceFile): string[] {
  return text
    .split('\n')
    .flatMap((line, index) =>
      rules
        .filter(({ pattern, files }) => (files === undefined || files.test(path)) && pattern.test(line))
        .map(({ name }) => `${path}:${index + 1} ${name}`),
    );
}

/** What holds for every text of the project. */
export function textViolations(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) => broken(ANYWHERE, file));
}

/** What holds for code: every file opens with a sentence that says what it is. */
export function headerViolations(files: readonly SourceFile[]): string[] {
  return files
    .filter(({ text }) => !/^(#![^\n]*\n)?\/\*\*\s[^/]*\w/.test(text))
    .map(({ path }) => `${path} does not open with a header comment`);
}

/** What holds for src alone. */
export function sourceViolations(files: readonly SourceFile[]): string[] {
  const long = files.filter(({ text }) => text.split('\n').length > LINES_MAX + 1);
  return [
    ...long.map(({ path }) => `${path} is longer than ${LINES_MAX} lines`),
    ...files.flatMap((file) => broken(IN_SOURCE, file)),
  ];
}
