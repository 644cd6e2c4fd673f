// track.js - one stem on the line of time: how it is mixed, how it looks, what was asked and what was got.
import { el, button, say } from './dom.js';
import { stem } from './api.js';
import { fileName } from './music.js';

function slider(label, unit, props, oninput) {
  const input = el('input', { type: 'range', 'aria-label': label, title: label, ...props });
  const tell = () => input.setAttribute('aria-valuetext', `${Number(input.value).toFixed(unit === 'dB' ? 1 : 2)}${unit && ' ' + unit}`);
  input.addEventListener('input', () => { tell(); oninput(Number(input.value)); });
  input.addEventListener('dblclick', () => { input.value = props.home ?? 0; tell(); oninput(Number(input.value)); });
  tell();
  return input;
}

// --- what was got: any member of `measured`, beside what was asked

const NAMES = { bpm: 'tempo', first_beat_seconds: 'first beat', lufs: 'LUFS', type: 'heard as', held_pitch: 'held pitch' };
const ELSEWHERE = ['chords', 'gain_db']; // under the wave, and on the slider
const UNITS = { first_beat_seconds: ' s' };
const text = v => typeof v === 'number' ? String(Math.round(v * 100) / 100) : Array.isArray(v) ? v.map(text).join(' ') :
  v && typeof v === 'object' ? Object.entries(v).map(([k, x]) => `${k} ${text(x)}`).join(', ') : String(v);

const differ = (v, want) => text(v).toLowerCase() !== text(want).toLowerCase();

function facts(job, name, measured) {
  if (!measured || typeof measured !== 'object') return [];
  const p = job.parameters || {};
  const asked = { bpm: p.target_bpm, key: p.key, type: name };
  const other = { bpm: (v, want) => Math.abs(v / want - 1) > 0.02, key: differ, type: differ, faults: () => true };
  return Object.entries(measured).filter(([k, v]) => v !== null && v !== '' && v.length !== 0 && !ELSEWHERE.includes(k)).map(([k, v]) => {
    const want = asked[k], off = (want || k === 'faults') && other[k]?.(v, want);
    return el('li', { class: off ? 'off' : '' }, (NAMES[k] || k.replace(/_/g, ' ')) + ' ', el('b', {}, text(v) + (UNITS[k] || '')), want && off ? ` (asked ${text(want)})` : '');
  });
}

// --- pictures

function drawWave(canvas, peaks) {
  const width = canvas.width = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio)), height = canvas.height = Math.max(1, Math.round(canvas.clientHeight * devicePixelRatio));
  const g = canvas.getContext('2d'), n = peaks.length, mid = height / 2;
  g.fillStyle = getComputedStyle(canvas).color;
  for (let x = 0; x < width; x++) {
    let low = 0, high = 0;
    for (let i = Math.floor(x * n / width); i <= Math.min(n - 1, Math.floor((x + 1) * n / width)); i++) {
      low = Math.min(low, peaks.data[2 * i]);
      high = Math.max(high, peaks.data[2 * i + 1]);
    }
    const top = mid - high / 128 * mid, bottom = mid - low / 128 * mid;
    g.fillRect(x, top, 1, Math.max(1, bottom - top));
  }
}

// In place, decimation in time; re and im have 2^k values.
function fft(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) [re[i], re[j]] = [re[j], re[i]];
  }
  for (let len = 2; len <= n; len <<= 1) {
    for (let k = 0; k < len / 2; k++) {
      const wr = Math.cos(-2 * Math.PI * k / len), wi = Math.sin(-2 * Math.PI * k / len);
      for (let i = k; i < n; i += len) {
        const j = i + len / 2, a = re[j] * wr - im[j] * wi, b = re[j] * wi + im[j] * wr;
        re[j] = re[i] - a; im[j] = im[i] - b;
        re[i] += a; im[i] += b;
      }
    }
  }
}

// 40 Hz to 16 kHz, equal steps of pitch; 70 dB.
function drawSpectrum(canvas, buffer) {
  const N = 2048, width = canvas.width = Math.min(1200, Math.max(1, canvas.clientWidth)), height = canvas.height = Math.max(1, canvas.clientHeight);
  const g = canvas.getContext('2d'), image = g.createImageData(width, height), x = buffer.getChannelData(0);
  const tint = getComputedStyle(canvas).borderTopColor.match(/[\d.]+/g).slice(0, 3).map(Number);
  const window = Float32Array.from({ length: N }, (_, i) => 0.5 - 0.5 * Math.cos(2 * Math.PI * i / N));
  for (let c = 0; c < width; c++) {
    const re = new Float32Array(N), im = new Float32Array(N), start = Math.round((c + 0.5) * x.length / width) - N / 2;
    for (let i = 0; i < N; i++) re[i] = (x[start + i] || 0) * window[i];
    fft(re, im);
    for (let y = 0; y < height; y++) {
      const bin = 40 * (16000 / 40) ** (1 - y / height) / buffer.sampleRate * N, k = Math.floor(bin);
      const power = Math.max(re[k] ** 2 + im[k] ** 2, re[k + 1] ** 2 + im[k + 1] ** 2);
      const v = Math.min(1, Math.max(0, 1 + (10 * Math.log10(power + 1e-12) - 48) / 70));
      image.data.set([...tint, 255 * v ** 1.6], 4 * (y * width + c));
    }
  }
  g.putImageData(image, 0, 0);
}

// --- the row

export class Track {
  constructor(name, player, session) {
    Object.assign(this, { name, player, session, takes: [], chosen: -1, peaks: null, blob: null, spectrum: false });
    player.channel(name);
    this.mute = button('M', () => player.set(name, { mute: !player.channel(name).mute }), { class: 'toggle', 'aria-label': `Mute ${name}`, title: 'Mute' });
    this.solo = button('S', () => player.set(name, { solo: !player.channel(name).solo }), { class: 'toggle', 'aria-label': `Solo ${name}`, title: 'Solo' });
    this.gain = slider(`Gain of ${name}`, 'dB', { min: -30, max: 12, step: 0.5, value: 0 }, v => player.set(name, { gain: v }));
    this.pan = slider(`Pan of ${name}`, '', { min: -1, max: 1, step: 0.05, value: 0 }, v => player.set(name, { pan: v }));
    this.take = el('select', { 'aria-label': `Take of ${name}`, hidden: true, onchange: () => this.choose(Number(this.take.value)) });
    this.again = button('+ Take', () => session.again(this.name), { class: 'small', title: 'Another take of this one', 'aria-label': `Another take of ${name}` });
    this.look = button('Spectrum', () => this.flip(), { class: 'small', 'aria-pressed': 'false', 'aria-label': `Spectrum of ${name}`, hidden: true });
    this.save = el('a', { class: 'small as-button', hidden: true, draggable: true, title: 'Save, or drag it into your project', 'aria-label': `Save ${name}` }, 'Save');
    this.save.addEventListener('dragstart', ev => ev.dataTransfer.setData('DownloadURL', `audio/wav:${this.save.download}:${this.save.href}`));
    this.canvas = el('canvas', { 'aria-hidden': 'true' });
    this.bar = el('progress', { max: 1, value: 0, 'aria-label': `Progress of ${name}` });
    this.note = el('span', { class: 'note' });
    this.heard = el('div', { class: 'chords', role: 'img' });
    this.facts = el('ul', { class: 'facts', 'aria-label': `Measured of ${name}` });
    this.element = el('section', { class: 'track', 'aria-label': name },
      el('div', { class: 'head' },
        el('div', { class: 'row' }, el('h3', {}, name), this.take, this.mute, this.solo),
        el('div', { class: 'row mixer' }, el('span', { 'aria-hidden': 'true' }, 'dB'), this.gain, el('span', { 'aria-hidden': 'true' }, 'pan'), this.pan),
        el('div', { class: 'row' }, this.again, this.look, this.save)),
      el('div', { class: 'lane' }, this.canvas, this.heard, this.bar, this.note),
      this.facts);
  }

  settle() {
    const c = this.player.channel(this.name);
    this.mute.setAttribute('aria-pressed', c.mute);
    this.solo.setAttribute('aria-pressed', c.solo);
    this.element.classList.toggle('silent', !this.player.heard(c));
  }

  // state: the stem of the job, while it is made.
  progress(state, job) {
    const done = this.takes.length > 0;
    this.bar.hidden = done || !['queued', 'processing'].includes(state.status);
    this.bar.value = state.progress;
    if (!done) this.note.textContent = { queued: 'waits', processing: `${Math.round(state.progress * 100)} %`, completed: 'loading …' }[state.status] || state.status;
    this.again.disabled = job.status === 'queued';
  }

  // list: {label, job, file, result}. The newest is chosen when a take was asked for here.
  setTakes(list, newest) {
    const more = list.length > this.takes.length, first = !this.takes.length;
    this.takes = list;
    this.take.hidden = list.length < 2;
    if (more) this.take.replaceChildren(...list.map((t, i) => el('option', { value: i }, t.label)));
    if (first && list.length) this.choose(Math.max(0, list.findIndex(t => t.chosen)));
    else if (more && newest) this.choose(list.length - 1);
    else this.take.value = this.chosen;
    this.tell();
  }

  tell() {
    const t = this.takes[this.chosen];
    if (!t) return;
    const list = Array.isArray(t.result.measured?.chords) ? t.result.measured.chords.map(text) : [];
    this.facts.replaceChildren(...facts(t.job, this.name, t.result.measured));
    this.heard.setAttribute('aria-label', `Chords heard in ${this.name}: ${list.join(' ') || 'none'}`);
    this.session.line.spread(this.heard, list);
  }

  async choose(i) {
    const t = this.takes[this.chosen = i], id = t.job.generation_request_id;
    this.take.value = i;
    this.tell();
    this.note.textContent = 'loading …';
    try {
      const drawn = stem(id, t.file, 'peaks').then(r => r.json()).then(p => { if (this.takes[this.chosen] === t) { this.peaks = p; this.draw(); } });
      t.blob ||= await (await stem(id, t.file, 'wav')).blob();
      t.buffer ||= await this.player.decode(await t.blob.arrayBuffer());
      await drawn;
      if (this.takes[this.chosen] !== t) return;
      this.note.textContent = '';
      this.ready(t);
    } catch (e) {
      this.note.textContent = 'The sound cannot be loaded: ' + e.message;
    }
  }

  ready(t) {
    const gain = t.result.measured?.gain_db; // brings stems into balance
    if (typeof gain === 'number' && !t.balanced) {
      t.balanced = true; // what the user moves afterwards stays
      this.session.balanced();
      this.gain.value = gain;
      this.gain.dispatchEvent(new Event('input'));
    }
    this.player.setBuffer(this.name, t.buffer);
    if (this.save.href) URL.revokeObjectURL(this.save.href);
    this.save.href = URL.createObjectURL(t.blob);
    this.save.download = fileName(t.job, this.name) + '.wav';
    this.save.hidden = this.look.hidden = false;
    this.draw();
    this.session.loaded();
    say(`${this.name} is there`);
  }

  flip() {
    this.spectrum = !this.spectrum;
    this.look.setAttribute('aria-pressed', this.spectrum);
    this.draw();
  }

  draw() {
    const t = this.takes[this.chosen];
    this.element.classList.toggle('tall', this.spectrum);
    if (this.spectrum && t?.buffer) drawSpectrum(this.canvas, t.buffer);
    else if (this.peaks) drawWave(this.canvas, this.peaks);
  }
}
