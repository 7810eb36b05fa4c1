const at = id => document.getElementById(id);
const names = ['text', 'host', 'domain', 'kind'];
const blocks = [...document.querySelectorAll('.block')].map(element => {
  const sets = {};
  for (const name of ['host', 'domain', 'kind']) sets[name] = new Set(element.dataset[name].split('\n'));
  const text = (element.textContent + '\n' + element.parentElement.firstChild.textContent).toLowerCase();
  return {element, sets, text, dangerous: 'dangerous' in element.dataset};
});
const tasks = [...document.querySelectorAll('.task')];

function filter() {
  const wanted = Object.fromEntries(names.map(name => [name, at(name).value]));
  const text = wanted.text.toLowerCase(), dangerous = at('dangerous').checked;
  let shown = 0;
  for (const block of blocks) {
    const fits = ['host', 'domain', 'kind'].every(name => !wanted[name] || block.sets[name].has(wanted[name]))
      && (!dangerous || block.dangerous) && (!text || block.text.includes(text));
    block.element.hidden = !fits;
    shown += fits;
  }
  for (const task of tasks) task.hidden = !task.querySelector('.block:not([hidden])');
  at('none').hidden = shown > 0;
  at('count').textContent = shown === blocks.length ? '' : `${shown} of ${blocks.length} shown`;
}

// What is filtered for stands in the address, so that a reviewer can send it to another one.
function keep() {
  const kept = new URLSearchParams();
  for (const name of names) if (at(name).value) kept.set(name, at(name).value);
  if (at('dangerous').checked) kept.set('dangerous', '1');
  history.replaceState(null, '', '#' + kept);
  filter();
}

function take() {
  const kept = new URLSearchParams(location.hash.slice(1));
  for (const name of names) at(name).value = kept.get(name) || '';
  at('dangerous').checked = kept.has('dangerous');
  filter();
}

for (const name of [...names, 'dangerous']) at(name).addEventListener('input', keep);
at('filters').addEventListener('submit', event => event.preventDefault());
at('fold').addEventListener('click', event => {
  const open = !blocks.some(block => block.element.open);
  for (const block of blocks) block.element.open = open;
  event.target.textContent = open ? 'fold all' : 'unfold all';
});
document.addEventListener('click', event => {
  for (const name of ['host', 'domain']) {
    const link = event.target.closest(`a[data-${name}]`);
    if (link) {
      event.preventDefault();
      at(name).value = link.dataset[name];
      keep();
    }
  }
});
addEventListener('hashchange', take);
take();
