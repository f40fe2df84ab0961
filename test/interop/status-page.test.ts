/** The status page in a real Chromium: what it shows while clients work, by pointer, keys and both themes, and its buttons. */
import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import type { Page } from 'playwright-core';
import { Command } from '../../src/nbd/constants.ts';
import { RawClient } from '../conformance/nbd/raw-client.ts';
import { type Appliance, startAppliance } from '../support/appliance.ts';
import { requireTools } from '../support/tools.ts';
import { startBrowser, WatchedPage } from './support/browser.ts';

const MIB = 2 ** 20;
const TOKEN = 'a-token-of-24-characters';
const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

const config = {
  store: { url: 'file:bucket' },
  // Nothing is uploaded by itself, so that what is dirty stays so until the test wants otherwise.
  cache: { size: '128MiB', logSize: '128MiB' },
  upload: { age: '1h', dirty: '1GiB' },
  volumes: {
    media: { size: '256MiB', compress: 'zstd', default: true },
    backups: { size: '1TiB', durability: 's3' },
  },
};

async function start(t: TestContext, admin: object): Promise<{ appliance: Appliance; url: string; client: RawClient }> {
  const appliance = await startAppliance({
    lifetime: t,
    config: { ...config, admin: { listen: '127.0.0.1:0', ...admin } },
  });
  const url = `${(await appliance.waitForEvent('admin')).url}/`;
  const client = await RawClient.attach({ path: appliance.socket }, { name: 'media' });
  t.after(() => client.close());
  return { appliance, url, client };
}

async function write(client: RawClient, offset: number, length: number): Promise<void> {
  for (let at = 0; at < length; at += MIB) {
    const payload = randomFillSync(Buffer.alloc(Math.min(MIB, length - at)));
    await client.request({ type: Command.WRITE, offset: BigInt(offset + at), payload });
  }
}

/** How much of the map's picture has the colour of a kind: a share of its pixels. Run in the page, whose names are none of Node's. */
function shareOfColor(page: Page, kind: 'dirty' | 'clean'): Promise<number> {
  return page.evaluate(`(() => {
    const canvas = document.querySelector('canvas');
    const wanted = getComputedStyle(document.querySelector('.swatch.c-${kind}')).color.match(/\\d+/g).map(Number);
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let found = 0;
    for (let at = 0; at < data.length; at += 4) {
      if (wanted.every((value, index) => Math.abs(data[at + index] - value) < 6)) found++;
    }
    return found / (data.length / 4);
  })()`);
}

/** Waits until so much of the map has the colour: a cell that has just changed lights up first, and takes its colour after. */
async function untilShare(page: Page, kind: 'dirty' | 'clean', least: number, most: number): Promise<void> {
  const deadline = performance.now() + 30_000;
  for (let share = -1; !(share >= least && share <= most); share = await shareOfColor(page, kind)) {
    assert.ok(performance.now() < deadline, `${share} of the map is ${kind}, not ${least} to ${most}`);
  }
}

test('the page shows what clients do as they do it, asks nobody else, and complains of nothing', async (t) => {
  if (!requireTools(t, ['chromium'])) return;
  const { url, client, appliance } = await start(t, {});
  const browser = await startBrowser(t);
  const watched = await WatchedPage.open(browser, url, {
    viewport: { width: 1280, height: 900 },
    colorScheme: 'light',
  });
  const { page } = watched;
  await watched.until('#link', /^live$/);
  await watched.until('.head h2', /media/);
  await watched.until('.figures', /everything is in the bucket/);
  assert.equal(await shareOfColor(page, 'dirty'), 0);

  await write(client, 64 * MIB, 16 * MIB);
  await client.request({ type: Command.FLUSH });
  await watched.until('.figures', /16\s?MiB\s?oldest/);
  await watched.until('.legend', /Not in the bucket yet 16 MiB/);
  await page.waitForFunction("document.title.startsWith('16 MiB to upload')");
  // An eye's worth of the disk is dirty now: 16 of 256 MiB, less the gaps between cells.
  await untilShare(page, 'dirty', 0.02, 0.08);
  await watched.until('.plot-tick', /^(?:4|8|16|32) MiB\/s$/);
  await watched.until('#clients table', /media/);

  await appliance.flush('media');
  await watched.until('.figures', /everything is in the bucket/);
  await watched.until('.legend', /Cached 16 MiB/);
  await page.waitForFunction("document.title === 'bucketdisk'");
  await untilShare(page, 'dirty', 0, 0);
  await untilShare(page, 'clean', 0.02, 0.08);
  for (let at = 0; at < 200; at++) {
    await client.request({ type: Command.READ, offset: BigInt(64 * MIB + at * 4096), length: 4096 });
  }
  await watched.until('.figures', /100\s?%/);
  await write(client, 200 * MIB, 2 * MIB);
  await watched.until('.figures', /2\s?MiB\s?oldest/);

  assert.equal(await page.locator('#unlock').isVisible(), false, 'nothing can be changed without a token');
  assert.equal(await page.locator('.head .actions').isVisible(), false);
  assert.deepEqual(await watched.complaints(), []);
  await watched.screenshot('light');
  await page.locator('#theme').click();
  await page.locator('#theme').click();
  assert.equal(await watched.text('#theme'), 'Theme: dark');
  assert.deepEqual(await watched.complaints(), []);
  await watched.screenshot('dark');

  const phone = await WatchedPage.open(browser, url, { ...PHONE, colorScheme: 'dark', reducedMotion: 'reduce' });
  await phone.until('.legend', /Cached 16 MiB/);
  await phone.until('.plot-said', /now/);
  const overhang = await phone.page.evaluate('document.documentElement.scrollWidth - innerWidth');
  assert.equal(overhang, 0, 'it does not have to be moved sideways');
  const moving = await phone.page.evaluate('document.getAnimations().length');
  assert.equal(moving, 0, 'nothing moves for whoever wants it still');
  assert.deepEqual(await phone.complaints(), []);
  await phone.screenshot('phone');
  for (const { errors, elsewhere } of [watched, phone]) assert.deepEqual([errors, elsewhere], [[], []]);

  await appliance.stop();
  await watched.until('#link', /no connection/);
});

test('everything can be reached and read by keys', async (t) => {
  if (!requireTools(t, ['chromium'])) return;
  const { url, client } = await start(t, {});
  await write(client, 0, 4 * MIB);
  const browser = await startBrowser(t);
  const watched = await WatchedPage.open(browser, url, { viewport: { width: 1280, height: 900 } });
  const { page } = watched;
  await watched.until('.legend', /Not in the bucket yet 4 MiB/);

  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate('document.activeElement.textContent'), 'Skip to the volume');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate('document.activeElement.id'), 'volume');

  await page.locator('canvas').focus();
  await page.keyboard.press('ArrowRight');
  const map = (name: string): Promise<string | null> => page.locator('canvas').getAttribute(name);
  assert.equal(await map('aria-valuenow'), '0');
  assert.match((await map('aria-valuetext')) ?? '', /^0 B to .*: 100% not in the bucket yet$/);
  await page.keyboard.press('ArrowDown');
  assert.notEqual(await map('aria-valuenow'), '0');
  assert.equal(await watched.text('.map-said'), await map('aria-valuetext'));
  await page.keyboard.press('ArrowUp');
  await page.keyboard.press('Enter');
  await watched.until('.map-head', /0 B to 32 MiB/);
  await page.keyboard.press('Backspace');
  await watched.until('.map-head', /256 MiB, whole/);

  const plot = page.locator('.plot-svg').first();
  await plot.focus();
  await page.keyboard.press('ArrowLeft');
  assert.match((await plot.getAttribute('aria-valuetext')) ?? '', /^\d\d:\d\d:\d\d: /);

  await page.getByRole('button', { name: 'backups' }).focus();
  await page.keyboard.press('Enter');
  await watched.until('.head h2', /backups/);
  await watched.until('.map-head', /1 TiB, whole/);
  assert.deepEqual(watched.errors, []);
});

test('the buttons work for who has the token, and for nobody else', async (t) => {
  if (!requireTools(t, ['chromium'])) return;
  const { url, client, appliance } = await start(t, { token: TOKEN });
  await write(client, 0, 4 * MIB);
  const browser = await startBrowser(t);
  const watched = await WatchedPage.open(browser, url, { viewport: { width: 1280, height: 900 } });
  const { page } = watched;
  await watched.until('.figures', /4\s?MiB\s?oldest/);
  const upload = page.getByRole('button', { name: 'Upload now' });
  const warm = page.getByRole('button', { name: 'Load into the cache' });
  assert.equal(await upload.isDisabled(), true);

  const unlock = async (token: string): Promise<void> => {
    await page.getByLabel('Token').fill(token);
    await page.keyboard.press('Enter');
  };
  await page.locator('#unlock').click();
  await unlock('not-the-token-of-this-one');
  await upload.click();
  await watched.until('#token-problem', /did not take that token/);
  await watched.screenshot('token');
  assert.equal(watched.errors.length, 2, 'a refusal, of which the browser tells too');
  watched.errors.length = 0;
  await unlock(TOKEN);
  await upload.click();
  await watched.until('.action-told', /Everything that was written is in the bucket/);
  await watched.until('.figures', /everything is in the bucket/);
  await warm.click();
  await watched.until('.action-told', /Loaded: .* in the cache/);
  assert.deepEqual(await watched.complaints(), []);

  assert.deepEqual(await page.context().cookies(), []);
  assert.ok(!appliance.process.stderr.includes(TOKEN));
  await page.locator('#unlock').click();
  assert.equal(await upload.isDisabled(), true);
  assert.deepEqual([watched.errors, watched.elsewhere], [[], []]);
});
