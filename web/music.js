// music.js - bars and beats of a job, and how a job is called.

// A tempo counts quarter notes in every meter; 6/8 is felt in two.
const METERS = { '3/4': { beats: 3, quarters: 1 }, '6/8': { beats: 2, quarters: 1.5 } };

// What was heard in the recording that a job follows; each of its stems says it.
export const heardOf = job => (job.generated_stems || []).map(s => s.heard).find(Boolean);

// Where bars lie: those asked for, those heard in a recording that is followed, else those measured, else none. first:
// seconds of bar 1; per: chords a bar.
export function gridOf(job) {
  const p = job.parameters || {}, { beats, quarters } = METERS[p.time_signature] || { beats: 4, quarters: 1 };
  const heard = heardOf(job), m = (job.generated_stems || []).map(s => s.measured).find(x => x?.bpm > 0);
  const bpm = p.target_bpm || heard?.target_bpm || m?.bpm || 0, beat = bpm ? quarters * 60 / bpm : 1;
  return { bpm, beats, beat, bar: beats * beat, first: heard ? heard.first_bar_seconds || 0 : p.target_bpm > 0 ? 0 : m?.first_beat_seconds || 0, per: p.chords_per_bar || 1 };
}

// The seconds at which chord i begins. Chords change at whole beats, the later ones being shorter, but in 6/8 at equal parts.
export function chordTime(grid, i) {
  const part = (i % grid.per) * grid.beats / grid.per;
  return grid.first + Math.floor(i / grid.per) * grid.bar + (grid.beats === 2 ? part : Math.ceil(part - 1e-9)) * grid.beat;
}

export const snapBar = (grid, t) => Math.max(0, Math.round((t - grid.first) / grid.bar)) * grid.bar + grid.first;
export const barAt = (grid, t) => Math.floor((t - grid.first) / grid.bar + 1e-6);

export function place(grid, t) {
  const beats = Math.max(0, Math.floor((t - grid.first) / grid.beat + 1e-6));
  const clock = `${Math.floor(t / 60)}:${(t % 60).toFixed(2).padStart(5, '0')}`;
  return grid.bpm ? `${Math.floor(beats / grid.beats) + 1}.${beats % grid.beats + 1}  ${clock}` : clock;
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
