// page.test.mjs - the page in the distribution's Chromium: asked, followed, heard, taken away.
//
// Run by run.sh. Times are printed, never asserted. Pictures go to build/web, or with PICTURES to that folder.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { Server, openAzurite, sleep } from './server.mjs';

const PICTURES = process.env.PICTURES || new URL('../../build/web', import.meta.url).pathname;
const AXE = readFileSync(new URL('./node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
const SAVE_ALL = '.actions button:has-text("Save all"):not([disabled])';
const FOUR = ['drums', 'bass', 'guitar', 'piano'];
const SONG = { target_bpm: 120, bars: 4, style: 'rock', key: 'A minor', chord_progression: ['Am', 'F', 'C', 'G'], random_seed: 7, fade_in_seconds: 0.003 };
let browser, real, tone;

before(async () => {
  mkdirSync(PICTURES, { recursive: true });
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
async function open(t, server, { hash = '', path = '', expect = () => false, ...options } = {}) {
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
const refused = w => w.includes('Failed to load resource') || w.includes('ERR_');
const session = (page, f, arg) => page.evaluate(`(${f})(stemforge.session, ${JSON.stringify(arg ?? null)})`);
const stemBox = (page, name) => page.locator(`[name=stem][value=${name}]`);
const track = (page, name) => page.getByRole('region', { name, exact: true });
const loudest = page => session(page, async s => {
  let peak = 0;
  const x = new Float32Array(2048);
  for (let i = 0; i < 12; i++) {
    s.player.analyser.getFloatTimeDomainData(x);
    peak = Math.max(peak, ...x.map(Math.abs));
    await new Promise(done => setTimeout(done, 50));
  }
  return peak;
});

// Where each of the stems is in its own sound at one moment of the clock, found by comparing what is heard with it. Several
// moments, one list each. The sounds are no tones: their places are unique. The audio thread itself takes what is heard
// (which the page's policy would forbid: bypassCSP), so a page that is held up does not matter.
const TAP = `registerProcessor('tap', class extends AudioWorkletProcessor {
  constructor() { super(); this.got = []; this.turn = 0; }
  process(inputs) {
    if (inputs[0].length < 4) return true; // not connected yet
    this.got.push(inputs[0].map(x => x.slice()));
    if (this.got.length < 6) return true; // 768 frames at a time, five times a second
    if (this.turn++ % 11 === 0) this.port.postMessage(this.got);
    this.got = [];
    return true;
  }
})`;
const places = page => session(page, async (s, tapSource) => {
  const { ctx, channels } = s.player, names = [...channels.keys()], merger = ctx.createChannelMerger(names.length);
  if (!s.tapped) await ctx.audioWorklet.addModule(URL.createObjectURL(new Blob([tapSource], { type: 'text/javascript' })));
  s.tapped = true;
  const tap = new AudioWorkletNode(ctx, 'tap', { channelCount: names.length, channelCountMode: 'explicit', channelInterpretation: 'discrete' }), blocks = [];
  names.forEach((n, i) => {
    const split = ctx.createChannelSplitter(2);
    channels.get(n).nodes.gate.connect(split);
    split.connect(merger, 0, i);
  });
  merger.connect(tap).connect(ctx.destination);
  await new Promise(done => {
    tap.port.onmessage = ev => {
      blocks.push(names.map((_, i) => ev.data.flatMap(q => [...q[i]])));
      if (blocks.length === 5) done();
    };
  });
  merger.disconnect();
  const find = (heard, x) => {
    let best = Infinity, at = -1;
    for (let p = 0; p + 600 < x.length; p++) {
      let e = 0;
      for (let i = 0; i < 600 && e < best; i++) e += Math.abs(heard[i] - x[p + i]);
      if (e < best) [best, at] = [e, p];
    }
    return best < 1 ? at : null; // a loop's end lies inside
  };
  return blocks.slice(1).map(b => b.map((heard, i) => find(heard, channels.get(names[i]).buffer.getChannelData(0))));
}, TAP);

function assertTogether(list) {
  const whole = list.filter(p => p.every(x => x !== null));
  assert.ok(whole.length >= 2, `too few moments were found: ${JSON.stringify(list)}`);
  for (const p of whole) assert.ok(Math.max(...p) - Math.min(...p) <= 1, `stems are apart: ${p}`);
  return whole;
}

async function judge(page, where) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'] }));
  assert.deepEqual(found.violations.map(v => `${v.id}: ${v.nodes.map(n => n.html.slice(0, 160)).join(' ')}`), [], where);
}

test('asks, follows and plays what it has asked for', async t => {
  const page = await open(t, real);
  for (const name of ['guitar', 'piano']) await stemBox(page, name).check();
  await page.getByLabel('Style').fill('rock');
  await page.getByLabel('Tempo').fill('240');
  await page.getByLabel('Chord 1', { exact: true }).fill('Am');
  await page.getByLabel('Chord 1', { exact: true }).press('Space');
  await page.keyboard.type('F C G');
  await page.waitForFunction(() => document.getElementById('form-length').textContent === '4.0 s each');
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.waitForSelector(SAVE_ALL);
  await page.waitForFunction(() => globalThis.stemforge?.session?.job?.status === 'completed' && [...globalThis.stemforge?.session?.player.channels.values()].every(c => c.buffer));
  const job = await real.job((await page.evaluate(() => location.hash)).slice(1));
  assert.deepEqual(job.stems.map(s => s.stem_type), FOUR);
  assert.deepEqual([job.parameters.chord_progression, job.parameters.target_bpm, job.parameters.bars], [['Am', 'F', 'C', 'G'], 240, 4]);
  await page.getByRole('button', { name: 'Play' }).click();
  assert.ok(await loudest(page) > 0.05, 'the analyser hears nothing');
  assert.match(await page.locator('.clock').textContent(), /^[1-4]\.[1-4]  0:0/);
  await page.getByRole('button', { name: 'Pause' }).click();
  assert.equal(await page.locator('.bars span').count(), 4);
  assert.deepEqual(await page.locator('.ruler .chords span').allTextContents(), ['Am', 'F', 'C', 'G']);
});

test('four stems stay together to the sample: from the start, over loops, after changes', async t => {
  const page = await open(t, real, { hash: 'song', bypassCSP: true });
  await page.waitForFunction(() => globalThis.stemforge?.session?.player.channels.size === 4 && [...globalThis.stemforge?.session?.player.channels.values()].every(c => c.buffer));
  await session(page, s => s.player.setLoop(true, 0, 8)); // it must not end, however slow this machine is
  await page.getByRole('button', { name: 'Play' }).click();
  await sleep(300);
  assertTogether(await places(page));
  await page.getByLabel('Loop from bar').fill('2');
  await page.getByLabel('Loop from bar').press('Tab');
  await page.getByLabel('Loop to the end of bar').fill('2');
  await page.getByLabel('Loop to the end of bar').press('Tab');
  await sleep(5000); // more than two rounds of two seconds
  for (const p of assertTogether(await places(page))) {
    assert.ok(p.every(x => x >= 2 * 44100 && x < 4 * 44100), `not in bar 2: ${p}`);
  }
  await track(page, 'bass').getByRole('button', { name: 'Solo bass' }).click();
  await track(page, 'bass').getByRole('button', { name: 'Solo bass' }).click();
  await session(page, s => s.player.setBuffer('piano', s.player.channel('piano').buffer)); // as another take would
  await session(page, s => s.player.setLoop(true, 1, 3.5));
  await sleep(3000);
  assertTogether(await places(page));
});

test('bars, beats and chords lie where the meter has them', async t => {
  const page = await open(t, tone);
  // Of 120 quarters a minute with two chords a bar: a bar's seconds, what is at 3.01 s, where the first three chords begin.
  for (const [meter, bar, where, begins] of [['4/4', 2, '2.3', [0, 1, 2]], ['3/4', 1.5, '3.1', [0, 1, 1.5]], ['6/8', 1.5, '3.1', [0, 0.75, 1.5]]]) {
    const found = await page.evaluate(`import('./page/music.js').then(m => {
      const g = m.gridOf({ parameters: { target_bpm: 120, time_signature: '${meter}', chords_per_bar: 2 } });
      return [g.bar, m.place(g, 3.01).split(' ')[0], [0, 1, 2].map(i => m.chordTime(g, i))];
    })`);
    assert.deepEqual(found, [bar, where, begins], meter);
  }
});

test('mute, solo, gain and loop do what they say', async t => {
  const page = await open(t, real, { hash: 'song' });
  await page.waitForFunction(() => globalThis.stemforge?.session?.player.channels.size === 4 && [...globalThis.stemforge?.session?.player.channels.values()].every(c => c.buffer));
  await session(page, s => s.player.setLoop(true, 0, 4));
  await page.getByRole('button', { name: 'Play' }).click();
  await sleep(200);
  for (const name of FOUR) await page.getByLabel(`Gain of ${name}`).fill('0');
  await sleep(150);
  const all = await loudest(page);
  for (const name of FOUR) await page.getByRole('button', { name: `Mute ${name}` }).click();
  await sleep(250);
  assert.ok(await loudest(page) < 0.001, 'muted stems are heard');
  await page.getByRole('button', { name: 'Solo bass' }).click();
  await sleep(150);
  const bass = await loudest(page);
  assert.ok(bass > 0.02 && bass < all, `${bass} of ${all}`);
  await page.getByLabel('Gain of bass').fill('-30');
  await sleep(250);
  assert.ok(await loudest(page) < bass / 8);
  assert.equal(await page.getByRole('button', { name: 'Mute bass' }).getAttribute('aria-pressed'), 'true');
  // A drag over the ruler loops the bars it touches; a click goes there.
  const box = await page.getByRole('slider', { name: 'Position' }).boundingBox();
  await page.mouse.move(box.x + box.width * 0.30, box.y + 10);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.70, box.y + 10, { steps: 4 });
  await page.mouse.up();
  assert.deepEqual(await session(page, s => [s.player.loop.on, s.player.loop.from / 44100, s.player.loop.to / 44100]), [true, 2, 6]);
  await page.getByRole('button', { name: 'Pause' }).click();
  await page.mouse.click(box.x + box.width * 0.5, box.y + 10);
  assert.ok(Math.abs(await session(page, s => s.player.position()) - 4) < 0.05);
});

test('one more take of a stem is kept by the service and chosen among the others', async t => {
  const page = await open(t, real, { hash: 'song' });
  await page.waitForSelector(SAVE_ALL);
  await track(page, 'bass').getByRole('button', { name: 'Another take of bass' }).click();
  const chooser = track(page, 'bass').getByLabel('Take of bass', { exact: true });
  await chooser.waitFor();
  await page.waitForFunction(() => { const b = globalThis.stemforge?.session?.tracks.get('bass'); return b.chosen === 1 && b.takes[1].buffer; });
  const digest = async i => session(page, async (s, n) => [...new Uint8Array(await crypto.subtle.digest('SHA-256', await s.tracks.get('bass').takes[n].blob.arrayBuffer()))].join(), i);
  assert.notEqual(await digest(0), await digest(1));
  await chooser.selectOption('0');
  await page.waitForFunction(() => globalThis.stemforge?.session?.tracks.get('bass').chosen === 0);
  await page.reload();
  await track(page, 'bass').getByLabel('Take of bass', { exact: true }).waitFor(); // it survives: its job says whose it is
  assert.equal(await track(page, 'drums').getByLabel('Take of drums', { exact: true }).isHidden(), true);
});

test('the takes of one job are all there, and the chosen one is heard first', async t => {
  await real.submit('takes', ['bass'], { ...SONG, bars: 1, takes: 3 });
  const page = await open(t, real, { hash: 'takes' });
  await page.waitForSelector(SAVE_ALL);
  const stem = (await real.job('takes')).generated_stems[0];
  const file = n => n === stem.take ? 'bass' : `bass.take${n}`;
  const options = page.getByLabel('Take of bass', { exact: true }).locator('option');
  assert.deepEqual(await options.allTextContents(), [0, 1, 2].map(n => `Take ${n + 1}` + (n === stem.take ? ' ✓' : '')));
  assert.equal(await session(page, s => s.tracks.get('bass').chosen), stem.take);
  for (const n of [0, 1, 2]) {
    await page.getByLabel('Take of bass', { exact: true }).selectOption(String(n));
    await page.waitForFunction(i => { const b = globalThis.stemforge?.session?.tracks.get('bass'); return b.chosen === i && b.takes[i].blob; }, n);
    const [kept, served, lufs] = await session(page, async (s, [i, url]) => {
      const sum = async data => [...new Uint8Array(await crypto.subtle.digest('SHA-256', data))].join();
      const take = s.tracks.get('bass').takes[i];
      return [await sum(await take.blob.arrayBuffer()), await sum(await (await fetch(url)).arrayBuffer()), take.result.measured.lufs];
    }, [n, `jobs/takes/stems/${file(n)}.wav`]);
    assert.equal(kept, served);
    assert.equal(lufs, n === stem.take ? stem.measured.lufs : stem.takes.find(o => o.take === n).measured.lufs);
  }
});

test('measures that the service tells are shown', async t => {
  const page = await open(t, real, { hash: '' });
  await page.route('**/jobs/song/events', async route => {
    const job = await real.job('song'), bass = job.generated_stems[1];
    bass.measured = { bpm: 119.9, first_beat_seconds: 0.012, key: 'C major', chords: ['Am', 'F', 'Am', 'G'], held_pitch: 0.83, type: 'bass', leak: 0.03, lufs: -13.2, gain_db: -4.5, faults: [] };
    await route.fulfill({ contentType: 'text/event-stream', body: `event: completed\ndata: ${JSON.stringify(job)}\n\n` });
  });
  await page.evaluate(() => { location.hash = 'song'; });
  await page.waitForSelector(SAVE_ALL);
  const facts = page.getByRole('list', { name: 'Measured of bass' });
  await facts.waitFor();
  assert.match(await facts.textContent(), /tempo 119\.9.*key C major \(asked A minor\).*LUFS -13\.2/);
  assert.equal(await track(page, 'bass').locator('.facts .off').count(), 1);
  assert.deepEqual(await track(page, 'bass').locator('.lane .chords span').allTextContents(), ['Am', 'F', 'Am', 'G']);
  await page.waitForFunction(() => globalThis.stemforge?.session?.player.channel('bass').gain === -4.5);
  assert.equal(await page.getByLabel('Gain of bass').inputValue(), '-4.5');
});

test('a reload in mid-job goes on where the job is, and cancel stops it', async t => {
  const page = await open(t, tone);
  await page.getByLabel('Words').fill('slow:6000');
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.waitForFunction(() => globalThis.stemforge?.session?.job?.progress > 0.05);
  await page.reload();
  await page.waitForFunction(() => globalThis.stemforge?.session?.job?.progress > 0.1);
  assert.ok(await page.locator('.lane progress').first().evaluate(e => e.value) > 0);
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.waitForFunction(() => globalThis.stemforge?.session?.job?.status === 'canceled');
  assert.equal(await page.getByRole('button', { name: 'Cancel' }).isHidden(), true);
});

test('a service that is killed and comes back ends the job before our eyes', async t => {
  const server = await Server.open();
  t.after(() => server.close());
  const page = await open(t, server, { expect: refused });
  await page.getByLabel('Words').fill('slow:1500');
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.waitForFunction(() => globalThis.stemforge?.session?.job?.status === 'processing');
  await server.kill();
  await page.waitForSelector('text=The service does not answer. Trying again');
  await server.start();
  await page.waitForSelector(SAVE_ALL);
  await page.waitForFunction(() => globalThis.stemforge?.session?.job?.status === 'completed');
});

test('waiting jobs say how many are before them', async t => {
  await tone.submit('first', ['drums'], { prompt: 'slow:60000', duration_seconds: 1 });
  await tone.submit('second', ['drums'], { duration_seconds: 1 });
  await tone.submit('third', ['drums'], { duration_seconds: 1 });
  const page = await open(t, tone, { hash: 'third' });
  await page.waitForSelector('text=waits, 1 before it');
  await fetch(tone.url + 'jobs/first/cancel', { method: 'POST' });
  await page.waitForFunction(() => globalThis.stemforge?.session?.job?.status === 'completed');
});

test('each fault of the service is shown at its field, while it is typed and when it is sent', async t => {
  const page = await open(t, tone, { expect: refused });
  await page.getByLabel('Chord 1', { exact: true }).fill('Am');
  await page.getByLabel('Chord 2', { exact: true }).fill('Hm');
  await page.waitForSelector('.cell[aria-invalid=true]');
  assert.match(await page.locator('#chords-said').textContent(), /^chord 2: .*expected/);
  await page.getByLabel('Tempo').fill('5');
  await page.locator('#form').getByLabel('Key', { exact: true }).fill('P major');
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.waitForFunction(() => document.querySelectorAll('[aria-invalid=true]').length === 3);
  for (const [label, pattern] of [['Tempo', /expected 20 to 400, found 5/], ['Key', /expected/]]) {
    const input = page.locator('#form').getByLabel(label, { exact: true });
    assert.match(await page.locator('#' + await input.getAttribute('aria-describedby')).textContent(), pattern);
  }
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-invalid')), 'true');
  for (const name of ['drums', 'bass']) await stemBox(page, name).uncheck();
  await page.waitForFunction(() => document.getElementById('stems-said').textContent !== '');
  await judge(page, 'with faults');
  // Names that are pasted into one cell become cells as the service splits them.
  await page.getByLabel('Chord 2', { exact: true }).fill('');
  await page.getByLabel('Tempo').fill('100');
  await page.locator('#form').getByLabel('Key', { exact: true }).fill('');
  await stemBox(page, 'drums').check();
  await page.getByLabel('Chord 1', { exact: true }).fill('Dm7 | G7, Cmaj7');
  await page.getByLabel('Style').focus();
  await page.getByLabel('Style').fill('bossa');
  await page.waitForFunction(() => document.querySelectorAll('.cell').length === 3);
  assert.deepEqual(await page.locator('.cell').evaluateAll(list => list.map(c => c.value)), ['Dm7', 'G7', 'Cmaj7']);
});

test('the keyboard alone is enough', async t => {
  const page = await open(t, real);
  const press = async (...keys) => { for (const k of keys) await page.keyboard.press(k); };
  const focusOn = async what => {
    for (let i = 0; i < 60; i++) {
      if (await page.evaluate(w => document.activeElement.matches(w), what)) return;
      await press('Tab');
    }
    assert.fail(`Tab never comes to ${what}`);
  };
  await focusOn('[name=stem][value=drums]');
  await press('Space'); // off
  await focusOn('[name=target_bpm]');
  await page.keyboard.type('140');
  await focusOn('.cell');
  await page.keyboard.type('Am F');
  await focusOn('[name=amount]');
  await page.keyboard.type('2');
  await focusOn('[name=style]');
  await press('Enter');
  await page.waitForSelector(SAVE_ALL);
  await page.waitForFunction(() => globalThis.stemforge?.session?.job?.status === 'completed' && globalThis.stemforge?.session?.player.frames());
  const job = await page.evaluate(() => stemforge.session.job);
  assert.deepEqual([job.stems.map(s => s.stem_type), job.parameters.target_bpm, job.parameters.bars, job.parameters.chord_progression], [['bass'], 140, 2, ['Am', 'F']]);
  await press('Space');
  await page.waitForFunction(() => globalThis.stemforge?.session?.player.playing);
  await press('l', 'Digit1');
  assert.deepEqual(await session(page, s => [s.player.loop.on, s.player.channel('bass').mute]), [true, true]);
  await press('Digit1', 'Shift+Digit1', 'Space', 'Home', 'Shift+ArrowRight', 'BracketLeft');
  assert.deepEqual(await session(page, s => [s.player.playing, s.player.channel('bass').solo, Math.round(s.player.position() * 1000), Math.round(s.player.loop.from / 44.1)]), [false, true, 1714, 1714]);
  await focusOn('.ruler');
  await press('Home', 'ArrowRight');
  assert.equal(await session(page, s => Math.round(s.player.position() * 1000)), 429);
  await focusOn('a[download]');
  const [file] = await Promise.all([page.waitForEvent('download'), press('Enter')]);
  assert.equal(file.suggestedFilename(), '140bpm_bass.wav');
});

test('what is taken away is whole: a stem, the mix, all as a ZIP with its recipe', async t => {
  const page = await open(t, real, { hash: 'song' }), folder = mkdtempSync(join(tmpdir(), 'stemforge-zip-'));
  t.after(() => rmSync(folder, { recursive: true }));
  await page.waitForFunction(() => globalThis.stemforge?.session?.player.channels.size === 4 && [...globalThis.stemforge?.session?.player.channels.values()].every(c => c.buffer));
  const take = async f => {
    const [file] = await Promise.all([page.waitForEvent('download'), f()]);
    await file.saveAs(join(folder, file.suggestedFilename()));
    return file.suggestedFilename();
  };
  const stored = async name => Buffer.from(await (await fetch(`${real.url}jobs/song/stems/${name}.wav`)).arrayBuffer());
  assert.equal(await take(() => page.getByRole('link', { name: 'Save bass' }).click()), 'rock_120bpm_A-minor_bass.wav');
  assert.deepEqual(readFileSync(join(folder, 'rock_120bpm_A-minor_bass.wav')), await stored('bass'));
  // A stem can be dragged out: the browser is told a name, a type and where it is.
  const dragged = await page.getByRole('link', { name: 'Save bass' }).evaluate(a => {
    const data = new DataTransfer();
    a.dispatchEvent(new DragEvent('dragstart', { dataTransfer: data, bubbles: true }));
    return data.getData('DownloadURL');
  });
  assert.match(dragged, /^audio\/wav:rock_120bpm_A-minor_bass\.wav:blob:http/);
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

test('what was heard in a recording is told, and bars lie where it has them', async t => {
  await tone.submit('followed', ['drums'], { duration_seconds: 9 });
  await tone.done('followed');
  const page = await open(t, tone);
  await page.route('**/jobs/followed/events', async route => {
    const job = await tone.job('followed');
    Object.assign(job.generated_stems[0], { heard: { target_bpm: 120, first_bar_seconds: 0.5, key: 'A minor', chord_progression: ['Am', 'F', 'N', 'G'] } });
    await route.fulfill({ contentType: 'text/event-stream', body: `event: completed\ndata: ${JSON.stringify(job)}\n\n` });
  });
  await page.evaluate(() => { location.hash = 'followed'; });
  await page.waitForSelector('text=Heard in the recording: 120 bpm · A minor · Am F N G');
  assert.deepEqual(await session(page, s => [s.line.grid.first, s.line.grid.bar]), [0.5, 2]);
  assert.deepEqual((await page.locator('.ruler .chords span').allTextContents()).slice(0, 4), ['Am', 'F', 'N', 'G']);
});

test('a seed of 64 bits is shown, sent and kept whole', async t => {
  const page = await open(t, tone), seed = '9007199254740993';
  await page.getByLabel('Seed').fill(seed);
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.waitForSelector(SAVE_ALL);
  const id = (await page.evaluate(() => location.hash)).slice(1);
  const stored = async job => (await (await fetch(`${tone.url}jobs/${job}`)).text()).match(/"random_seed":(\d+)/)[1];
  assert.equal(await stored(id), seed);
  assert.match(await page.locator('#session .state').textContent(), new RegExp(`seed ${seed} `));
  await page.getByRole('button', { name: 'Longer' }).click();
  await page.waitForFunction(was => globalThis.stemforge?.session?.id !== was && globalThis.stemforge?.session?.job?.status === 'completed', id);
  assert.equal(await stored((await page.evaluate(() => location.hash)).slice(1)), seed);
  await page.getByRole('button', { name: 'Other chords' }).click();
  assert.equal(await page.getByLabel('Seed').inputValue(), seed);
});

test('a model is chosen where the service has several', async t => {
  const page = await open(t, tone, { expect: refused });
  assert.equal(await page.getByLabel('Model').count(), 0);
  await page.route('**/health', async route => {
    const h = await (await fetch(tone.url + 'health')).json();
    await route.fulfill({ json: { ...h, models: [{ model: 'musicgen', name: 'mini' }, { model: 'stable_audio' }] } });
  });
  let asked;
  await page.route('**/generate', async route => {
    asked = route.request().postDataJSON();
    await route.fulfill({ status: 422, contentType: 'application/problem+json', json: { title: 'no', errors: [{ pointer: '/model', detail: 'expected musicgen' }] } });
  });
  await page.reload();
  await page.getByLabel('Model').selectOption('stable_audio');
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.waitForSelector('[name=model][aria-invalid=true]');
  assert.equal(asked.model, 'stable_audio');
  assert.match(await page.locator('#f-model-said').textContent(), /^expected musicgen/);
});

test('what lies in Azure is played, through the service and by a signed link', async t => {
  const azurite = await openAzurite();
  if (!azurite) return t.skip('npm ci has not run in tests/api');
  const servers = [];
  t.after(async () => {
    await Promise.all(servers.map(s => s.close()));
    await azurite.close();
  });
  for (const STEM_DELIVERY of ['proxy', 'redirect']) {
    const server = await Server.open({ STEM_DELIVERY, AZURE_STORAGE_CONNECTION_STRING: azurite.connection });
    servers.push(server);
    await server.submit('cloud', ['drums', 'bass'], { target_bpm: 120, bars: 2 });
    await server.done('cloud');
    const page = await open(t, server), from = new Set();
    page.on('response', r => { if (r.ok() && /\.wav/.test(r.url())) from.add(new URL(r.url()).origin); });
    await page.evaluate(() => { location.hash = 'cloud'; });
    await page.waitForFunction(() => globalThis.stemforge?.session?.player.channels.size === 2 && [...globalThis.stemforge?.session?.player.channels.values()].every(c => c.buffer));
    await page.getByRole('button', { name: 'Play' }).click();
    assert.ok(await loudest(page) > 0.05, `${STEM_DELIVERY}: nothing is heard`);
    assert.deepEqual([...from], [STEM_DELIVERY === 'proxy' ? new URL(server.url).origin : azurite.origin]);
  }
});

test('again, longer and other chords are a click each; history finds them', async t => {
  const page = await open(t, tone);
  await page.getByLabel('Style').fill('dub techno');
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.waitForSelector(SAVE_ALL);
  const first = (await page.evaluate(() => location.hash)).slice(1);
  await page.getByRole('button', { name: 'Longer' }).click();
  await page.waitForFunction(id => globalThis.stemforge?.session?.id !== id && globalThis.stemforge?.session?.job?.status === 'completed', first);
  const [a, b] = [await tone.job(first), await page.evaluate(() => stemforge.session.job)];
  assert.deepEqual([b.parameters.bars, b.random_seed], [2 * a.parameters.bars, a.random_seed]);
  await page.getByRole('button', { name: 'Again' }).click();
  await page.waitForFunction(id => globalThis.stemforge?.session?.id !== id && globalThis.stemforge?.session?.job?.status === 'completed', b.generation_request_id);
  assert.equal(await page.evaluate(() => stemforge.session.job.parameters.bars), 8);
  await page.getByRole('button', { name: 'Other chords' }).click();
  assert.ok(await page.evaluate(() => document.activeElement.matches('.cell')));
  assert.equal(await page.getByLabel('Seed').inputValue(), String(await page.evaluate(() => stemforge.session.job.random_seed)));
  await page.getByRole('button', { name: 'History' }).click();
  await page.getByLabel('Search in history').fill('TECHNO');
  await page.waitForFunction(() => document.querySelectorAll('#jobs a').length === 3);
  await page.locator(`#jobs a[href="#${first}"]`).click();
  await page.waitForFunction(id => globalThis.stemforge?.session?.id === id, first);
  await page.getByLabel('Search in history').fill('polka');
  await page.waitForSelector('text=Nothing has these words.');
});

test('nothing that a job holds runs or becomes markup', async t => {
  const bad = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>';
  await tone.submit('hostile', ['drums'], { style: bad, prompt: `fail ${bad}`, key: 'A minor', duration_seconds: 1, [bad]: 1 });
  await tone.done('hostile');
  const page = await open(t, tone, { hash: 'hostile' });
  await page.waitForSelector('text=the tone broke');
  await page.route('**/jobs/hostile/events', async route => {
    const job = { ...await tone.job('hostile'), error_message: bad, warnings: [{ code: bad, pointer: bad, detail: bad }], target_stems: [bad] };
    await route.fulfill({ contentType: 'text/event-stream', body: `event: failed\ndata: ${JSON.stringify(job)}\n\n` });
  });
  await page.reload();
  await page.waitForFunction(text => document.querySelector('#session .fault')?.textContent === text, bad);
  assert.equal(await page.locator('.warnings li').first().textContent(), bad);
  await page.getByRole('button', { name: 'History' }).click();
  await page.waitForSelector('#jobs a strong');
  await page.getByRole('button', { name: 'Other chords' }).click();
  assert.equal(await page.getByLabel('Style').inputValue(), bad);
  await page.evaluate(() => { location.hash = '"><img src=x onerror=window.hit=1>'; });
  await sleep(200);
  assert.deepEqual(await page.evaluate(() => [window.hit, document.querySelectorAll('img[src=x], script:not([src])').length]), [undefined, 0]);
});

test('a key is asked for, kept in memory alone unless the user says for this tab', async t => {
  const server = await Server.open({ API_KEYS: 'open-sesame' });
  t.after(() => server.close());
  const page = await open(t, server, { expect: refused });
  const dialog = page.getByRole('dialog', { name: 'API key' });
  const enter = async (key, keep) => {
    await dialog.waitFor();
    await dialog.getByLabel('Key', { exact: true }).fill(key);
    if (keep) await dialog.getByLabel('Keep it for this tab').check();
    await dialog.getByLabel('Key', { exact: true }).press('Enter');
  };
  await enter('wrong');
  await enter('open-sesame');
  await page.waitForSelector('text=Nothing yet.', { state: 'attached' });
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.waitForSelector(SAVE_ALL);
  assert.deepEqual(await page.evaluate(() => [Object.values(sessionStorage), Object.values(localStorage), document.cookie]), [[], [], '']);
  await page.reload();
  await enter('open-sesame', true);
  await page.waitForSelector(SAVE_ALL);
  await page.reload();
  await page.waitForSelector(SAVE_ALL);
  assert.equal(await dialog.isHidden(), true);
});

test('axe finds no violation, and the pictures are taken', async t => {
  for (const [width, height] of [[1280, 860], [390, 844]]) {
    for (const colorScheme of ['dark', 'light']) {
      const page = await open(t, real, { hash: 'song', viewport: { width, height }, colorScheme });
      await page.waitForSelector(SAVE_ALL);
      await page.waitForFunction(() => globalThis.stemforge?.session?.player.channels.size === 4 && [...globalThis.stemforge?.session?.player.channels.values()].every(c => c.buffer));
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
  }));
  assert.ok(seen.bytes < 150000, `${seen.bytes} bytes`);
  const opened = await page.evaluate(async () => {
    const start = performance.now();
    location.hash = 'long';
    const all = () => stemforge.session?.player.channels.size === 4 && [...stemforge.session.tracks.values()].every(x => x.peaks && stemforge.session.player.channel(x.name).buffer);
    while (!all()) await new Promise(requestAnimationFrame);
    return performance.now() - start;
  });
  console.log(`page: first paint ${Math.round(seen.paint)} ms, ${seen.bytes} bytes in all, four stems of 60 s opened in ${Math.round(opened)} ms`);
});
