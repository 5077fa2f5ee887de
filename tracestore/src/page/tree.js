// From spans in any order, with any parents, to the rows of a tree. Nothing here touches the page.

/**
 * Orders spans depth first, children by their start. Every span comes out exactly once, whatever
 * the parents are: a span whose parent is missing is a root, and so is the earliest span of a
 * cycle. A client and a server that share an id are parent and child, as they are to TraceQL. Takes
 * linear time and no recursion after sorting.
 *
 * @param spans objects with `id`, `parent` ("" for none), `kind` and `start` (a number)
 * @returns arrays by row: `spans`, `depth`, `parent` (a row, or -1), `end` (the row after the last
 *          descendant), and sets of rows, `orphans`, `cycles` and `calls` (clients and servers that
 *          share an id)
 */
export function layout(spans) {
  const sorted = [...spans].sort((a, b) => a.start - b.start);
  const firstWithId = new Map();
  const repeated = new Map();
  sorted.forEach(({ id }, index) => {
    const first = firstWithId.get(id);
    if (first === undefined) firstWithId.set(id, index);
    else if (repeated.has(id)) repeated.get(id).push(index);
    else repeated.set(id, [first, index]);
  });
  const calls = callsAmong(sorted, repeated);
  const parentOf = (index) => {
    const { id, parent, kind } = sorted[index];
    if (parent === "") return undefined;
    const own = calls.get(id);
    if (own?.server === index) return own.client;
    if (parent === id) return undefined;
    const call = calls.get(parent);
    if (call === undefined) return firstWithId.get(parent);
    // Who calls a server is a client.
    return kind === "server" ? call.client : call.server;
  };

  const size = sorted.length;
  const above = new Int32Array(size).fill(-1);
  // Children as linked lists: a hub with 50,000 of them is as cheap as a chain.
  const firstChild = new Int32Array(size).fill(-1);
  const nextSibling = new Int32Array(size).fill(-1);
  const roots = [];
  for (let index = size - 1; index >= 0; index--) {
    const up = parentOf(index);
    if (up === undefined) {
      roots.push(index);
      continue;
    }
    above[index] = up;
    nextSibling[index] = firstChild[up];
    firstChild[up] = index;
  }
  roots.reverse();

  const tree = {
    spans: new Array(size),
    depth: new Int32Array(size),
    parent: new Int32Array(size).fill(-1),
    end: new Int32Array(size),
    orphans: new Set(),
    cycles: new Set(),
    calls: new Set(),
  };
  const rowOf = new Int32Array(size).fill(-1);
  let row = 0;
  const visit = (root) => {
    const stack = [root];
    while (stack.length > 0) {
      const index = stack.pop();
      if (index < 0) {
        // Everything below the span of that row has been visited.
        tree.end[~index] = row;
        continue;
      }
      if (rowOf[index] >= 0) continue;
      const span = sorted[index];
      const up = index === root ? -1 : rowOf[above[index]];
      rowOf[index] = row;
      tree.spans[row] = span;
      tree.parent[row] = up;
      tree.depth[row] = up < 0 ? 0 : tree.depth[up] + 1;
      if (calls.has(span.id)) tree.calls.add(row);
      if (span.parent !== "" && up < 0) (firstWithId.has(span.parent) ? tree.cycles : tree.orphans).add(row);
      stack.push(~row);
      row++;
      const children = [];
      for (let child = firstChild[index]; child >= 0; child = nextSibling[child]) children.push(child);
      while (children.length > 0) stack.push(children.pop());
    }
  };
  for (const root of roots) visit(root);
  // What no root reaches hangs from a cycle: break it at its earliest span.
  for (let index = 0; index < size; index++) {
    if (rowOf[index] < 0) visit(onCycle(above, index));
  }
  return tree;
}

/** `{ client, server }` by the id that they share, and no other span has. */
function callsAmong(sorted, repeated) {
  const calls = new Map();
  for (const [id, same] of repeated) {
    const client = same.find((index) => sorted[index].kind === "client");
    const server = same.find((index) => sorted[index].kind === "server");
    if (same.length === 2 && client !== undefined && server !== undefined) calls.set(id, { client, server });
  }
  return calls;
}

/** The earliest span of the cycle that the parents of a span lead to. */
function onCycle(above, start) {
  const seen = new Set();
  let at = start;
  while (!seen.has(at)) {
    seen.add(at);
    at = above[at];
  }
  let earliest = at;
  for (let other = above[at]; other !== at; other = above[other]) earliest = Math.min(earliest, other);
  return earliest;
}

/** The rows that show while those in `collapsed` hide what is below them. */
export function visibleRows(tree, collapsed) {
  const visible = [];
  for (let row = 0; row < tree.spans.length; ) {
    visible.push(row);
    row = collapsed.has(row) ? tree.end[row] : row + 1;
  }
  return visible;
}

/** Rows with something below them, from a depth on. */
export function parentsFrom(tree, depth) {
  const found = new Set();
  for (let row = 0; row < tree.spans.length; row++) {
    if (tree.depth[row] >= depth && tree.end[row] > row + 1) found.add(row);
  }
  return found;
}

/** Expands everything above a row; says whether that changed anything. */
export function reveal(tree, collapsed, row) {
  let changed = false;
  for (let up = tree.parent[row]; up >= 0; up = tree.parent[up]) changed = collapsed.delete(up) || changed;
  return changed;
}
