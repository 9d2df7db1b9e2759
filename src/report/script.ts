/** The page's script: sorting tables and drawing tokens. Texts reach the page as text nodes, never as HTML. */
/** The script as text; its hash is in the page's policy. */
export const SCRIPT = `'use strict';
(() => {
  const NUMBERS = { V: 'v', 'δ': 'd', 'log-probability': 'p', 'entropy (nats)': 'h' };
  const show = (x, sign) => (x === null ? '–' : ((sign && x > 0 ? '+' : '') + x.toFixed(3)).replace('-', '−'));
  const make = (name, props, ...children) => {
    const element = Object.assign(document.createElement(name), props);
    element.append(...children);
    return element;
  };

  // Only boxes that do scroll need a place in the tab order.
  const watch = () => {
    for (const box of document.querySelectorAll('.scroll')) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute('tabindex');
    }
  };
  addEventListener('resize', watch);
  addEventListener('change', watch);
  addEventListener('toggle', watch, true);

  const key = (row, column) => {
    const { sort } = row.cells[column].dataset;
    return sort === undefined ? NaN : Number(sort);
  };
  for (const table of document.querySelectorAll('table.sortable')) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = make('button', { type: 'button' }, ...head.childNodes);
      head.append(button);
      button.addEventListener('click', () => {
        const up = head.getAttribute('aria-sort') !== 'ascending';
        for (const other of head.parentNode.cells) other.removeAttribute('aria-sort');
        head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
        const body = table.tBodies[0];
        const rows = [...body.rows].sort((a, b) => {
          const [x, y] = [key(a, column), key(b, column)];
          return isNaN(x) || isNaN(y) ? isNaN(x) - isNaN(y) : up ? x - y : y - x;
        });
        body.append(...rows);
      });
    });
  }

  function setUp(view) {
    const data = JSON.parse(view.querySelector('script').textContent);
    const note = make('div', { className: 'note', id: view.id + '-note', hidden: true });
    note.setAttribute('role', 'tooltip');
    const articles = [...view.querySelectorAll('.trajectory')];

    function describe(example, t) {
      const values = Object.entries(NUMBERS).map(([name, short]) => name + ' ' + show(example[short][t], short === 'd'));
      return 'token ' + (t + 1) + ' of ' + example.t.length + ': ' + values.join(', ');
    }

    function draw(article) {
      const example = data.examples[article.dataset.example];
      const box = article.querySelector('.tokens');
      const cursor = make('div', { className: 'cursor', hidden: true });
      article.querySelector('.trace').append(cursor);
      const tokens = example.t.map((text, t) => {
        const level = Math.max(0, Math.min(20, Math.round(example.v[t] * 20)));
        const delta = example.d[t];
        const span = make('span', { className: 't v' + level + (delta > 0 ? ' up' : delta < 0 ? ' down' : ''), tabIndex: t === 0 ? 0 : -1 });
        span.textContent = text.replaceAll('\\n', '') || text;
        span.setAttribute('role', 'option');
        span.setAttribute('aria-selected', 'false');
        span.style.setProperty('--d', Math.min(1, Math.abs(delta) / data.scale).toFixed(2));
        box.append(span, ...(text.endsWith('\\n') ? [document.createElement('br')] : []));
        return span;
      });
      let current = 0;
      const hide = () => {
        note.hidden = cursor.hidden = true;
      };
      function point(t) {
        const span = tokens[t];
        note.textContent = describe(example, t);
        box.append(note);
        note.hidden = cursor.hidden = false;
        const room = box.clientWidth - note.offsetWidth;
        note.style.left = Math.max(0, Math.min(room, span.offsetLeft)) + 'px';
        note.style.top = span.offsetTop + span.offsetHeight + 1 + 'px';
        cursor.style.setProperty('--at', t / example.t.length);
      }
      function select(t) {
        tokens[current].tabIndex = -1;
        tokens[current].setAttribute('aria-selected', 'false');
        tokens[current].removeAttribute('aria-describedby');
        current = t;
        tokens[t].tabIndex = 0;
        tokens[t].setAttribute('aria-selected', 'true');
        tokens[t].setAttribute('aria-describedby', note.id);
        point(t);
      }
      /** The token of the next (1) or previous (-1) line that is nearest. */
      function line(step) {
        const { offsetTop: top, offsetLeft: left } = tokens[current];
        let best = current;
        let row;
        for (let t = current + step; t >= 0 && t < tokens.length; t += step) {
          const own = tokens[t].offsetTop;
          if (own === top) continue;
          row ??= own;
          if (own !== row) break;
          if (best === current || Math.abs(tokens[t].offsetLeft - left) < Math.abs(tokens[best].offsetLeft - left)) best = t;
        }
        return best;
      }
      const last = tokens.length - 1;
      const moves = {
        ArrowRight: () => Math.min(last, current + 1),
        ArrowLeft: () => Math.max(0, current - 1),
        ArrowDown: () => line(1),
        ArrowUp: () => line(-1),
        Home: () => 0,
        End: () => last,
      };
      box.addEventListener('keydown', (event) => {
        if (event.key === 'Escape') return hide();
        if (!(event.key in moves) || event.ctrlKey || event.metaKey || event.altKey) return undefined;
        event.preventDefault();
        return tokens[moves[event.key]()].focus();
      });
      box.addEventListener('focusin', (event) => {
        const t = tokens.indexOf(event.target);
        if (t >= 0) select(t);
      });
      box.addEventListener('focusout', hide);
      box.addEventListener('mouseover', (event) => {
        const t = tokens.indexOf(event.target);
        if (t >= 0) point(t);
      });
      box.addEventListener('mouseleave', () => (box.contains(document.activeElement) ? point(current) : hide()));
      article.querySelector('.token-numbers').addEventListener('toggle', (event) => numbers(event.target, article, example), { once: true });
    }

    function numbers(details, article, example) {
      const names = ['#', 'token', ...Object.keys(NUMBERS)];
      const head = make('tr', {}, ...names.map((name) => make('th', { scope: 'col' }, name)));
      const rows = example.t.map((text, t) => {
        const cells = Object.values(NUMBERS).map((short) => make('td', { className: 'n' }, show(example[short][t], short === 'd')));
        return make('tr', {}, make('th', { scope: 'row' }, String(t + 1)), make('td', {}, make('code', {}, text)), ...cells);
      });
      const caption = make('caption', {}, 'Tokens of ' + article.dataset.name);
      details.append(make('div', { className: 'scroll' }, make('table', {}, caption, make('thead', {}, head), make('tbody', {}, ...rows))));
    }

    function choose(index) {
      articles.forEach((article, i) => {
        article.hidden = i !== index;
        if (i === index && !article.dataset.drawn) {
          article.dataset.drawn = 'yes';
          draw(article);
        }
      });
    }
    const select = view.querySelector('select');
    select.addEventListener('change', () => choose(Number(select.value)));
    choose(Number(select.value)); // a browser may restore an earlier choice
  }
  document.querySelectorAll('.token-view').forEach(setUp);
  watch();
})();
`;
