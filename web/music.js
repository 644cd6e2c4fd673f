// music.js - bars and beats of a job, and how a job is called.

const BEATS = 4; // a bar

// Where bars lie: those asked for, else those measured, else none. first: seconds of bar 1.
export function gridOf(job) {
  const p = job.parameters || {};
  if (p.target_bpm > 0) return { bpm: p.target_bpm, beat: 60 / p.target_bpm, bar: BEATS * 60 / p.target_bpm, first: 0 };
  for (const s of job.generated_stems || []) {
    const m = s.measured;
    if (m?.bpm > 0) return { bpm: m.bpm, beat: 60 / m.bpm, bar: BEATS * 60 / m.bpm, first: m.first_beat_seconds ?? m.first_beat ?? 0 };
  }
  return { bpm: 0, beat: 1, bar: BEATS, first: 0 };
}

export const snapBar = (grid, t) => Math.max(0, Math.round((t - grid.first) / grid.bar)) * grid.bar + grid.first;
export const barAt = (grid, t) => Math.floor((t - grid.first) / grid.bar + 1e-6);

export function place(grid, t) {
  const beats = Math.max(0, Math.floor((t - grid.first) / grid.beat + 1e-6));
  const clock = `${Math.floor(t / 60)}:${(t % 60).toFixed(2).padStart(5, '0')}`;
  return grid.bpm ? `${Math.floor(beats / BEATS) + 1}.${beats % BEATS + 1}  ${clock}` : clock;
}

export function chordsOf(parameters) {
  const list = parameters?.chord_progression;
  return Array.isArray(list) ? list.join(' ').split(/[\s|,]+/).filter(Boolean) : [];
}

export function titleOf(job) {
  const p = job.parameters || {}, chords = chordsOf(p);
  const parts = [p.style, p.target_bpm && `${p.target_bpm} bpm`, p.key,
    chords.length && chords.slice(0, 4).join(' ') + (chords.length > 4 ? ' …' : '')].filter(Boolean);
  if (!parts.length && p.prompt) parts.push(p.prompt.slice(0, 60));
  return parts.join(' · ') || (job.target_stems || job.stems?.map(s => s.stem_type) || []).join(', ');
}

const plain = text => String(text).normalize('NFKD').replace(/#/g, 's').replace(/[^A-Za-z0-9]+/g, '-').replace(/^-+|-+$/g, '');

// "rock_120bpm_A-minor_bass": letters that every disk and editor takes.
export function fileName(job, what) {
  const p = job.parameters || {};
  return [p.style && plain(p.style).slice(0, 40), p.target_bpm && `${plain(p.target_bpm)}bpm`, p.key && plain(p.key).slice(0, 20),
    plain(what)].filter(Boolean).join('_');
}

export const newId = () => 'page-' + [...crypto.getRandomValues(new Uint8Array(8))].map(b => b.toString(16).padStart(2, '0')).join('');

// One more take of a stem is a job of its own, whose id says of which: the service keeps that.
export const takeId = (id, stem) => `${id}.again-${stem}-${newId().slice(5, 11)}`;
export function takeOf(id) {
  const m = /^(.+)\.again-([a-z]+)-[0-9a-f]{6}$/.exec(id);
  return m && { root: m[1], stem: m[2] };
}
