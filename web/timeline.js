// timeline.js - the line of time over all stems: bars, chords, the loop's part, where it plays.
import { el } from './dom.js';
import { barAt, chordTime, place, snapBar } from './music.js';

const at = (t, seconds) => `${100 * t / seconds}%`;

export class Timeline {
  // player: what it shows and steers.
  constructor(player) {
    this.player = player;
    this.grid = { bpm: 0, beats: 4, beat: 1, bar: 4, first: 0, per: 1 };
    this.seconds = 1;
    this.bars = el('div', { class: 'bars', 'aria-hidden': 'true' });
    this.chords = el('div', { class: 'chords', 'aria-hidden': 'true' });
    this.part = el('div', { class: 'part', hidden: true });
    this.ruler = el('div', { class: 'ruler', tabIndex: 0, role: 'slider', 'aria-label': 'Position', 'aria-valuemin': 0 }, this.part, this.bars, this.chords);
    this.shade = el('div', { class: 'shade', 'aria-hidden': 'true' });
    this.head = el('div', { class: 'playhead', 'aria-hidden': 'true' });
    this.ruler.addEventListener('pointerdown', ev => this.drag(ev));
    this.ruler.addEventListener('keydown', ev => this.key(ev));
  }

  // A click goes there; a drag marks the bars to loop.
  drag(ev) {
    const box = this.ruler.getBoundingClientRect(), time = x => (x - box.left) / box.width * this.seconds;
    const from = time(ev.clientX);
    let moved = false;
    this.ruler.setPointerCapture(ev.pointerId);
    const move = e => {
      moved ||= Math.abs(e.clientX - ev.clientX) > 6;
      if (moved) this.mark(Math.min(from, time(e.clientX)), Math.max(from, time(e.clientX)));
    };
    const up = () => {
      this.ruler.removeEventListener('pointermove', move);
      if (!moved) this.player.seek(from);
    };
    this.ruler.addEventListener('pointermove', move);
    this.ruler.addEventListener('pointerup', up, { once: true });
    this.ruler.addEventListener('pointercancel', up, { once: true });
  }

  // Loops the whole bars that from and to lie in.
  mark(from, to) {
    const { first, bar } = this.grid, a = Math.max(0, first + Math.floor((from - first) / bar + 1e-6) * bar);
    this.player.setLoop(true, a, Math.min(this.seconds, Math.max(snapBar(this.grid, to), a + bar)));
  }

  key(ev) {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: this.grid.beats, PageDown: -this.grid.beats }[ev.key];
    if (ev.key === 'Home') this.player.seek(0);
    else if (ev.key === 'End') this.player.seek(this.seconds);
    else if (step) this.step(step * (ev.shiftKey ? this.grid.beats : 1));
    else return;
    ev.preventDefault();
    ev.stopPropagation();
  }

  // So many beats on, from the beat that sounds.
  step(beats) {
    const { first, beat } = this.grid;
    this.player.seek(first + (Math.round((this.player.position() - first) / beat) + beats) * beat);
  }

  count() { return Math.max(1, Math.ceil((this.seconds - this.grid.first) / this.grid.bar - 1e-3)); }

  show(grid, seconds, chords, sections) {
    this.grid = grid;
    this.seconds = seconds || 1;
    const n = this.count(), every = Math.ceil(n / 32);
    this.bars.replaceChildren(...Array.from({ length: n }, (_, i) => {
      const b = el('span', {}, i % every ? '' : grid.bpm ? String(i + 1) : `${i * grid.bar}`);
      b.style.left = at(grid.first + i * grid.bar, this.seconds);
      b.style.width = at(grid.bar, this.seconds);
      return b;
    }));
    this.spread(this.chords, chords.length ? Array.from({ length: n * grid.per }, (_, i) => chords[i % chords.length]) : [], grid);
    this.chords.append(...this.sections(sections || []));
    this.ruler.setAttribute('aria-valuemax', this.seconds.toFixed(2));
    this.tick();
    this.showLoop();
  }

  // A name over each bar, or where chords begin on that grid; none where they would not be read.
  spread(to, names, grid = { ...this.grid, per: 1 }) {
    const most = this.count() * grid.per;
    to.replaceChildren(...(grid.bpm && most <= 32 ? names.slice(0, most) : []).map((name, i) => {
      const e = el('span', {}, name), begin = chordTime(grid, i);
      e.style.left = at(begin, this.seconds);
      e.style.width = at(chordTime(grid, i + 1) - begin, this.seconds);
      return e;
    }));
  }

  // The parts of a piece that was asked for in sections, by their bars.
  sections(list) {
    let bar = 0;
    return list.filter(s => s?.bars > 0).map((s, i) => {
      const e = el('span', { class: 'section' }, String(s.name ?? s.label ?? `part ${i + 1}`));
      e.style.left = at(this.grid.first + bar * this.grid.bar, this.seconds);
      e.style.width = at(s.bars * this.grid.bar, this.seconds);
      bar += s.bars;
      return e;
    });
  }

  showLoop() {
    const { on, from, to } = this.player.loop;
    this.part.hidden = !(to > from);
    this.part.classList.toggle('on', on);
    this.part.style.left = at(from / 44100, this.seconds);
    this.part.style.width = at((to - from) / 44100, this.seconds);
    this.shade.hidden = !on || !(to > from);
    this.shade.style.setProperty('--from', from / 44100 / this.seconds);
    this.shade.style.setProperty('--to', to / 44100 / this.seconds);
  }

  tick() {
    const t = this.player.position();
    this.head.style.setProperty('--at', Math.min(1, t / this.seconds));
    const text = place(this.grid, t);
    if (text === this.text) return;
    this.text = text;
    this.ruler.setAttribute('aria-valuenow', t.toFixed(2));
    this.ruler.setAttribute('aria-valuetext', this.grid.bpm ? `bar ${barAt(this.grid, t) + 1}, ${t.toFixed(1)} seconds` : `${t.toFixed(1)} seconds`);
  }
}
