// ask.js - the form: what to ask for, checked while it is typed by the service itself.
import { el, $, button, later, say } from './dom.js';
import { ask, get, post, Refused } from './api.js';
import { chordsOf, newId } from './music.js';

const PLACED = ['target_bpm', 'key', 'chord_progression', 'duration_seconds', 'bars', 'loop', 'style', 'prompt', 'random_seed', 'takes', 'time_signature', 'chords_per_bar'];
let schemas = {}, stems = [], models = [], form, cells, submitted = () => {}, origin = 'page';

// A label over an input, and under it what the service says of it.
function field(pointer, label, input, ...beside) {
  const id = 'f' + pointer.replace(/\W/g, '-');
  input.id ||= id;
  input.dataset.pointer = pointer;
  input.setAttribute('aria-describedby', id + '-said');
  return el('div', { class: 'field' }, el('label', { for: input.id }, label), el('div', { class: 'row' }, input, ...beside),
    el('p', { class: 'fault', id: id + '-said' }));
}

const number = (name, props) => {
  const s = schemas[name] || {};
  return el('input', { type: 'number', name, min: s.minimum ?? '', max: s.maximum ?? '', step: s.type?.[0] === 'integer' ? 1 : 'any', inputMode: 'decimal', ...props });
};

// --- chords: a cell a bar

function cell(text = '') {
  const c = el('input', { class: 'cell', value: text, maxLength: 200, autocapitalize: 'off', autocomplete: 'off', spellcheck: false });
  c.addEventListener('keydown', ev => {
    const at = [...cells.children].indexOf(c);
    if (ev.key === ' ') {
      ev.preventDefault();
      if (at === cells.children.length - 1 && c.value.trim()) addCell();
      cells.children[at + 1]?.focus();
    } else if (ev.key === 'Backspace' && !c.value && cells.children.length > 1) {
      ev.preventDefault();
      c.remove();
      nameCells();
      cells.children[Math.max(0, at - 1)].focus();
      check();
    }
  });
  return c;
}
function nameCells() {
  [...cells.children].forEach((c, i) => {
    c.setAttribute('aria-label', `Chord ${i + 1}`);
    c.placeholder = i + 1;
    c.dataset.pointer = `/parameters/chord_progression/${i}`;
    c.setAttribute('aria-describedby', 'chords-said');
  });
}
function addCell(text) { cells.append(cell(text)); nameCells(); }
function setCells(list) {
  cells.replaceChildren(...(list.length ? list : ['', '', '', '']).map(cell));
  nameCells();
}
// Empty cells at the end are not there; one in between is a fault, which the service names.
function chords() {
  const list = [...cells.children].map(c => c.value.trim());
  while (list.length && !list[list.length - 1]) list.pop();
  return list;
}

// --- the form

function chordField() {
  cells = el('div', { class: 'cells', role: 'group', 'aria-label': 'Chords, repeated to the end' });
  setCells([]);
  return el('div', { class: 'field' }, el('span', { class: 'label' }, 'Chords'),
    el('div', { class: 'row' }, cells, button('+', () => { addCell(); cells.lastChild.focus(); }, { class: 'small', 'aria-label': '+ chord' })),
    el('p', { class: 'fault', id: 'chords-said', 'data-list': '/parameters/chord_progression' }));
}

function tempoField() {
  let taps = [];
  const bpm = number('target_bpm', { value: 120 });
  const tap = button('Tap', () => {
    const now = performance.now();
    if (taps.length && now - taps[taps.length - 1] > 2500) taps = [];
    taps = [...taps, now].slice(-9);
    if (taps.length < 2) return;
    bpm.value = Math.round(60000 * (taps.length - 1) / (now - taps[0]) * 10) / 10;
    check();
  }, { title: 'Tap the beat' });
  return field('/parameters/target_bpm', 'Tempo', bpm, tap);
}

function lengthField() {
  const amount = el('input', { type: 'number', name: 'amount', min: 0.1, step: 'any', value: 4, inputMode: 'decimal' });
  const unit = el('select', { name: 'unit', 'aria-label': 'Length in' }, el('option', { value: 'bars' }, 'bars'), el('option', { value: 'duration_seconds' }, 'seconds'));
  const f = field('/parameters/bars', 'Length', amount, unit);
  const point = () => { amount.dataset.pointer = '/parameters/' + unit.value; };
  unit.addEventListener('change', point);
  form.pointLength = point;
  return f;
}

function otherField(name, s) {
  const kind = s.type?.[0], pointer = '/parameters/' + name, label = s.title || name;
  if (kind === 'boolean') return field(pointer, label, el('input', { type: 'checkbox', name, title: s.description }));
  if (kind === 'number' || kind === 'integer') return field(pointer, label, number(name, { placeholder: s.default ?? s.examples?.[0] ?? '', title: s.description }));
  if (kind === 'string') return field(pointer, label, el('input', { name, maxLength: s.maxLength ?? 4096, placeholder: s.examples?.[0] ?? '', title: s.description }));
  if (name === 'sections') return field(pointer, label, el('textarea', { name, rows: 2, placeholder: '8; Am F C G; drums bass; sparse\n8', title: 'A line for each part: ' + s.description }));
  const list = kind === 'array' && s.items?.type === 'string';
  return list ? field(pointer, label, el('input', { name, placeholder: (s.examples?.[0] || []).join(' '), title: s.description })) : null;
}

function stemCards() {
  return el('fieldset', { class: 'field' }, el('legend', {}, 'Stems'), el('div', { class: 'cards', id: 'stems' },
    ...stems.map((name, i) => el('label', { class: 'card' },
      el('input', { type: 'checkbox', name: 'stem', value: name, checked: i < 2, 'data-pointer': '/target_stems', 'aria-describedby': 'stems-said' }), name))),
  el('p', { class: 'fault', id: 'stems-said' }));
}

function seedField() {
  const seed = el('input', { name: 'random_seed', inputMode: 'numeric', placeholder: 'a new one', maxLength: 20, autocomplete: 'off' });
  return field('/parameters/random_seed', 'Seed', seed, button('New', () => { seed.value = ''; check(); }, { title: 'Let the service draw one' }));
}

// Where the service has several models; the first is what it takes by itself.
function modelField() {
  if (models.length < 2) return null;
  return field('/model', 'Model', el('select', { name: 'model' }, ...models.map(m => el('option', { value: m.model }, m.name || m.model))));
}

function build() {
  const style = el('input', { name: 'style', maxLength: 256, placeholder: 'rock' });
  const words = el('textarea', { name: 'prompt', maxLength: 4096, rows: 2, placeholder: 'warm, live, a little swing' });
  const keyName = el('input', { name: 'key', maxLength: 64, placeholder: 'A minor', autocomplete: 'off' });
  const loop = el('label', { class: 'check' }, el('input', { type: 'checkbox', name: 'loop', 'data-pointer': '/parameters/loop' }), 'Loop: repeats without a seam');
  const others = Object.entries(schemas).filter(([n]) => !PLACED.includes(n)).map(([n, s]) => otherField(n, s)).filter(Boolean);
  form.replaceChildren(...[
    stemCards(),
    modelField(),
    el('div', { class: 'pair' }, tempoField(), schemas.time_signature ? field('/parameters/time_signature', 'Meter', el('input', { name: 'time_signature', maxLength: 8, placeholder: '4/4', autocomplete: 'off' })) : null),
    el('div', { class: 'pair' }, field('/parameters/key', 'Key', keyName), field('/parameters/style', 'Style', style)),
    chordField(),
    el('div', { class: 'pair' }, lengthField(), schemas.chords_per_bar ? field('/parameters/chords_per_bar', 'Chords a bar', number('chords_per_bar', { placeholder: '1' })) : null),
    loop,
    field('/parameters/prompt', 'Words', words),
    el('div', { class: 'pair' }, seedField(), schemas.takes ? field('/parameters/takes', 'Takes', number('takes', { placeholder: '1' })) : null),
    el('details', {}, el('summary', {}, 'More'), el('div', { class: 'pair' }, ...others)),
    el('p', { class: 'warnings', id: 'form-warnings', role: 'status' }),
    el('p', { class: 'fault', id: 'form-fault', role: 'alert' }),
    el('p', { class: 'row end' }, el('span', { id: 'form-length', class: 'hint' }), el('button', { class: 'main' }, 'Generate')),
  ].filter(Boolean));
  form.addEventListener('input', check);
  form.addEventListener('change', check);
  form.addEventListener('submit', submit);
  form.pointLength();
}

// --- what the form says, as the service takes it

const put = { number: Number, integer: Number, string: text => text, array: text => text.split(/[\s,]+/) };

// "8; Am F; drums; sparse": a line is a part of the piece.
const words = text => text?.split(/[\s,]+/).filter(Boolean) || [];
function sections(text) {
  return text.split('\n').filter(line => line.trim()).map(line => {
    const [bars, chords, stems, density] = line.split(';');
    return { bars: Number(bars), ...(words(chords).length && { chords: words(chords) }), ...(words(stems).length && { stems: words(stems) }), ...(density?.trim() && { density: density.trim() }) };
  });
}
const sectionLine = s => [s.bars, (s.chords || []).join(' '), (s.stems || []).join(' '), s.density || ''].join('; ').replace(/(; )+$/, '');

function body() {
  const p = {};
  for (const [name, s] of Object.entries(schemas)) {
    const input = form.elements[name];
    if (!input || name === 'random_seed') continue;
    if (input.type === 'checkbox') { if (input.checked) p[name] = true; continue; }
    const text = input.value.trim();
    if (text) p[name] = name === 'sections' ? sections(text) : put[s.type[0]](text);
    else if (input.validity.badInput) p[name] = input.value;
  }
  const list = chords(), length = form.elements.amount.value.trim(), seed = form.elements.random_seed.value.trim();
  if (list.length) p.chord_progression = list;
  if (seed) p.random_seed = seed; // text that is a number is sent as one
  if (length && !p.sections) p[form.elements.unit.value] = Number(length);
  if (!p.loop) p.fade_in_seconds ??= 0.003; // a stem begins on a beat: its attack stays
  const model = form.elements.model?.value;
  return { generation_request_id: newId(), audio_file_id: origin, ...(model && { model }), target_stems: [...form.querySelectorAll('[name=stem]:checked')].map(b => b.value), parameters: p };
}

// Puts each sentence at its field; what has no field is said below.
function show(faults, warnings) {
  for (const e of form.querySelectorAll('[data-pointer]')) e.removeAttribute('aria-invalid');
  for (const e of form.querySelectorAll('.fault')) e.textContent = '';
  const rest = [];
  for (const f of faults) {
    const at = String(f.pointer), whole = at.replace(/\/\d+$/, '');
    const inputs = [...form.querySelectorAll('[data-pointer]')].filter(e => e.dataset.pointer === at);
    const e = inputs[0] || [...form.querySelectorAll('[data-pointer]')].find(x => x.dataset.pointer === whole);
    const place = e ? $(e.getAttribute('aria-describedby')) : form.querySelector(`[data-list="${CSS.escape(whole)}"]`);
    e?.setAttribute('aria-invalid', 'true');
    const bar = e?.classList.contains('cell') ? `chord ${Number(at.split('/').pop()) + 1}: ` : '';
    if (place) place.textContent += (place.textContent ? ' · ' : '') + bar + f.detail;
    else rest.push(`${at}: ${f.detail}`);
  }
  $('form-fault').textContent = rest.join('\n');
  $('form-warnings').textContent = warnings.map(w => w.detail).join('\n');
}

// Several names in one cell become cells, as the service has split them.
function respread(list) {
  if (!list?.length || chords().length === list.length || cells.contains(document.activeElement)) return;
  setCells(list);
}

let round = 0;
const check = later(300, async () => {
  const mine = ++round;
  try {
    const said = await post('check', body());
    if (mine !== round) return;
    show(said.errors, said.warnings);
    respread(said.chord_progression);
    $('form-length').textContent = said.duration_seconds ? `${said.duration_seconds.toFixed(1)} s each` : '';
  } catch { /* it is said when it is sent */ }
});

async function submit(ev) {
  ev.preventDefault();
  round++;
  const send = form.querySelector('button.main');
  send.disabled = true;
  try {
    const b = body(), answer = await post('generate', b);
    show([], answer.warnings || []);
    say('Asked for ' + b.target_stems.join(', '));
    submitted(b.generation_request_id);
  } catch (e) {
    show(e.errors || [], []);
    if (!(e instanceof Refused && e.errors.length)) $('form-fault').textContent = e instanceof Refused ? e.message : 'The service cannot be reached. Try again when it runs.';
    form.querySelector('[aria-invalid]')?.focus();
  } finally {
    send.disabled = false;
  }
}

// Puts a job's request into the form; seed: whether to keep its seed.
export function fill(job, seed) {
  const p = job.parameters || {}, e = form.elements, asked = (job.stems || []).map(s => s.stem_type);
  for (const box of form.querySelectorAll('[name=stem]')) box.checked = asked.includes(box.value);
  for (const name of Object.keys(schemas)) {
    const input = e[name];
    if (!input) continue;
    if (input.type === 'checkbox') input.checked = p[name] === true;
    else if (name === 'sections') input.value = (p.sections || []).map(sectionLine).join('\n');
    else input.value = Array.isArray(p[name]) ? p[name].join(' ') : p[name] ?? '';
  }
  if (e.model && models.some(m => m.model === job.model)) e.model.value = job.model;
  e.random_seed.value = seed ? job.random_seed : '';
  e.unit.value = p.bars ? 'bars' : 'duration_seconds';
  e.amount.value = p.bars ?? p.duration_seconds ?? '';
  form.pointLength();
  setCells(chordsOf(p));
  origin = job.audio_file_id || 'page';
  check();
}

export const focusChords = () => { cells.firstChild.focus(); cells.firstChild.select(); };

// made(id) is told of each job that was taken.
export async function openAsk(made) {
  submitted = made;
  form = $('form');
  const request = (await (await ask('openapi.json')).json()).components.schemas.GenerateRequest.properties;
  schemas = request.parameters.properties;
  stems = request.target_stems.items.enum;
  models = (await get('health').catch(() => ({}))).models || [];
  build();
}
