// page.test.mjs - the page in the distribution's Chromium: taken away from, judged by axe, measured.
//
// Run by run.sh. Times are printed, never asserted. Pictures go to build/web, or with PICTURES to that folder.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { FOUR, SAVE_ALL, allLoaded, browser, judge, open, real, session, tone, track } from './page.mjs';
import { sleep } from './server.mjs';

const PICTURES = process.env.PICTURES || new URL('../../build/web', import.meta.url).pathname;
mkdirSync(PICTURES, { recursive: true });

test('what is taken away is whole: a stem, the mix, all as a ZIP with its recipe', async t => {
  const page = await open(t, real, { hash: 'song' }), folder = mkdtempSync(join(tmpdir(), 'stemforge-zip-'));
  t.after(() => rmSync(folder, { recursive: true }));
  await allLoaded(page);
  const take = async f => {
    const [file] = await Promise.all([page.waitForEvent('download'), f()]);
    await file.saveAs(join(folder, file.suggestedFilename()));
    return file.suggestedFilename();
  };
  const stored = async name => Buffer.from(await (await fetch(`${real.url}jobs/song/stems/${name}.wav`)).arrayBuffer());
  assert.equal(await take(() => page.getByRole('link', { name: 'Save bass' }).click()), 'rock_120bpm_A-minor_bass.wav');
  assert.deepEqual(readFileSync(join(folder, 'rock_120bpm_A-minor_bass.wav')), await stored('bass'));
  const zip = await take(() => page.getByRole('button', { name: 'Save all' }).click());
  execFileSync('python3', ['-m', 'zipfile', '-t', zip], { cwd: folder });
  execFileSync('python3', ['-m', 'zipfile', '-e', zip, 'all'], { cwd: folder });
  assert.deepEqual(readFileSync(join(folder, 'all', 'rock_120bpm_A-minor_drums.wav')), await stored('drums'));
  assert.equal(JSON.parse(readFileSync(join(folder, 'all', 'recipe.json'))).seed, '7');
  // The mix of one stem is that stem at its gain and the volume.
  const factor = await session(page, s => 10 ** ((s.player.channel('bass').gain + s.player.volume) / 20));
  for (const name of ['drums', 'guitar', 'piano']) await page.getByRole('button', { name: `Mute ${name}` }).click();
  const mix = readFileSync(join(folder, await take(() => page.getByRole('button', { name: 'Save mix' }).click())));
  const bass = await stored('bass');
  let from = 12;
  while (bass.toString('latin1', from, from + 4) !== 'data') from += 8 + bass.readUInt32LE(from + 4);
  from += 8;
  assert.equal(mix.length, 44 + 8 * 44100 * 4);
  for (let i = 0; i < 8 * 44100 * 4; i += 4444) {
    const at = i - i % 2;
    assert.ok(Math.abs(mix.readInt16LE(44 + at) - bass.readInt16LE(from + at) * factor) <= 2, `sample ${at / 2}`);
  }
});

// By a real mouse; only the desktop's part is not here. What Chromium saves there is what DownloadURL says as the drag begins.
test('a stem is dragged out of the page by its name, as the sound that was kept', async t => {
  const page = await open(t, real, { hash: 'song' });
  await allLoaded(page);
  await page.evaluate(() => addEventListener('dragstart', ev => { globalThis.dragged = ev.dataTransfer.getData('DownloadURL'); }));
  const { x, y } = await page.getByRole('link', { name: 'Save bass' }).boundingBox();
  await page.mouse.move(x + 5, y + 5);
  await page.mouse.down();
  await page.mouse.move(x + 60, y + 60, { steps: 6 });
  await page.waitForFunction(() => globalThis.dragged);
  await page.mouse.up();
  const [, type, name, url] = (await page.evaluate(() => globalThis.dragged)).match(/^([^:]+):([^:]+):(.+)$/);
  assert.deepEqual([type, name], ['audio/wav', 'rock_120bpm_A-minor_bass.wav']);
  const [href, digest] = await session(page, async s => {
    const { save, takes, chosen } = s.tracks.get('bass'); // the page's policy lets nobody fetch a blob
    return [save.href, [...new Uint8Array(await crypto.subtle.digest('SHA-256', await takes[chosen].blob.arrayBuffer()))]];
  });
  assert.equal(url, href);
  const stored = Buffer.from(await (await fetch(`${real.url}jobs/song/stems/bass.wav`)).arrayBuffer());
  assert.equal(Buffer.from(digest).toString('hex'), createHash('sha256').update(stored).digest('hex'));
});

test('beats and chords are taken away as a click and as MIDI', async t => {
  await tone.submit('gridded', ['drums'], { target_bpm: 120, bars: 1, chord_progression: ['Am'] });
  await tone.done('gridded');
  const page = await open(t, tone, { hash: 'gridded' });
  await page.waitForSelector(SAVE_ALL);
  for (const [name, kind, file, first] of [['Click', 'click.wav', '120bpm_click.wav', 'RIFF'], ['MIDI', 'chords.mid', '120bpm_chords.mid', 'MThd']]) {
    const [got] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name, exact: true }).click()]);
    assert.equal(got.suggestedFilename(), file);
    const bytes = readFileSync(await got.path());
    assert.equal(bytes.toString('latin1', 0, 4), first);
    assert.deepEqual(bytes, Buffer.from(await (await fetch(`${tone.url}jobs/gridded/${kind}`)).arrayBuffer()));
  }
});

test('axe finds no violation, and the pictures are taken', async t => {
  for (const [width, height] of [[1280, 860], [390, 844]]) {
    for (const colorScheme of ['dark', 'light']) {
      const page = await open(t, real, { hash: 'song', viewport: { width, height }, colorScheme });
      await page.waitForSelector(SAVE_ALL);
      await allLoaded(page);
      const where = `${width} ${colorScheme}`;
      await track(page, 'piano').getByRole('button', { name: 'Spectrum of piano' }).click();
      await session(page, s => { s.player.setLoop(true, 2, 6); s.player.seek(3.3); });
      await sleep(150);
      await judge(page, where + ' listen');
      await page.screenshot({ path: join(PICTURES, `page-${width}-${colorScheme}.png`) });
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), where + ': wider than the window');
      for (const view of ['History', 'Ask']) {
        await page.getByRole('button', { name: view, exact: true }).click();
        await sleep(150);
        await judge(page, `${where} ${view}`);
        if (width < 500) await page.screenshot({ path: join(PICTURES, `page-${width}-${colorScheme}-${view.toLowerCase()}.png`) });
      }
      await page.getByRole('button', { name: 'Keyboard' }).click();
      await judge(page, where + ' keyboard');
    }
  }
});

test('the page is small; first paint and the opening of long stems are stated', async t => {
  await tone.submit('long', FOUR, { target_bpm: 120, duration_seconds: 60, random_seed: 3 });
  await tone.done('long');
  const page = await open(t, tone);
  await page.waitForLoadState('networkidle');
  const seen = await page.evaluate(() => ({
    paint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime,
    bytes: [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')].reduce((n, e) => n + e.encodedBodySize, 0),
    unpacked: [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')].reduce((n, e) => n + e.decodedBodySize, 0),
  }));
  assert.ok(seen.bytes < 60000 && seen.bytes < seen.unpacked, `${seen.bytes} bytes, ${seen.unpacked} unpacked`);
  const opened = await page.evaluate(async () => {
    const start = performance.now();
    location.hash = 'long';
    const all = () => stemforge.session?.player.channels.size === 4 && [...stemforge.session.tracks.values()].every(x => x.peaks && stemforge.session.player.channel(x.name).buffer);
    while (!all()) await new Promise(requestAnimationFrame);
    return performance.now() - start;
  });
  console.log(`page: first paint ${Math.round(seen.paint)} ms, ${seen.bytes} bytes in all (${seen.unpacked} unpacked), four stems of 60 s opened in ${Math.round(opened)} ms`);
});
