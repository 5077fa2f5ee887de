// From spans in any order, with any parents, to the rows of a tree. Nothing here touches the page.

/**
 * Orders spans depth first, children by their start. Every span comes out exactly once, whatever
 * the parents are: a span whose parent is missing is a root, and so is the earliest span of a
 * cycle. Takes linear time and no recursion after sorting.
 *
 * @param spans objects with `id`, `parent` ("" for none) and `start` (BigInt)
 * @returns rows `{ span, depth, orphan, cycle }`
 */
export function rows(spans) {
  const sorted = [...spans].sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  const firstWithId = new Map();
  sorted.forEach((span, index) => {
    if (!firstWithId.has(span.id)) firstWithId.set(span.id, index);
  });

  const children = sorted.map(() => []);
  const roots = [];
  sorted.forEach((span, index) => {
    const parent = span.parent === "" ? undefined : firstWithId.get(span.parent);
    if (parent === undefined || span.parent === span.id) roots.push(index);
    else children[parent].push(index);
  });

  const found = [];
  const visited = new Uint8Array(sorted.length);
  const visit = (root, cycle) => {
    const stack = [[root, 0]];
    while (stack.length > 0) {
      const [index, depth] = stack.pop();
      if (visited[index]) continue;
      visited[index] = 1;
      const span = sorted[index];
      found.push({
        span,
        depth,
        orphan: span.parent !== "" && !firstWithId.has(span.parent),
        cycle: span.parent === span.id || (cycle && index === root),
      });
      for (let i = children[index].length - 1; i >= 0; i--) stack.push([children[index][i], depth + 1]);
    }
  };
  for (const root of roots) visit(root, false);
  // What no root reaches hangs from a cycle: break it at its earliest span.
  for (let index = 0; index < sorted.length; index++) {
    if (!visited[index]) visit(onCycle(sorted, firstWithId, index), true);
  }
  return found;
}

/** The earliest span of the cycle that the parents of a span lead to. */
function onCycle(sorted, firstWithId, start) {
  const parent = (index) => firstWithId.get(sorted[index].parent);
  const seen = new Set();
  let at = start;
  while (!seen.has(at)) {
    seen.add(at);
    at = parent(at);
  }
  let earliest = at;
  for (let other = parent(at); other !== at; other = parent(other)) earliest = Math.min(earliest, other);
  return earliest;
}
