// session.js - the job that is open: followed to its end, heard, and taken away.
import { el, $, button, say } from './dom.js';
import { ask, ended, follow, get, post } from './api.js';
import { chordsOf, fileName, gridOf, heardOf, newId, place, takeId, takeOf, titleOf } from './music.js';
import { save, wavOf, zipOf } from './files.js';
import { Player, RATE } from './player.js';
import { Timeline } from './timeline.js';
import { Track } from './track.js';

const TAKES_SHOWN = 50; // jobs that are looked at for more takes of this one

// The takes of a stem in one job, by their numbers: what the job gives as the stem is the one that was
// chosen, and `takes` are the others.
function takesOf(job, result) {
  const others = result.takes ?? [];
  const take = (r, number, chosen) => ({ job, result: r, number, chosen, best: chosen && others.length > 0,
    file: r.blob_url.split('?')[0].split('/').pop().replace(/\.wav$/, '') });
  const all = [take(result, result.take ?? 0, true), ...others.map(t => take(t, t.take, false))];
  return all.sort((a, b) => a.number - b.number);
}

export class Session {
  // on: {changed(job), fill(job, seed)} of the page.
  constructor(id, on) {
    Object.assign(this, { id, on, job: null, tracks: new Map(), more: new Map(), wanted: null, stop: new AbortController() });
    this.player = new Player();
    this.line = new Timeline(this.player);
    this.player.onchange = () => this.settle();
    this.build();
  }

  // --- what is seen

  build() {
    const p = this.player, number = (label, props) => el('input', { type: 'number', min: 1, step: 1, 'aria-label': label, onchange: () => this.loopBars(), ...props });
    this.title = el('h3', { class: 'title' });
    this.state = el('p', { class: 'state', role: 'status' });
    this.heard = el('p', { class: 'hint' });
    this.problem = el('p', { class: 'fault', role: 'alert' });
    this.warned = el('ul', { class: 'warnings', 'aria-label': 'Warnings' });
    this.cancel = button('Cancel', () => post(`jobs/${encodeURIComponent(this.id)}/cancel`).catch(e => this.fail(e)));
    this.actions = el('div', { class: 'row actions' }, this.cancel,
      button('Again', () => this.make({ random_seed: undefined }), { title: 'The same with another seed' }),
      button('Longer', () => this.longer(), { title: 'The same, twice as long' }),
      button('Other chords', () => this.on.fill(this.job, true), { title: 'The same seed; type other chords' }),
      ...this.grid = [button('Click', () => this.saveGrid('click', 'wav'), { title: 'A click on each beat, as a WAV' }),
        button('MIDI', () => this.saveGrid('chords', 'mid'), { title: 'Beats and chords as a MIDI file' })],
      this.mix = button('Save mix', () => this.saveMix(), { disabled: true, title: 'As it is heard; the loop alone when it is on' }),
      this.zip = button('Save all', () => this.saveAll(), { disabled: true, title: 'All stems and recipe.json as a ZIP' }));
    this.stems = el('div', { class: 'stems' });
    this.scroller = el('div', { class: 'scroller', tabIndex: -1 }, el('div', { class: 'wide' },
      el('div', { class: 'track time' }, el('div', { class: 'head' }), this.line.ruler), this.stems, this.line.shade, this.line.head));
    this.playButton = button('▶', () => p.toggle(), { class: 'main play', 'aria-label': 'Play' });
    this.loopButton = button('Loop', () => p.setLoop(!p.loop.on, p.loop.from / RATE, p.loop.to / RATE), { 'aria-pressed': 'false' });
    this.fromBar = number('Loop from bar', { value: 1 });
    this.toBar = number('Loop to the end of bar', { value: 1 });
    this.clock = el('output', { class: 'clock', 'aria-label': 'Position' });
    this.meter = el('meter', { min: -60, max: 0, high: -1, value: -60, 'aria-label': 'Level' });
    const volume = this.volume = el('input', { type: 'range', min: -40, max: 6, step: 0.5, value: -6, 'aria-label': 'Volume', title: 'Volume', oninput: ev => p.setVolume(Number(ev.target.value)) });
    const zoom = el('input', { type: 'range', min: 1, max: 8, step: 0.25, value: 1, 'aria-label': 'Zoom', title: 'Zoom', oninput: ev => { this.scroller.style.setProperty('--zoom', ev.target.value); this.draw(); } });
    this.transport = el('div', { class: 'transport', role: 'group', 'aria-label': 'Transport' }, this.playButton, this.clock,
      this.loopButton, el('span', { class: 'row' }, this.fromBar, '–', this.toBar),
      el('span', { class: 'row grow zoom' }, el('span', { 'aria-hidden': 'true' }, 'Zoom'), zoom),
      el('span', { class: 'row' }, el('span', { 'aria-hidden': 'true' }, 'Level'), volume, this.meter));
    $('session').replaceChildren(this.title, this.state, this.heard, this.problem, this.warned, this.actions, this.scroller, this.transport);
    this.resize = new ResizeObserver(() => this.draw());
    this.resize.observe(this.stems);
    const turn = () => {
      if (this.stop.signal.aborted) return;
      this.tick();
      requestAnimationFrame(turn);
    };
    requestAnimationFrame(turn);
  }

  tick() {
    this.player.tick();
    this.line.tick();
    const text = place(this.line.grid, this.player.position());
    if (this.clock.value !== text) this.clock.value = text;
    this.meter.value = Math.max(-60, this.player.level());
  }

  settle() {
    const p = this.player;
    for (const t of this.tracks.values()) t.settle();
    this.playButton.textContent = p.playing ? '❚❚' : '▶';
    this.playButton.setAttribute('aria-label', p.playing ? 'Pause' : 'Play');
    this.playButton.disabled = !p.frames();
    this.loopButton.setAttribute('aria-pressed', p.loop.on);
    const { first, bar } = this.line.grid;
    this.fromBar.value = Math.round((p.loop.from / RATE - first) / bar) + 1;
    this.toBar.value = Math.max(1, Math.round((p.loop.to / RATE - first) / bar));
    this.line.showLoop();
  }

  draw() { for (const t of this.tracks.values()) t.draw(); }

  // --- the job

  async open() {
    try {
      await follow(this.id, job => this.told(job), this.stop.signal);
    } catch (e) {
      this.fail(e);
    }
  }

  fail(e) { this.problem.textContent = e.message; }

  told(job) {
    if (this.stop.signal.aborted) return;
    if (!job) {
      this.state.textContent = 'The service does not answer. Trying again …';
      return;
    }
    const fresh = !this.job, was = this.job?.status;
    this.job = job;
    this.describe();
    for (const s of job.stems) {
      if (!this.tracks.has(s.stem_type)) this.addTrack(s.stem_type);
      this.tracks.get(s.stem_type).progress(s, job);
    }
    this.showTakes();
    if (fresh) this.findTakes();
    if (was !== job.status) this.on.changed(job);
    if (was && was !== job.status && ended(job)) say(`${titleOf(job)}: ${job.status}`);
  }

  describe() {
    const j = this.job, left = j.estimated_seconds_left;
    this.title.textContent = titleOf(j);
    document.title = titleOf(j) + ' - stemforge';
    const about = left > 0 ? `, about ${Math.ceil(left)} s left` : '';
    const said = {
      queued: `waits${j.position > 0 ? `, ${j.position} before it` : ''}${about}`,
      processing: `${Math.round(j.progress * 100)} %${about}`,
      completed: `seed ${j.random_seed} · made in ${(j.processing_time_seconds || 0).toFixed(1)} s`,
    };
    this.state.textContent = said[j.status] || j.status;
    this.problem.textContent = j.error_message || '';
    const h = heardOf(j), heard = !h ? [] : [h.target_bpm && `${Math.round(h.target_bpm * 10) / 10} bpm`, h.key, (h.chord_progression || []).join(' ')];
    this.heard.textContent = h ? 'Heard in the recording: ' + heard.filter(Boolean).join(' · ') : '';
    this.warned.replaceChildren(...(j.warnings || []).map(w => el('li', {}, w.detail)));
    this.cancel.hidden = ended(j);
    for (const b of this.grid) b.hidden = !(j.parameters?.target_bpm > 0); // beats that are not asked for are not known
    this.cancel.disabled = j.cancel_requested === true;
    const p = j.parameters || {}, grid = gridOf(j);
    const asked = p.duration_seconds || (p.bars ? p.bars * grid.bar : 10);
    const seconds = Math.max(this.player.seconds(), ...j.generated_stems.map(s => s.duration_seconds || 0)) || asked;
    this.stems.style.setProperty('--bar', `${100 * grid.bar / seconds}%`);
    this.line.show(grid, seconds, chordsOf(h || p), p.sections);
  }

  addTrack(name) {
    const t = new Track(name, this.player, this);
    this.tracks.set(name, t);
    this.stems.append(t.element);
    t.settle();
  }

  // The takes of each stem: those of this job, then those of the jobs that were made for one more.
  showTakes() {
    for (const [name, track] of this.tracks) {
      const list = [];
      for (const job of [this.job, ...this.more.values()]) {
        const result = job.generated_stems?.find(s => s.stem_type === name);
        if (result) list.push(...takesOf(job, result));
      }
      list.forEach((t, i) => { t.label = `Take ${i + 1}` + (t.best ? ' ✓' : ''); });
      const kept = list.map(t => track.takes.find(o => o.file === t.file && o.job.generation_request_id === t.job.generation_request_id) || t);
      kept.forEach((t, i) => Object.assign(t, { label: list[i].label, job: list[i].job, result: list[i].result }));
      if (kept.length) track.setTakes(kept, this.wanted === name);
      if (kept.length > 1 && this.wanted === name) this.wanted = null;
    }
  }

  // Takes that were asked for before this page was opened.
  async findTakes() {
    try {
      const list = await get(`jobs?q=${encodeURIComponent(this.id + '.again-')}&limit=${TAKES_SHOWN}`);
      for (const line of list.jobs.reverse()) if (takeOf(line.generation_request_id)?.root === this.id) this.followTake(line.generation_request_id);
    } catch { /* they are in the history too */ }
  }

  followTake(id) {
    const name = takeOf(id).stem, track = this.tracks.get(name);
    follow(id, job => {
      if (!job || !track) return;
      track.again.textContent = ended(job) ? '+ Take' : `${Math.round(job.progress * 100)} %`;
      if (job.status === 'failed') track.note.textContent = job.error_message || 'failed';
      this.more.set(id, job);
      this.showTakes();
    }, this.stop.signal).catch(e => this.fail(e));
  }

  // Stems that are brought into balance are far from full scale together: no headroom is needed.
  balanced() {
    if (this.inBalance) return;
    this.inBalance = true;
    this.volume.value = 0;
    this.player.setVolume(0);
  }

  // A sound has arrived.
  loaded() {
    this.describe();
    if (!this.player.loop.to) this.player.setLoop(this.job.parameters?.loop === true, 0, this.line.seconds);
    else if (this.player.loop.to > this.player.frames()) this.player.setLoop(this.player.loop.on, this.player.loop.from / RATE, this.player.seconds());
    this.mix.disabled = this.zip.disabled = false;
    this.settle();
  }

  loopBars() {
    const { first, bar } = this.line.grid, n = this.line.count();
    const from = Math.min(Math.max(1, Number(this.fromBar.value) || 1), n), to = Math.min(Math.max(from, Number(this.toBar.value) || from), n);
    this.player.setLoop(true, first + (from - 1) * bar, Math.min(first + to * bar, this.line.seconds));
  }

  // The loop begins or ends at the bar that plays.
  loopEdge(end) {
    const { first, bar } = this.line.grid, here = first + Math.floor((this.player.position() - first) / bar + 1e-6) * bar, { from, to } = this.player.loop;
    if (end) this.player.setLoop(true, Math.min(from / RATE, here), Math.min(here + bar, this.line.seconds));
    else this.player.setLoop(true, here, Math.max(to / RATE, here + bar));
  }

  // --- more of it

  async make(change, stems) {
    const parameters = { ...this.job.parameters, ...change };
    for (const k of Object.keys(parameters)) if (parameters[k] === undefined) delete parameters[k];
    const body = { generation_request_id: stems ? takeId(this.id, stems[0]) : newId(), audio_file_id: this.job.audio_file_id, model: this.job.model,
      target_stems: stems || this.job.stems.map(s => s.stem_type), parameters };
    try {
      await post('generate', body);
      if (!stems) location.hash = body.generation_request_id;
      return body.generation_request_id;
    } catch (e) {
      this.fail(e);
      return null;
    }
  }

  longer() {
    const p = this.job.parameters || {};
    this.make(p.bars ? { bars: p.bars * 2, random_seed: this.job.random_seed } : { duration_seconds: (p.duration_seconds || 10) * 2, random_seed: this.job.random_seed });
  }

  async again(stem) {
    this.wanted = stem;
    const id = await this.make({ random_seed: undefined, takes: undefined }, [stem]);
    if (id) this.followTake(id);
  }

  // --- taking away

  // What was asked for, as a file for an editor: it is there before the stems are.
  async saveGrid(what, end) {
    try {
      save(await (await ask(`jobs/${this.id}/${what}.${end}`)).blob(), `${fileName(this.job, what)}.${end}`);
    } catch (e) {
      this.fail(e);
    }
  }

  async saveMix() {
    const { blob, scale } = wavOf(await this.player.render());
    save(blob, fileName(this.job, this.player.looping() ? 'mix loop' : 'mix') + '.wav');
    if (scale < 1) say(`The mix was ${(-20 * Math.log10(scale)).toFixed(1)} dB too loud and was brought down`);
  }

  async saveAll() {
    const files = [...this.tracks.values()].filter(t => t.takes[t.chosen]?.blob).map(t => [fileName(this.job, t.name) + '.wav', t.takes[t.chosen].blob]);
    try {
      files.push(['recipe.json', await (await ask(`jobs/${this.id}/recipe.json`)).text()]);
    } catch { /* the stems are worth having without */ }
    save(await zipOf(files), (fileName(this.job, 'stems')) + '.zip');
  }

  close() {
    this.stop.abort();
    this.resize.disconnect();
    this.player.close();
    for (const t of this.tracks.values()) if (t.save.href) URL.revokeObjectURL(t.save.href);
  }
}
