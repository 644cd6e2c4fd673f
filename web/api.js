// api.js - the service: keys, requests, and what it says of running jobs.
import { wait } from './dom.js';

const KEPT = 'stemforge-key';
let key = sessionStorage.getItem(KEPT) || '';
let askForKey = async () => false;

export const keyIsSet = () => key !== '';
export function setKey(text, keep) {
  key = text;
  if (keep && text) sessionStorage.setItem(KEPT, text);
  else sessionStorage.removeItem(KEPT);
}
// f shows a dialog and tells whether there is a key to try now.
export function onKeyNeeded(f) { askForKey = f; }

// An answer that is no success: RFC 9457's members.
export class Refused extends Error {
  constructor(code, problem) {
    super([problem.title, problem.detail].filter(Boolean).join(': ') || `the service answered ${code}`);
    this.code = code;
    this.errors = Array.isArray(problem.errors) ? problem.errors : [];
  }
}

let asking = null; // one dialog for all requests that wait for a key
async function keyNeeded() {
  asking ??= askForKey().finally(() => { asking = null; });
  return asking;
}

export async function ask(path, options = {}) {
  for (;;) {
    const headers = { ...options.headers }, used = key;
    if (key) headers.Authorization = `Bearer ${key}`;
    const r = await fetch(path, { ...options, headers });
    if (r.ok) return r;
    if (r.status === 401 && (key !== used || await keyNeeded())) continue;
    throw new Refused(r.status, await r.json().catch(() => ({})));
  }
}

// Seeds have 64 bits, numbers of a script 53: a longer seed is text in here, and a number for the service. Inside of
// a text of JSON quotes are escaped, so neither pattern matches there.
export const parse = text => JSON.parse(text.replace(/("random_seed":\s*)(-?\d{16,})/g,
  (all, name, seed) => Number.isSafeInteger(Number(seed)) ? all : `${name}"${seed}"`));
const written = body => JSON.stringify(body).replace(/("random_seed":)"(-?\d+)"/g, '$1$2');

export const get = async path => parse(await (await ask(path)).text());
export const post = async (path, body) => parse(await (await ask(path, {
  method: 'POST', headers: { 'Content-Type': 'application/json' }, body: body && written(body),
})).text());

// A stem's bytes or peaks; the service may be busy reading others.
export async function stem(job, name, end) {
  for (let tries = 0; ; tries++) {
    try {
      return await ask(`jobs/${job}/stems/${name}.${end}`);
    } catch (e) {
      if (e.code !== 503 || tries === 20) throw e;
      await wait(300 + 100 * tries);
    }
  }
}

// The events of a stream: [name, data]. EventSource cannot send a key, so it is read with fetch.
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ''; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) {
      const field = name => (text.slice(0, end).match(new RegExp(`^${name}: (.*)$`, 'm')) || [])[1];
      if (field('data')) yield [field('event'), parse(field('data'))];
    }
  }
}

export const ended = job => ['completed', 'failed', 'canceled'].includes(job.status);

// Follows a job to its end, over lost connections and restarts of the service. told(job) whenever it
// changes; told(null) when the service cannot be reached. signal ends it.
export async function follow(id, told, signal) {
  let job = null, looked = 0;
  const look = async () => { looked = Date.now(); job = await get(`jobs/${id}`); told(job); };
  const beat = setInterval(() => { if (job && Date.now() - looked > 1500) look().catch(() => {}); }, 500);
  try {
    while (!signal.aborted && !(job && ended(job))) {
      try {
        const r = await ask(`jobs/${id}/events`, { signal });
        for await (const [name, data] of events(r.body)) {
          if (name !== 'progress') { job = data; told(job); continue; }
          const one = job?.stems.find(s => s.stem_type === data.stem_type);
          if (!one) continue;
          one.progress = data.stem_progress;
          job.progress = data.progress;
          if (data.stem_progress >= 1 || Date.now() - looked > 1000) await look();
          else told(job);
        }
      } catch (e) {
        if (e instanceof Refused && e.code < 500) throw e;
        if (!signal.aborted) told(null);
      }
      if (!signal.aborted && !(job && ended(job))) await wait(1000);
    }
  } finally {
    clearInterval(beat);
  }
}
