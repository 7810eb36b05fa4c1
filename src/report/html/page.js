const at = id => document.getElementById(id);
const blocks = [...document.querySelectorAll('.block')];
function filter() {
  const text = at('text').value.toLowerCase(), host = at('host').value, kind = at('kind').value;
  let shown = 0;
  for (const block of blocks) {
    const has = (name, value) => !value || block.dataset[name].split('\n').includes(value);
    const fits = has('hosts', host) && has('kinds', kind)
      && (!at('dangerous').checked || 'dangerous' in block.dataset)
      && (!text || (block.textContent + block.parentElement.firstChild.textContent + block.dataset.hosts).toLowerCase().includes(text));
    block.hidden = !fits;
    shown += fits;
  }
  for (const task of document.querySelectorAll('.task')) task.hidden = !task.querySelector('.block:not([hidden])');
  at('none').hidden = shown > 0;
  at('count').textContent = shown === blocks.length ? '' : `${shown} of ${blocks.length} shown`;
}
for (const id of ['text', 'host', 'kind', 'dangerous']) at(id).addEventListener('input', filter);
at('filters').addEventListener('submit', event => event.preventDefault());
at('fold').addEventListener('click', event => {
  const open = !blocks.some(block => block.open);
  blocks.forEach(block => block.open = open);
  event.target.textContent = open ? 'fold all' : 'unfold all';
});
