/** A real browser, which is let see one appliance's page and nothing else. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import axe from 'axe-core';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { type Lifetime, onEnd } from '../../support/cleanup.ts';
import { toolPath } from '../../support/tools.ts';

/** Where pictures go, to be looked at; not in the repository. */
const SCREENSHOTS = fileURLToPath(new URL('../../../var/screenshots/', import.meta.url));

const FLAGS = [
  ...['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'],
  ...['--disable-sync', '--disable-dev-shm-usage'],
];

export async function startBrowser(lifetime: Lifetime): Promise<Browser> {
  const browser = await chromium.launch({ executablePath: toolPath('chromium'), args: FLAGS });
  onEnd(lifetime, () => browser.close());
  return browser;
}

/** A page, with everything that went wrong in it. */
export class WatchedPage {
  readonly page: Page;
  /** Errors of scripts and of the console, refusals of the policy among them. */
  readonly errors: string[] = [];
  /** What it asked of anybody but its own origin. */
  readonly elsewhere: string[] = [];

  private constructor(page: Page, origin: string) {
    this.page = page;
    page.on('console', (message) => {
      // Said of the picture that a test reads back: the page itself never does.
      const isOurs = message.text().startsWith('Canvas2D: Multiple readback');
      if (!isOurs && (message.type() === 'error' || message.type() === 'warning')) this.errors.push(message.text());
    });
    page.on('pageerror', (error) => this.errors.push(String(error)));
    page.on('response', (response) => {
      if (!response.ok()) this.errors.push(`${response.status()} ${response.url()}`);
    });
    page.on('request', (request) => {
      const url = request.url();
      if (!url.startsWith(`${origin}/`) && !url.startsWith('data:')) this.elsewhere.push(url);
    });
  }

  static async open(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<WatchedPage> {
    const context = await browser.newContext(options);
    const watched = new WatchedPage(await context.newPage(), new URL(url).origin);
    await watched.page.goto(url);
    return watched;
  }

  text(selector: string): Promise<string> {
    return this.page.locator(selector).first().innerText();
  }

  /** Waits until the element's text is as `pattern` says. */
  async until(selector: string, pattern: RegExp): Promise<void> {
    await this.page.locator(selector).filter({ hasText: pattern }).first().waitFor({ timeout: 30_000 });
  }

  async screenshot(name: string): Promise<void> {
    await mkdir(SCREENSHOTS, { recursive: true });
    await this.page.screenshot({ path: join(SCREENSHOTS, `${name}.png`), fullPage: true });
  }

  /** What axe finds against it, a line each. */
  async complaints(): Promise<string[]> {
    await this.page.evaluate(axe.source);
    return this.page.evaluate(async () => {
      const { axe: inPage } = globalThis as unknown as { axe: typeof import('axe-core') };
      const { violations } = await inPage.run();
      return violations.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target.join(' ')}`));
    });
  }
}
