// Asks the server that this page came from.

/** The server answered, and will answer the same next time. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Parsed JSON. Throws `Refused` for any status but 200, and what `fetch` throws where nobody answers. */
export async function ask(path, options = {}) {
  return JSON.parse(await askText(path, options));
}

export async function askText(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: { accept: "application/json", ...options.headers } });
  const text = await answer.text();
  if (!answer.ok) throw new Refused(answer.status, text.trim() || `${answer.status} ${answer.statusText}`);
  return text;
}

/** Values that are there for a tag, e.g. `resource.service.name`; an empty list where the server cannot say. */
export async function tagValues(tag, query, options) {
  const parameters = new URLSearchParams({ limit: "1000" });
  if (query) parameters.set("q", query);
  try {
    // Tempo takes the tag as it is, and a tag may hold a slash.
    const path = tag.split("/").map(encodeURIComponent).join("/");
    const answer = await ask(`/api/v2/search/tag/${path}/values?${parameters}`, options);
    return (answer.tagValues ?? []).filter(({ value }) => typeof value === "string");
  } catch {
    return [];
  }
}

/** Names of attributes with their scope, e.g. `span.http.route`; an empty list where the server cannot say. */
export async function tagNames(options) {
  try {
    const { scopes = [] } = await ask("/api/v2/search/tags?limit=5000", options);
    return scopes.flatMap(({ name, tags = [] }) => tags.map((tag) => (name === "intrinsic" ? tag : `${name}.${tag}`)));
  } catch {
    return [];
  }
}
