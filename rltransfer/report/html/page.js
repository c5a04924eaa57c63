"use strict";
(() => {
  const tasks = JSON.parse(document.getElementById("data").textContent);
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

  const values = (task, point, isOn) => {
    const rows = task.arms
      .map((arm, index) => ({ arm, index, value: arm.middle[point] }))
      .filter(({ index, value }) => isOn(index) && value !== null)
      .sort((a, b) => b.value - a.value);
    const table = make("table");
    for (const { arm, value } of rows) {
      const row = make("tr");
      const name = make("td");
      name.append(make("b", undefined, `background:var(--c${arm.colour})`), arm.name);
      const low = arm.low === null ? null : arm.low[point];
      const high = arm.high === null ? null : arm.high[point];
      const band = low === null || high === null ? "" : `${number.format(low)} to ${number.format(high)}`;
      row.append(name, make("td", number.format(value)), make("td", band));
      table.append(row);
    }
    const whole = make("div");
    whole.append(make("strong", `step ${task.steps[point].toLocaleString("en")}`), table);
    return whole;
  };

  const curves = (section, task, isOn) => {
    const plot = section.querySelector(".curves .plot");
    const cross = make("i");
    cross.className = "cross";
    const last = task.steps.length - 1;
    const end = task.steps[last] || 1;
    let point = 0;
    const at = (index) => {
      point = Math.max(0, Math.min(last, index));
      const box = plot.getBoundingClientRect();
      const share = task.steps[point] / end;
      cross.style.left = `${100 * share}%`;
      plot.append(cross);
      show(values(task, point, isOn), box.left + share * box.width, box.top + 20);
    };
    const nearest = (event) => {
      const box = plot.getBoundingClientRect();
      const wanted = ((event.clientX - box.left) / box.width) * end;
      let best = 0;
      task.steps.forEach((step, index) => {
        if (Math.abs(step - wanted) < Math.abs(task.steps[best] - wanted)) best = index;
      });
      return best;
    };
    const leave = () => { cross.remove(); hide(); };
    plot.addEventListener("pointermove", (event) => at(nearest(event)));
    plot.addEventListener("pointerdown", (event) => at(nearest(event)));
    plot.addEventListener("pointerleave", leave);
    plot.addEventListener("blur", leave);
    plot.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1, Home: -last, End: last }[event.key];
      if (move === undefined) return;
      event.preventDefault();
      at(point + move);
    });
  };

  for (const section of document.querySelectorAll(".charts")) {
    const task = tasks[Number(section.dataset.task)];
    curves(section, task, keys(section));
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
