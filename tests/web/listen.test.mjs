// listen.test.mjs - what is heard and seen of a job: stems on one clock, takes, measures, both stores.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FOUR, SAVE_ALL, SONG, allLoaded, loudest, open, real, session, tone, track } from './page.mjs';
import { Server, openAzurite, sleep } from './server.mjs';

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

test('four stems stay together to the sample: from the start, over loops, after changes', async t => {
  const page = await open(t, real, { hash: 'song', bypassCSP: true });
  await allLoaded(page);
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
  await allLoaded(page);
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
    await allLoaded(page, 2);
    await page.getByRole('button', { name: 'Play' }).click();
    assert.ok(await loudest(page) > 0.05, `${STEM_DELIVERY}: nothing is heard`);
    assert.deepEqual([...from], [STEM_DELIVERY === 'proxy' ? new URL(server.url).origin : azurite.origin]);
  }
});
