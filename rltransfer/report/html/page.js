"use strict";
(() => {
  const sections = JSON.parse(document.getElementById("data").textContent);
  const tip = document.getElementById("tip");
  const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });

  // Only text is ever put into the page: names come from files.
  const make = (tag, text, style) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (style) made.setAttribute("style", style);
    return made;
  };

  const show = (content, x, y) => {
    tip.replaceChildren(content);
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = x + 16 + box.width > innerWidth ? x - 16 - box.width : x + 16;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, Math.min(y + 12, innerHeight - box.height - 4))}px`;
  };
  const hide = () => { tip.hidden = true; };

  const keys = (section) => {
    const buttons = [...section.querySelectorAll(".key")];
    const isOn = (button) => button.getAttribute("aria-pressed") === "true";
    const set = (button, on) => {
      button.setAttribute("aria-pressed", String(on));
      for (const mark of section.querySelectorAll(`[data-arm="${button.dataset.key}"]`)) {
        mark.classList.toggle("off", !on);
      }
    };
    for (const button of buttons) {
      button.addEventListener("click", () => set(button, !isOn(button)));
      button.addEventListener("dblclick", () => {
        const alone = isOn(button) && buttons.filter(isOn).length === 1;
        for (const other of buttons) set(other, alone || other === button);
      });
    }
    return (index) => isOn(buttons[index]);
  };

  const values = (arms, plot, point, isOn) => {
    const rows = plot.lines
      .map((line, index) => ({ line, index, value: line === null ? null : line.middle[point] }))
      .filter(({ index, value }) => isOn(index) && value !== null)
      .sort((a, b) => b.value - a.value);
    const table = make("table");
    for (const { line, index, value } of rows) {
      const row = make("tr");
      const name = make("td");
      name.append(make("b", undefined, `background:var(--c${arms[index].colour})`), arms[index].name);
      const low = line.low === null ? null : line.low[point];
      const high = line.high === null ? null : line.high[point];
      const band = low === null || high === null ? "" : `${number.format(low)} to ${number.format(high)}`;
      row.append(name, make("td", number.format(value)), make("td", band));
      table.append(row);
    }
    const whole = make("div");
    whole.append(make("strong", `${plot.label} ${plot.at[point].toLocaleString("en")}`), table);
    return whole;
  };

  const follow = (place, arms, plot, isOn) => {
    const cross = make("i");
    cross.className = "cross";
    const last = plot.at.length - 1;
    const span = plot.end - plot.start || 1;
    let point = 0;
    const at = (index) => {
      point = Math.max(0, Math.min(last, index));
      const box = place.getBoundingClientRect();
      const share = Math.max(0, Math.min(1, (plot.at[point] - plot.start) / span));
      cross.style.left = `${100 * share}%`;
      place.append(cross);
      show(values(arms, plot, point, isOn), box.left + share * box.width, box.top + 20);
    };
    // Stairs keep a value until the next point; elsewhere the nearest point is meant.
    const under = (event) => {
      const box = place.getBoundingClientRect();
      const wanted = plot.start + ((event.clientX - box.left) / box.width) * span;
      let best = 0;
      plot.at.forEach((one, index) => {
        const nearer = Math.abs(one - wanted) < Math.abs(plot.at[best] - wanted);
        if (plot.stairs ? one <= wanted : nearer) best = index;
      });
      return best;
    };
    const leave = () => { cross.remove(); hide(); };
    place.addEventListener("pointermove", (event) => at(under(event)));
    place.addEventListener("pointerdown", (event) => at(under(event)));
    place.addEventListener("pointerleave", leave);
    place.addEventListener("blur", leave);
    place.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1, Home: -last, End: last }[event.key];
      if (move === undefined) return;
      event.preventDefault();
      at(point + move);
    });
  };

  for (const section of document.querySelectorAll(".charts")) {
    const { arms, plots } = sections[Number(section.dataset.section)];
    const isOn = keys(section);
    for (const place of section.querySelectorAll("[data-plot]")) {
      follow(place, arms, plots[place.dataset.plot], isOn);
    }
  }
  for (const section of document.querySelectorAll(".layers")) keys(section);
  document.addEventListener("pointerover", (event) => {
    const mark = event.target.closest && event.target.closest("[data-tip]");
    if (mark) show(make("div", mark.dataset.tip), event.clientX, event.clientY);
  });
  document.addEventListener("pointerout", (event) => {
    if (event.target.closest && event.target.closest("[data-tip]")) hide();
  });
  addEventListener("beforeprint", () => {
    for (const folded of document.querySelectorAll("details")) folded.open = true;
  });
})();
