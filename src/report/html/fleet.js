const search = document.querySelector('input[type=search]');
const trouble = document.getElementById('trouble');
const buttons = [...document.querySelectorAll('button[data-state]')];
const rows = [...document.querySelectorAll('tbody tr')];
function show() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const states = buttons.filter(b => b.ariaPressed === 'true').map(b => b.dataset.state);
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !(words.every(word => text.includes(word))
      && (!states.length || states.includes(row.dataset.state))
      && (!trouble.checked || 'trouble' in row.dataset));
  }
}
search.addEventListener('input', show);
trouble.addEventListener('change', show);
for (const button of buttons) {
  button.addEventListener('click', () => {
    button.ariaPressed = button.ariaPressed === 'true' ? 'false' : 'true';
    show();
  });
}
