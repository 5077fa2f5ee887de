// Settings to copy, with the ports that the server really has.

import { byId, copyButton, element, setText } from "/assets/dom.js";
import { details } from "/assets/gauge.js";
import { recall, remember } from "/assets/memory.js";
import { environment, languages, oneSpan } from "/assets/snippets.js";
import { onStatus, refreshStatus } from "/assets/top.js";

const REFRESH_MS = 3000;

let shownPorts = "";

onStatus((status) => {
  byId("usage").replaceChildren(details(status));
  const ports = JSON.stringify(status.ports);
  if (ports === shownPorts) return;
  shownPorts = ports;
  show(status.ports);
});
refresh();

async function refresh() {
  if (!document.hidden) {
    try {
      await refreshStatus();
      byId("state").hidden = true;
    } catch (error) {
      setText(byId("state"), `Not reachable, trying again: ${error.message}`);
      byId("state").hidden = false;
    }
  }
  setTimeout(refresh, REFRESH_MS);
}

function show(ports) {
  const host = location.hostname;
  const at = (port) => `http://${host}:${port}`;
  const addresses = { grpc: at(ports.otlpGrpc), http: at(ports.otlpHttp), jaeger: at(ports.jaegerHttp), hostPort: `${host}:${ports.otlpGrpc}` };
  byId("ports").replaceChildren(
    ...[
      ["OTLP over gRPC", addresses.grpc],
      ["OTLP over HTTP", `${addresses.http}/v1/traces`],
      ["OTLP over HTTP, logs", `${addresses.http}/v1/logs`],
      ["Jaeger thrift over HTTP", `${addresses.jaeger}/api/traces`],
      ["This page, Tempo's API", location.origin],
    ].map(([name, address]) => {
      const head = element("th", "", name);
      head.scope = "row";
      return element("tr", "", head, element("td", "", element("code", "", address)), element("td", "", copyButton(address, `Copy the address of ${name}`)));
    }),
  );
  byId("environment").replaceChildren(...environment(addresses).map(snippet));
  byId("one").replaceChildren(snippet(oneSpan(addresses)));
  showTabs(languages(addresses));
}

function showTabs(all) {
  const tabs = all.map(({ name }, index) => {
    const tab = element("button", "", name);
    tab.type = "button";
    tab.role = "tab";
    tab.id = `tab-${index}`;
    tab.setAttribute("aria-controls", "panel");
    tab.addEventListener("click", () => choose(index));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: all.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose((to + all.length) % all.length);
      tabs[(to + all.length) % all.length].focus();
    });
    return tab;
  });
  const choose = (chosen) => {
    tabs.forEach((tab, index) => {
      tab.ariaSelected = String(index === chosen);
      tab.tabIndex = index === chosen ? 0 : -1;
    });
    remember("language", all[chosen].name);
    byId("panel").setAttribute("aria-labelledby", `tab-${chosen}`);
    byId("panel").replaceChildren(...all[chosen].snippets.map(snippet));
  };
  byId("tabs").replaceChildren(...tabs);
  choose(Math.max(0, all.findIndex(({ name }) => name === recall("language"))));
}

function snippet({ title, text }) {
  const code = element("pre", "", text);
  // What scrolls must be reachable with the keyboard.
  code.tabIndex = 0;
  code.ariaLabel = title;
  code.role = "region";
  return element("div", "snippet", element("header", "", title, copyButton(text, `Copy: ${title}`)), code);
}
