// Markdown's blocks: headings, lists, quotes, code, tables, rules, paragraphs. Each starts at some line and ends at
// another, found from top to bottom, so text that is appended changes the last two blocks at most. Takes time linear in
// the text.
//
// Differs from CommonMark: no indented code, no headings by underlining, HTML is text; quotes end at the first line
// without a mark; what is indented by two belongs to the list item above, since models do it that way.

import { h, iconButton } from './dom.js';
import { inline } from './inline.js';

const FENCE = /^\s*(`{3,}(?=[^`]*$)|~{3,})(.*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t](.*))?$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^([ \t]*)(?:([-*+])|(\d{1,9})([.)]))(?:([ \t]+)(?=\S)|[ \t]*$)/;
/** Quotes and lists nest so deep; what is deeper is text. */
const DEEPEST = 12;
/** Browsers take long to lay out tables with more columns, so those are text. */
const MOST_COLUMNS = 100;
const TAB = 4;

/**
 * The blocks of some lines.
 * @param {string[]} lines
 * @returns {{line: number, node: Element}[]} each with the line where it starts
 */
export function blocks(lines, depth = 0) {
  const found = [];
  for (let at = 0; at < lines.length;) {
    if (isBlank(lines[at])) {
      at += 1;
      continue;
    }
    const { node, next } =
      code(lines, at) ??
      heading(lines, at) ??
      rule(lines, at) ??
      quote(lines, at, depth) ??
      list(lines, at, depth) ??
      table(lines, at) ??
      paragraph(lines, at, depth);
    found.push({ line: at, node });
    at = next;
  }
  return found;
}

const isBlank = (line) => line.trim() === '';

/** Whether this line cannot be part of a paragraph above. */
function starts(line, depth) {
  if (FENCE.test(line) || HEADING.test(line) || isRule(line)) return true;
  if (depth >= DEEPEST) return false;
  const item = ITEM.exec(line);
  return QUOTE.test(line) || (item !== null && item[5] !== undefined && (item[2] !== undefined || item[3] === '1'));
}

function code(lines, at) {
  const [, fence, info] = FENCE.exec(lines[at]) ?? [];
  if (!fence) return null;
  const indent = columns(lines[at]);
  const language = info.trim().split(/\s/, 1)[0].slice(0, 40);
  const text = [];
  let next = at + 1;
  for (; next < lines.length && !isClosing(lines[next], fence); next += 1) text.push(unindent(lines[next], indent));
  const label = language ? `Code, ${language}` : 'Code';
  const node = h(
    'div',
    { class: 'code' },
    h('div', { class: 'code-head' }, h('span', {}, language || 'text'), iconButton('copy', 'Copy code', 'copy-code')),
    h('pre', { tabindex: 0, role: 'region', 'aria-label': label }, h('code', {}, text.join('\n'))),
  );
  return { node, next: next + 1 };
}

function isClosing(line, fence) {
  const text = line.trim();
  return text.length >= fence.length && text.startsWith(fence) && text === fence[0].repeat(text.length);
}

function heading(lines, at) {
  const [, marks, rest = ''] = HEADING.exec(lines[at]) ?? [];
  if (!marks) return null;
  const text = rest.trim();
  let end = text.length;
  while (text[end - 1] === '#') end -= 1;
  // The page and the message have headings of their own above these.
  const element = h(`h${Math.min(marks.length + 2, 6)}`, { class: `level-${marks.length}` });
  const closed = end === 0 || /\s/.test(text[end - 1]);
  return { node: inline(element, closed ? text.slice(0, end).trimEnd() : text), next: at + 1 };
}

function isRule(line) {
  const text = line.trim();
  if (!'-*_'.includes(text[0])) return false;
  const marks = text.replace(/\s/g, '');
  return marks.length >= 3 && marks === marks[0].repeat(marks.length);
}

const rule = (lines, at) => (isRule(lines[at]) ? { node: h('hr'), next: at + 1 } : null);

function quote(lines, at, depth) {
  if (depth >= DEEPEST || !QUOTE.test(lines[at])) return null;
  let next = at;
  while (next < lines.length && QUOTE.test(lines[next])) next += 1;
  const inner = lines.slice(at, next).map((line) => line.replace(QUOTE, ''));
  return { node: h('blockquote', {}, nodes(inner, depth + 1)), next };
}

function list(lines, at, depth) {
  const first = ITEM.exec(lines[at]);
  if (depth >= DEEPEST || !first) return null;
  const [, , bullet, number, mark] = first;
  const node = bullet ? h('ul') : h('ol', { start: Number(number) === 1 ? null : Number(number) });
  const indent = columns(lines[at]);
  let next = at;
  while (next < lines.length) {
    const item = ITEM.exec(lines[next]);
    if (!item || isRule(lines[next]) || item[2] !== bullet || item[4] !== mark || columns(lines[next]) < indent) break;
    const inner = [lines[next].slice(item[0].length)];
    const width = columns(lines[next]) + (bullet ?? number + mark).length + 1;
    for (next += 1; next < lines.length; next += 1) {
      const line = lines[next];
      if (isBlank(line)) inner.push('');
      else if (columns(line) >= indent + 2) inner.push(unindent(line, width));
      else if (isBlank(inner.at(-1)) || ITEM.test(line) || starts(line, depth)) break;
      else inner.push(line.trimStart());
    }
    node.append(h('li', {}, nodes(inner, depth + 1)));
  }
  return { node, next };
}

function nodes(lines, depth) {
  return blocks(lines, depth).map(({ node }) => node);
}

function table(lines, at) {
  const aligned = alignments(lines, at);
  if (!aligned) return null;
  const row = (line, tag) => {
    const cells = split(line).slice(0, aligned.length);
    return h(
      'tr',
      {},
      cells.map((text, column) => inline(h(tag, { class: aligned[column] }), text)),
    );
  };
  const body = h('tbody');
  let next = at + 2;
  for (; next < lines.length && lines[next].includes('|'); next += 1) body.append(row(lines[next], 'td'));
  const whole = h('table', {}, h('thead', {}, row(lines[at], 'th')), body);
  return { node: h('div', { class: 'table', tabindex: 0, role: 'region', 'aria-label': 'Table' }, whole), next };
}

/** The class of each column if a table starts here: a row, and below it as many cells of dashes. */
function alignments(lines, at) {
  const below = lines[at + 1] ?? '';
  if (!lines[at].includes('|') || !below.includes('-') || !/^[\s|:-]+$/.test(below)) return null;
  const cells = split(below);
  if (cells.length > MOST_COLUMNS || cells.length !== split(lines[at]).length) return null;
  if (!cells.every((cell) => /^:?-+:?$/.test(cell))) return null;
  return cells.map((cell) => (cell.endsWith(':') ? (cell.startsWith(':') ? 'center' : 'right') : null));
}

function split(line) {
  let text = line.trim();
  if (text.startsWith('|')) text = text.slice(1);
  if (text.endsWith('|') && !text.endsWith('\\|')) text = text.slice(0, -1);
  return text.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll('\\|', '|'));
}

function paragraph(lines, at, depth) {
  let next = at + 1;
  while (next < lines.length && !isBlank(lines[next]) && !starts(lines[next], depth) && !alignments(lines, next))
    next += 1;
  return {
    node: inline(
      h('p'),
      lines
        .slice(at, next)
        .map((line) => line.trim())
        .join('\n'),
    ),
    next,
  };
}

/** How many columns of space a line begins with. */
function columns(line) {
  let width = 0;
  for (const char of line) {
    if (char === ' ') width += 1;
    else if (char === '\t') width += TAB;
    else break;
  }
  return width;
}

/** The line without up to so many columns of space at its start. */
function unindent(line, width) {
  let start = 0;
  for (let left = width; left > 0 && (line[start] === ' ' || line[start] === '\t'); start += 1) {
    left -= line[start] === ' ' ? 1 : TAB;
  }
  return line.slice(start);
}
