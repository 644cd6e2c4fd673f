// main.js - the page: views, links to jobs, keys of the keyboard, colours, the API key.
import { $, painted, say } from './dom.js';
import { keyIsSet, onKeyNeeded, setKey } from './api.js';
import { fill, focusChords, openAsk } from './ask.js';
import { openHistory, refresh } from './history.js';
import { takeOf } from './music.js';
import { Session } from './session.js';

let session = null;

// --- views: beside each other where there is room, one at a time on a phone

function go(view) {
  document.body.dataset.view = view;
  if (view !== 'listen') document.body.dataset.side = view; // where there is room, beside what is heard
  for (const b of document.querySelectorAll('[data-go]')) b.setAttribute('aria-current', b.dataset.go === view ? 'page' : 'false');
}

// "#ID" is a job: what anybody may link to. One more take of a stem is shown with the others.
function openLink() {
  const id = decodeURIComponent(location.hash.slice(1)), root = takeOf(id)?.root ?? id;
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(root) || session?.id === root) return;
  session?.close();
  session = new Session(root, {
    changed: job => refresh(job.generation_request_id),
    fill: (job, seed) => { fill(job, seed); go('ask'); focusChords(); },
  });
  go('listen');
  $('listen').focus({ preventScroll: true });
  session.open();
}

// --- the keyboard, wherever nobody types

function shortcut(ev) {
  const p = session?.player, track = /^Digit([1-7])$/.exec(ev.code);
  if (ev.code === 'KeyN') { go('ask'); document.querySelector('[name=stem]').focus(); return true; }
  if (!p || !session.job) return false;
  if (ev.code === 'Space') p.toggle();
  else if (ev.code === 'Home') p.seek(0);
  else if (ev.code === 'ArrowLeft' || ev.code === 'ArrowRight') session.line.step((ev.code === 'ArrowLeft' ? -1 : 1) * (ev.shiftKey ? session.line.grid.beats : 1));
  else if (ev.code === 'KeyL') session.loopButton.click();
  else if (ev.key === '[' || ev.key === ']') session.loopEdge(ev.key === ']');
  else if (track) [...session.tracks.values()][track[1] - 1]?.[ev.shiftKey ? 'solo' : 'mute'].click();
  else return false;
  return true;
}
addEventListener('keydown', ev => {
  const busy = ev.target.closest('input, select, textarea, dialog, summary') || (ev.code === 'Space' && ev.target.closest('button, a'));
  if (busy || ev.ctrlKey || ev.metaKey || ev.altKey) return;
  if (shortcut(ev)) ev.preventDefault();
});

// --- the key of the service: in memory, or for this tab when asked to

function keyDialog() {
  const dialog = $('key-dialog');
  $('key').value = '';
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise(done => dialog.addEventListener('close', () => {
    const given = dialog.returnValue === 'ok' && $('key').value.trim();
    if (given) setKey(given, $('key-keep').checked);
    $('key').value = '';
    $('key-button').classList.toggle('on', keyIsSet());
    done(Boolean(given));
  }, { once: true }));
}

// --- colours

const THEMES = ['Auto', 'Light', 'Dark'];
function paint(theme) {
  if (theme === 'Auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.toLowerCase();
  $('theme-button').textContent = theme;
  $('theme-button').setAttribute('aria-label', `Colours: ${theme}`);
  session?.draw();
}

async function health() {
  try {
    const h = await (await fetch('health')).json();
    const away = h.services.storage === 'connected' ? '' : ' · storage is away';
    $('health').textContent = h.status === 'healthy' ? `${h.model} · ${h.services.device}${away}` : 'The model is not loaded yet.';
    $('health').className = h.status;
  } catch {
    $('health').textContent = 'The service does not answer.';
    $('health').className = 'unhealthy';
  }
}

for (const b of document.querySelectorAll('[data-go]')) b.addEventListener('click', () => { go(b.dataset.go); if (b.dataset.go === 'history') refresh(); });
$('key-button').addEventListener('click', () => keyDialog().then(given => { if (given) refresh(); }));
$('help-button').addEventListener('click', () => $('help-dialog').showModal());
$('theme-button').addEventListener('click', () => {
  const theme = THEMES[(THEMES.indexOf($('theme-button').textContent) + 1) % THEMES.length];
  localStorage.setItem('stemforge-theme', theme);
  paint(theme);
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => session?.draw());
addEventListener('hashchange', openLink);

onKeyNeeded(keyDialog);
paint(THEMES.includes(localStorage.getItem('stemforge-theme')) ? localStorage.getItem('stemforge-theme') : 'Auto');
$('key-button').classList.toggle('on', keyIsSet());
go('ask');
await painted(); // what the page says by itself is seen first
openHistory();
openLink();
health();
setInterval(health, 10000);
await openAsk(id => { location.hash = id; }).catch(() => say('The service does not answer.'));
refresh();
// For tests, and for the curious: what is open now.
Object.defineProperty(window, 'stemforge', { get: () => ({ session }) });
