"use strict";
// The page is whole without this: here is only what needs a hand. Curves can be hidden, and values read where the pointer or a key stops.
(() => {
  const tip = document.getElementById("tip");
  const hidden = new Set();

  const toggle = (s) => {
    hidden.has(s) ? hidden.delete(s) : hidden.add(s);
    for (const e of document.querySelectorAll(`[data-s="${s}"]`)) {
      e.classList.toggle("off", hidden.has(s));
      if (e.classList.contains("label")) e.setAttribute("aria-pressed", String(!hidden.has(s)));
    }
  };
  for (const label of document.querySelectorAll("svg .label")) {
    label.setAttribute("role", "button");
    label.setAttribute("aria-pressed", "true");
    label.setAttribute("aria-label", "show " + label.textContent);
    label.setAttribute("tabindex", "0");
    label.addEventListener("click", () => toggle(label.dataset.s));
    label.addEventListener("keydown", (e) => {
      if (e.key !== "Enter" && e.key !== " ") return;
      e.preventDefault();
      toggle(label.dataset.s);
    });
    label.closest("svg").setAttribute("role", "group"); // of an image, readers would not see the buttons
  }

  const line = (name, value, style) => {
    const p = document.createElement("p");
    const left = p.appendChild(document.createElement("span"));
    left.textContent = name;
    if (style) left.className = style;
    p.appendChild(document.createElement("b")).textContent = value;
    return p;
  };
  const hues = 8;

  for (const figure of document.querySelectorAll("figure")) {
    const source = figure.querySelector("script");
    if (!source) continue;
    const data = JSON.parse(source.textContent);
    for (const svg of figure.querySelectorAll("svg[data-x]")) {
      const stops = svg.dataset.x.split(" ").map(Number);
      const hair = svg.querySelector(".hairline");
      const scale = () => svg.viewBox.baseVal.width / svg.getBoundingClientRect().width;
      let at = -1;
      const leave = () => {
        at = -1;
        tip.hidden = true;
        hair.style.display = "none";
      };
      const show = (i) => {
        at = i;
        const box = svg.getBoundingClientRect();
        hair.setAttribute("d", `M${stops[i]} ${svg.dataset.top}V${svg.dataset.bottom}`);
        hair.style.display = "inline";
        const rows = data.series
          .filter((s) => s.order[i] !== null && !hidden.has(String(s.key)))
          .sort((a, b) => b.order[i] - a.order[i]);
        tip.replaceChildren(line(data.labels[i], ""), ...rows.map((s) => line(s.name, s.values[i], "k" + (s.key % hues))));
        tip.hidden = false;
        const x = box.left + stops[i] / scale();
        const right = x + 16 + tip.offsetWidth < document.documentElement.clientWidth;
        tip.style.left = Math.max(4, scrollX + (right ? x + 16 : x - 16 - tip.offsetWidth)) + "px";
        tip.style.top = scrollY + box.top + 8 + "px";
      };
      const nearest = (x) => stops.reduce((best, s, i) => (Math.abs(s - x) < Math.abs(stops[best] - x) ? i : best), 0);
      const point = (e) => show(nearest((e.clientX - svg.getBoundingClientRect().left) * scale()));
      svg.setAttribute("tabindex", "0");
      svg.addEventListener("pointermove", point);
      svg.addEventListener("pointerdown", point);
      svg.addEventListener("pointerleave", leave);
      svg.addEventListener("blur", leave);
      svg.addEventListener("keydown", (e) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
        if (e.key === "Escape") leave();
        if (!step || e.target !== svg) return;
        e.preventDefault();
        show(at < 0 ? (step > 0 ? 0 : stops.length - 1) : Math.min(Math.max(at + step, 0), stops.length - 1));
      });
    }
  }
})();
