/** The status page as it is sent: one document, whose script and style are allowed by their hashes and nothing else is. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { assemblePage } from './assemble-page.ts';

export interface Page {
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** Where the build has put it; beside the source there is none. */
export const BUILT_PAGE = new URL('./status-page.html', import.meta.url);

/** Read when it is first asked for. */
export function loadPage(): () => Page {
  let page: Page | null = null;
  return () => {
    page ??= withPolicy(existsSync(BUILT_PAGE) ? readFileSync(BUILT_PAGE, 'utf8') : assemblePage());
    return page;
  };
}

function withPolicy(body: string): Page {
  const policy = [
    "default-src 'none'",
    `script-src ${hashesOf(body, 'script')}`,
    `style-src ${hashesOf(body, 'style')}`,
    "connect-src 'self'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ];
  return { body, headers: { 'content-security-policy': policy.join('; ') } };
}

function hashesOf(html: string, tag: 'script' | 'style'): string {
  const elements = html.matchAll(new RegExp(`<${tag}(?: [^>]*)?>([\\s\\S]*?)</${tag}>`, 'g'));
  return Array.from(elements, ([, text = '']) => {
    return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
  }).join(' ');
}
