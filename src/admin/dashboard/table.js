// Text and tables of the page. Only what differs is touched, so that a selection, a focus and a screen reader stay where
// they are. Text is set as text: nothing that somebody says becomes markup.

/** Sets the text of an element. */
export function show(id, text) {
  const element = document.getElementById(id);
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Fills a table. A cell is a text, or `{ text, title, kind: its classes, tone: good|warn|bad, pill: the same as a badge,
 * meter: a part of 1 drawn beside it }`. Without rows stands what would be there.
 */
export function fill(id, rows, without) {
  if (rows.length === 0) {
    empty(id, without);
    return;
  }
  const [heads, body] = parts(id);
  if (body.querySelector(".empty")) body.replaceChildren();
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, number) => {
    const row = body.rows[number] ?? body.insertRow();
    cells.forEach((cell, column) => {
      write(row.cells[column] ?? row.insertCell(), typeof cell === "string" ? { text: cell } : cell, heads[column].className);
    });
  });
}

/** Says in place of rows why there are none. */
export function empty(id, text) {
  const [heads, body] = parts(id);
  let cell = body.querySelector(".empty");
  if (cell === null) {
    body.replaceChildren();
    cell = body.insertRow().insertCell();
    cell.className = "empty";
    cell.colSpan = heads.length;
  }
  if (cell.textContent !== text) cell.textContent = text;
}

function parts(id) {
  const table = document.getElementById(id);
  return [table.tHead.rows[0].cells, table.tBodies[0]];
}

function write(element, cell, columnKind) {
  const is = JSON.stringify(cell);
  if (element.written === is) return;
  element.written = is;
  element.className = `${columnKind} ${cell.kind ?? ""} ${cell.tone ?? ""}`.trim();
  element.title = cell.title ?? "";
  if (cell.pill !== undefined) {
    const badge = document.createElement("span");
    badge.className = `pill ${cell.pill}`;
    badge.textContent = cell.text;
    element.replaceChildren(badge);
  } else if (cell.meter !== undefined) {
    const meter = document.createElement("meter");
    meter.value = cell.meter;
    // The text beside it says the same.
    meter.setAttribute("aria-hidden", "true");
    element.replaceChildren(meter, cell.text);
  } else {
    element.textContent = cell.text;
  }
}
