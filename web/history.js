// history.js - the jobs that the service remembers, newest first, with search.
import { el, $, later } from './dom.js';
import { get } from './api.js';
import { takeOf, titleOf } from './music.js';

const when = text => new Date(text).toLocaleString([], { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit' });

function line(job, here) {
  const state = job.status === 'completed' ? '' : job.status === 'processing' ? `${Math.round(job.progress * 100)} %` : job.status;
  const a = el('a', { href: '#' + job.generation_request_id }, el('strong', {}, titleOf(job)),
    el('span', {}, (job.target_stems || []).join(', ')),
    el('small', {}, [when(job.created_at), state].filter(Boolean).join(' · ')));
  if (job.generation_request_id === here) a.setAttribute('aria-current', 'page');
  return el('li', { class: job.status }, a);
}

let next = null, here = '';

async function load(more) {
  const words = $('search').value.trim();
  const query = new URLSearchParams({ details: 'true', limit: '30', ...(words && { q: words }), ...(more && next && { after: String(next) }) });
  const list = await get('jobs?' + query);
  const lines = list.jobs.filter(j => !takeOf(j.generation_request_id)).map(j => line(j, here));
  if (more) $('jobs').append(...lines); else $('jobs').replaceChildren(...lines);
  if (!$('jobs').children.length) $('jobs').append(el('li', { class: 'hint' }, words ? 'Nothing has these words.' : 'Nothing yet.'));
  next = list.next;
  $('more').hidden = !next;
}

export function refresh(id = here) {
  here = id;
  return load(false).catch(() => {});
}

export function openHistory() {
  $('search').addEventListener('input', later(250, () => refresh()));
  $('more').addEventListener('click', () => load(true).catch(() => {}));
}
