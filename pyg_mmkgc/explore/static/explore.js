/* Suggestions while typing, parts of a page that are loaded later, and the
   names of points on the map. Every page works without it. */
'use strict';

(() => {
  const input = document.querySelector('#q');
  const local = input.hasAttribute('data-local');
  const fold = text => text.normalize('NFKD').replace(/\p{M}/gu, '')
    .toLowerCase().replace(/[_\s]+/gu, ' ').trim();

  // Suggestions: a combobox with a list, see the ARIA practices.
  const list = document.createElement('ul');
  list.id = 'suggestions';
  list.className = 'suggestions';
  list.hidden = true;
  list.setAttribute('role', 'listbox');
  list.setAttribute('aria-label', 'Entities');
  input.after(list);
  for (const [key, value] of Object.entries({
    role: 'combobox', 'aria-expanded': 'false', 'aria-autocomplete': 'list',
    'aria-controls': 'suggestions'})) input.setAttribute(key, value);

  let chosen = -1, request = 0, everything = null;

  const close = () => {
    list.hidden = true;
    chosen = -1;
    input.setAttribute('aria-expanded', 'false');
    input.removeAttribute('aria-activedescendant');
  };

  const choose = index => {
    const items = list.children;
    if (!items.length) return;
    if (chosen >= 0) items[chosen].setAttribute('aria-selected', 'false');
    chosen = (index + items.length) % items.length;
    items[chosen].setAttribute('aria-selected', 'true');
    items[chosen].scrollIntoView({block: 'nearest'});
    input.setAttribute('aria-activedescendant', items[chosen].id);
  };

  const show = rows => {
    list.replaceChildren(...rows.map((row, i) => {
      const item = document.createElement('li');
      item.id = `suggestion-${i}`;
      item.setAttribute('role', 'option');
      item.setAttribute('aria-selected', 'false');
      item.dataset.href = row.href;
      if (row.picture) {
        const image = document.createElement('img');
        image.className = 'pic';
        image.alt = '';
        image.src = row.picture;
        item.append(image);
      }
      const label = document.createElement('bdi');
      label.textContent = row.label;
      item.append(label);
      return item;
    }));
    chosen = -1;
    list.hidden = !rows.length;
    input.setAttribute('aria-expanded', String(rows.length > 0));
    input.removeAttribute('aria-activedescendant');
  };

  const find = async text => {
    if (!local) {
      const query = new URLSearchParams({q: text});
      return (await fetch(`${input.dataset.suggest}?${query}`)).json();
    }
    everything ??= await (await fetch(input.dataset.suggest)).json();
    const part = fold(text);
    const place = row => fold(row.label).indexOf(part);
    return everything.filter(row => place(row) >= 0)
      .sort((a, b) => Math.min(place(a), 1) - Math.min(place(b), 1))
      .slice(0, 8);
  };

  input.addEventListener('input', async () => {
    const text = input.value.trim(), mine = ++request;
    if (!text) return close();
    try {
      const rows = await find(text);
      if (mine === request && document.activeElement === input) show(rows);
    } catch {
      close();  // Enter still searches.
    }
  });
  input.addEventListener('keydown', event => {
    if (event.key === 'Escape') { request++; close(); }
    else if (list.hidden) return;
    else if (event.key === 'ArrowDown') choose(chosen + 1);
    else if (event.key === 'ArrowUp') choose(chosen < 0 ? -1 : chosen - 1);
    else if (event.key === 'Enter' && chosen >= 0)
      location.assign(list.children[chosen].dataset.href);
    else return;
    event.preventDefault();
  });
  list.addEventListener('mousedown', event => {
    const item = event.target.closest('li');
    if (item) { event.preventDefault(); location.assign(item.dataset.href); }
  });
  input.addEventListener('blur', () => { request++; close(); });
  document.addEventListener('keydown', event => {
    if (event.key === '/' && !event.ctrlKey && !event.metaKey && !event.altKey
        && !event.target.closest('input, select, textarea')) {
      event.preventDefault();
      input.focus();
      input.select();
    }
  });

  // The results on a site of files: all its entities, filtered.
  const filter = document.querySelector('[data-filter]');
  if (filter) {
    const text = new URLSearchParams(location.search).get('q') ?? '';
    input.value = text;
    let found = 0;
    for (const item of filter.children) {
      const label = item.querySelector('b').textContent;
      item.hidden = !fold(label).includes(fold(text));
      found += !item.hidden;
    }
    document.querySelector('#none').hidden = found > 0;
  }

  // Parts that take longer to compute than the rest of the page.
  for (const part of document.querySelectorAll('[data-load]')) {
    part.setAttribute('aria-busy', 'true');
    fetch(part.dataset.load).then(async answer => {
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(),
        'text/html');
      part.replaceChildren(...page.body.children);
    }).catch(() => {}).finally(() => part.removeAttribute('aria-busy'));
  }

  // The map: the name of the point under the pointer, and its page.
  const map = document.querySelector('[data-map]');
  if (map) {
    const tip = document.querySelector('.tip');
    const points = [...map.querySelectorAll('.points circle')];
    const names = points.map(point => {
      const title = point.firstElementChild, text = title.textContent;
      title.remove();  // The tip says it.
      return text;
    });
    const places = points.map(point => [+point.getAttribute('cx'),
      +point.getAttribute('cy')]);
    let near = -1;
    map.setAttribute('data-live', '');
    map.addEventListener('pointermove', event => {
      const box = map.getBoundingClientRect();
      const scale = map.viewBox.baseVal.width / box.width;
      const x = (event.clientX - box.left) * scale;
      const y = (event.clientY - box.top) * scale;
      let best = (16 * scale) ** 2, now = -1;
      places.forEach(([px, py], i) => {
        const distance = (px - x) ** 2 + (py - y) ** 2;
        if (distance < best) { best = distance; now = i; }
      });
      if (now === near) return;
      if (near >= 0) points[near].classList.remove('on');
      near = now;
      tip.hidden = near < 0;
      if (near < 0) return;
      points[near].classList.add('on');
      tip.textContent = names[near];
      const half = 90, left = places[near][0] / scale;
      tip.style.left = `${Math.min(Math.max(left, half), box.width - half)}px`;
      tip.style.top = `${places[near][1] / scale}px`;
    });
    map.addEventListener('pointerleave', () => {
      if (near >= 0) points[near].classList.remove('on');
      near = -1;
      tip.hidden = true;
    });
    map.addEventListener('click', () => {
      if (near >= 0 && map.dataset.map)
        location.assign(`${map.dataset.map}?node=${points[near].dataset.n}`);
    });
  }
})();
