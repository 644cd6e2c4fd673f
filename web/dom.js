// dom.js - elements. Text from outside becomes text nodes and properties, never markup.

// el('button', {type: 'button', class: 'main', onclick: f, 'aria-label': 'Play'}, 'Play')
export function el(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (name === 'class') e.className = value;
    else if (name.includes('-') || name === 'for' || name === 'role' || name === 'list') e.setAttribute(name, value);
    else e[name] = value;
  }
  e.append(...children.filter(c => c !== undefined && c !== null));
  return e;
}

export const $ = id => document.getElementById(id);
export const button = (text, onclick, props = {}) => el('button', { type: 'button', onclick, ...props }, text);

// Says a sentence to a screen reader.
export function say(text) { $('said').textContent = text; }

export function later(ms, f) {
  let timer = 0;
  return (...args) => { clearTimeout(timer); timer = setTimeout(() => f(...args), ms); };
}

export const wait = ms => new Promise(done => setTimeout(done, ms));

// Once the page has been painted, or soon where nobody looks: a tab in the background is not painted.
export const painted = () => new Promise(done => {
  requestAnimationFrame(() => setTimeout(done));
  setTimeout(done, 200);
});
