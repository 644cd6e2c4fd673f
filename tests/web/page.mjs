// page.mjs - what the tests of the page share: a browser, two services, a page that is watched, what sounds in it.
//
// Each file of tests has a process, and so a browser and services, of its own.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before } from 'node:test';
import { chromium } from 'playwright-core';
import { Server } from './server.mjs';

const AXE = readFileSync(new URL('./node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
export const SAVE_ALL = '.actions button:has-text("Save all"):not([disabled])';
export const FOUR = ['drums', 'bass', 'guitar', 'piano'];
export const SONG = { target_bpm: 120, bars: 4, style: 'rock', key: 'A minor', chord_progression: ['Am', 'F', 'C', 'G'], random_seed: 7, fade_in_seconds: 0.003 };
export let browser, real, tone;

before(async () => {
  [browser, real, tone] = await Promise.all([
    chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox', '--autoplay-policy=no-user-gesture-required'] }),
    Server.open({ real: true }), Server.open(),
  ]);
  await real.submit('song', FOUR, SONG);
  await real.done('song');
});
after(async () => {
  await browser?.close();
  await Promise.all([real?.close(), tone?.close()]);
});

// A page of its own. What it logs as an error, and what its script throws, fails the test.
export async function open(t, server, { hash = '', path = '', expect = () => false, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, colorScheme: 'dark', acceptDownloads: true, ...options });
  const page = await context.newPage(), wrong = [];
  page.on('console', m => { if (m.type() === 'error') wrong.push(m.text()); });
  page.on('pageerror', e => wrong.push(String(e)));
  page.setDefaultTimeout(90000);
  t.after(async () => {
    await context.close();
    assert.deepEqual(wrong.filter(w => !expect(w)), []);
  });
  await page.goto(server.url + path + (hash && '#' + hash));
  await page.waitForSelector('.cell', { state: 'attached' });
  return page;
}
// All stems of the open job are there to be heard.
export const allLoaded = (page, n = 4) => page.waitForFunction(count => {
  const p = globalThis.stemforge?.session?.player;
  return p?.channels.size === count && [...p.channels.values()].every(c => c.buffer);
}, n);
export const refused = w => w.includes('Failed to load resource') || w.includes('ERR_');
export const session = (page, f, arg) => page.evaluate(`(${f})(stemforge.session, ${JSON.stringify(arg ?? null)})`);
export const stemBox = (page, name) => page.locator(`[name=stem][value=${name}]`);
export const track = (page, name) => page.getByRole('region', { name, exact: true });
export const loudest = page => session(page, async s => {
  let peak = 0;
  const x = new Float32Array(2048);
  for (let i = 0; i < 12; i++) {
    s.player.analyser.getFloatTimeDomainData(x);
    peak = Math.max(peak, ...x.map(Math.abs));
    await new Promise(done => setTimeout(done, 50));
  }
  return peak;
});

export async function judge(page, where) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'] }));
  assert.deepEqual(found.violations.map(v => `${v.id}: ${v.nodes.map(n => n.html.slice(0, 160)).join(' ')}`), [], where);
}
