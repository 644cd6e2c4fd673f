// ask.test.mjs - the page is asked, and follows: fields and faults, models, keys, reloads, a service that is killed.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { FOUR, SAVE_ALL, judge, loudest, open, real, refused, session, stemBox, tone, track } from './page.mjs';
import { ROOT, Server, sleep } from './server.mjs';

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

test('again, longer, one more take and other chords keep the model that was chosen', async t => {
  const server = await Server.open({ real: true, STABLE_AUDIO_MODEL: join(ROOT, 'tests/parity/sa-f32/model') });
  const page = await open(t, server), here = async () => (await page.evaluate(() => location.hash)).slice(1);
  t.after(() => server.close()); // after the page, which still asks it
  const next = was => page.waitForFunction(id => globalThis.stemforge?.session?.id !== id && globalThis.stemforge?.session?.job?.status === 'completed', was);
  await stemBox(page, 'bass').uncheck();
  await page.getByLabel('Length in').selectOption('duration_seconds');
  await page.getByLabel('Length', { exact: true }).fill('0.5'); // twice that is what this small model can
  await page.getByLabel('Model').selectOption('stable_audio');
  await page.getByRole('button', { name: 'Generate' }).click();
  await next('');
  const made = [await here()];
  for (const name of ['Again', 'Longer']) {
    await page.getByRole('button', { name, exact: true }).click();
    await next(made.at(-1));
    made.push(await here());
  }
  await page.getByRole('button', { name: 'Another take of drums' }).click();
  await track(page, 'drums').getByLabel('Take of drums', { exact: true }).waitFor();
  made.push(await session(page, s => [...s.more.keys()][0]));
  assert.deepEqual(await Promise.all(made.map(async id => (await server.job(id)).model)), Array(4).fill('stable_audio'));
  await page.reload();
  await page.waitForSelector(SAVE_ALL);
  assert.equal(await page.getByLabel('Model').inputValue(), 'musicgen'); // the form is new
  await page.getByRole('button', { name: 'Other chords' }).click();
  assert.equal(await page.getByLabel('Model').inputValue(), 'stable_audio');
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
