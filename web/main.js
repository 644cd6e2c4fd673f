const $ = id => document.getElementById(id);
const make = (tag, text) => { const e = document.createElement(tag); if (text !== undefined) e.textContent = text; return e; };
const auth = () => { const k = $('form').api_key.value; return k ? { Authorization: 'Bearer ' + k } : {}; };

async function health() {
  try {
    const h = await (await fetch('/health')).json();
    $('health').textContent = `${h.status} · ${h.model || 'no model'} · ${h.services.device} · storage ${h.services.storage}`;
  } catch { $('health').textContent = 'no answer'; }
}
health(); setInterval(health, 10000);

// The form is made from the API document: a stem or a parameter that is added there is added here.
let parameters = {};
function addStem(name, i) {
  const label = make('label'), box = make('input');
  box.type = 'checkbox'; box.name = 'stem'; box.value = name; box.checked = i < 2;
  label.append(box, ' ' + name + ' ');
  $('stems').append(label);
}
function addField(name, schema) {
  const label = make('label'), input = make('input'), kind = schema.type[0];
  const example = (schema.examples || [''])[0];
  input.name = name;
  input.title = schema.description;
  input.placeholder = schema.default ?? (Array.isArray(example) ? example.join(' ') : example);
  if (kind === 'boolean') {
    input.type = 'checkbox';
    label.append(input, ' ' + schema.title);
    $('fields').append(label);
    return;
  }
  if (kind === 'number' || kind === 'integer') {
    Object.assign(input, { type: 'number', min: schema.minimum ?? '', max: schema.maximum ?? '', step: kind === 'number' ? 'any' : 1 });
  } else if (schema.maxLength) {
    input.maxLength = schema.maxLength;
  }
  label.append(make('span', schema.title), input);
  $('fields').append(label);
}
(async () => {
  const api = await (await fetch('/openapi.json')).json(), request = api.components.schemas.GenerateRequest.properties;
  request.target_stems.items.enum.forEach(addStem);
  parameters = request.parameters.properties;
  for (const [name, schema] of Object.entries(parameters)) addField(name, schema);
})();

// Chords go as they were typed: the service splits them.
function body(form) {
  const p = {}, value = { number: Number, integer: Number, array: text => [text], string: text => text };
  for (const [name, schema] of Object.entries(parameters)) {
    const text = form[name].value.trim();
    if (schema.type[0] === 'boolean') {
      if (form[name].checked) p[name] = true;
    } else if (text) p[name] = value[schema.type[0]](text);
  }
  if (!p.loop) p.fade_in_seconds ??= 0.003; // a stem begins on a beat: its attack stays
  const stems = [...form.querySelectorAll('[name=stem]:checked')].map(b => b.value);
  const id = 'page-' + [...crypto.getRandomValues(new Uint8Array(8))].map(b => b.toString(16).padStart(2, '0')).join('');
  return { generation_request_id: id, audio_file_id: 'page', target_stems: stems, parameters: p };
}

$('form').addEventListener('submit', async ev => {
  ev.preventDefault();
  $('wrong').textContent = '';
  const b = body($('form'));
  const r = await fetch('/generate', { method: 'POST', headers: { 'Content-Type': 'application/json', ...auth() }, body: JSON.stringify(b) });
  const answer = await r.json();
  if (!r.ok) {
    $('wrong').textContent = [answer.title + (answer.detail ? ': ' + answer.detail : ''), ...(answer.errors || []).map(e => e.pointer + ': ' + e.detail)].join('\n');
    return;
  }
  follow(b.generation_request_id, b.target_stems);
});

// EventSource cannot send a key, so the stream is read with fetch.
async function follow(id, stems) {
  const card = make('article'), state = make('small', 'queued'), bar = make('progress'), stop = make('button', 'Cancel'), out = make('div');
  bar.max = 1; bar.value = 0;
  stop.onclick = () => fetch(`/jobs/${id}/cancel`, { method: 'POST', headers: auth() });
  card.append(make('strong', stems.join(', ') + ' '), state, bar, stop, out);
  $('jobs').prepend(card);
  for (let ended = false; !ended;) {
    try {
      const r = await fetch(`/jobs/${id}/events`, { headers: auth() });
      if (!r.ok) throw new Error(r.status);
      for await (const [name, data] of events(r.body)) {
        if (data.progress !== undefined) bar.value = data.progress;
        if (data.status) state.textContent = data.status + (data.estimated_seconds_left >= 0 && name === 'status' ? `, about ${Math.ceil(data.estimated_seconds_left)} s` : '');
        if (['completed', 'failed', 'canceled'].includes(name)) { ended = true; finish(data, out); stop.remove(); }
      }
    } catch (e) { state.textContent = 'connection lost, trying again'; }
    if (!ended) await new Promise(done => setTimeout(done, 2000));
  }
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = '';;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) {
      const field = name => (text.slice(0, end).match(new RegExp('^' + name + ': (.*)$', 'm')) || [])[1];
      if (field('data')) yield [field('event'), JSON.parse(field('data'))];
    }
  }
}

async function finish(job, out) {
  if (job.error_message) out.append(Object.assign(make('p', job.error_message), { className: 'error' }));
  out.append(make('small', `seed ${job.random_seed} · ${job.processing_time_seconds.toFixed(1)} s`));
  for (const s of job.generated_stems) {
    const line = make('p', s.stem_type), player = make('audio');
    player.controls = true;
    const r = await fetch(`/jobs/${job.generation_request_id}/stems/${s.stem_type}.wav`, { headers: auth() });
    player.src = URL.createObjectURL(await r.blob());
    line.append(player);
    out.append(line);
  }
}
