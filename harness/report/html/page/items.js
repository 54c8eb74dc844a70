"use strict";
// The items: a table to filter, and every arm's answer side by side. All text goes in as text, never as markup.
(() => {
  const place = document.getElementById("item-rows");
  if (!place) return;
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const find = (id) => document.getElementById(id);
  const dialog = find("detail");
  const RIGHT = "correct";
  let items = [];
  let passages = [];
  let visible = [];
  let current = -1;

  function element(kind, text, classes) {
    const made = document.createElement(kind);
    if (text !== undefined && text !== null) made.textContent = text;
    if (classes) made.className = classes;
    return made;
  }

  async function unpack() {
    const bytes = Uint8Array.from(atob(find("item-data").textContent.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  const readable = (category) => (category ?? "not judged").replaceAll("_", " ");
  const state = (answer) => (!answer || !answer.category ? "none" : answer.category === RIGHT ? "good" : "bad");
  // An arm may be called "constructor": only what the item has itself counts.
  const answerOf = (item, arm) => (Object.hasOwn(item.answers, arm) ? item.answers[arm] : undefined);
  const answersOf = (item) => facts.arms.map((arm) => answerOf(item, arm)).filter(Boolean);
  const rightIn = (item) => answersOf(item).filter((answer) => answer.category === RIGHT).length;

  function mark(answer) {
    const cell = element("td", null, "mark " + state(answer));
    if (!answer) {
      cell.textContent = "–";
      return cell;
    }
    const score = answer.scores[facts.metric];
    const sign = { good: "✓", bad: "✗", none: "·" }[state(answer)];
    cell.textContent = score === undefined || score === null ? sign : sign + " " + score.toFixed(2);
    cell.title = readable(answer.category);
    return cell;
  }

  function row(item, position) {
    const made = element("tr");
    const head = element("th", null, "left");
    head.scope = "row";
    const button = element("button", item.id, "open");
    button.type = "button";
    head.append(button);
    const answers = answersOf(item);
    const right = rightIn(item);
    const clipped = item.input.length > 160 ? item.input.slice(0, 157) + "…" : item.input;
    made.append(
      head,
      element("td", clipped, "text"),
      element("td", item.gold.join(" | "), "gold"),
      element("td", right + "/" + answers.length, right === answers.length ? "good" : right ? "" : "bad"),
      ...facts.arms.map((arm) => mark(answerOf(item, arm))),
    );
    made.dataset.position = position;
    return made;
  }

  function matches(item, wanted) {
    const right = rightIn(item);
    const all = answersOf(item).length;
    if (wanted.which === "wrong" && right) return false;
    if (wanted.which === "right" && right < all) return false;
    if (wanted.which === "differ" && !item.differ) return false;
    if (wanted.category || wanted.arm) {
      const arms = wanted.arm ? [wanted.arm] : facts.arms;
      const found = arms.map((arm) => answerOf(item, arm)).filter(Boolean);
      if (!found.some((answer) => !wanted.category || answer.category === wanted.category)) return false;
    }
    return !wanted.text || item.haystack.includes(wanted.text);
  }

  function filter() {
    const wanted = {
      text: find("search").value.trim().toLowerCase(),
      which: find("which").value,
      arm: find("arm").value,
      category: find("category").value,
    };
    visible = items.filter((item) => matches(item, wanted));
    place.replaceChildren(...visible.map(row));
    find("count").textContent = visible.length + " of " + items.length + " shown";
  }

  function section(title, text, classes) {
    const made = document.createDocumentFragment();
    made.append(element("h4", title), element("pre", text === "" ? "(empty)" : text, classes));
    return made;
  }

  function folded(title, parts) {
    const made = element("details");
    made.append(element("summary", title), ...parts);
    return made;
  }

  function passageParts(found) {
    return found.map(([number, title, score, hit], place) => {
      const passage = passages[number];
      const head = place + 1 + ". [" + passage.document + "] " + title + " (" + score + ")" + (hit ? " ✓ states the answer" : "");
      return element("pre", head + "\n" + passage.text);
    });
  }

  function pane(arm, answer) {
    const made = element("section", null, "pane " + state(answer));
    made.append(element("h3", arm + (arm === facts.chosen ? " ★" : "")));
    if (!answer) {
      made.append(element("p", "no answer", "facts"));
      return made;
    }
    const scores = Object.entries(answer.scores).map(([name, value]) => name + " " + (value ?? "–"));
    made.append(element("p", [readable(answer.category), ...scores].join(" · "), "facts"));
    made.append(section("Answer", answer.answer, "answer"));
    if (answer.raw !== undefined) made.append(folded("Raw output", [element("pre", answer.raw)]));
    if (answer.error) made.append(section("Error", answer.error));
    if (answer.passages) made.append(folded("Passages (" + answer.passages.length + ")", passageParts(answer.passages)));
    const size = answer.tokens[0] + " tokens in, " + answer.tokens[1] + " out, ended by " + answer.finish;
    made.append(folded("Prompt", [element("p", size, "facts"), element("pre", answer.prompt)]));
    return made;
  }

  function show(position) {
    if (position < 0 || position >= visible.length) return;
    current = position;
    const item = visible[position];
    find("detail-title").textContent = item.id + (item.group ? " · " + item.group : "");
    const question = element("div", null, "question");
    const asked = element("div");
    asked.append(element("h3", "Input"), element("pre", item.input));
    const gold = element("div");
    gold.append(element("h3", "Gold"), element("pre", item.gold.join("\n") || "none"));
    question.append(asked, gold);
    const panes = element("div", null, "panes");
    panes.append(...facts.arms.map((arm) => pane(arm, answerOf(item, arm))));
    find("detail-body").replaceChildren(question, panes);
    find("previous").disabled = position === 0;
    find("next").disabled = position === visible.length - 1;
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  }

  function prepare(data) {
    passages = data.passages;
    items = data.items;
    const categories = new Set();
    for (const item of items) {
      const answers = answersOf(item);
      answers.forEach((answer) => answer.category && categories.add(answer.category));
      const scores = new Set(answers.map((answer) => answer.scores[facts.metric] ?? null));
      item.differ = scores.size > 1 || new Set(answers.map((answer) => answer.category)).size > 1;
      const texts = [item.id, item.group ?? "", item.input, ...item.gold, ...answers.map((answer) => answer.answer)];
      item.haystack = texts.join("\n").toLowerCase();
    }
    find("item-head").append(
      ...[["item", "left"], ["input", "text"], ["gold", "gold"], ["right", ""]].map(([name, classes]) => {
        const made = element("th", name, classes);
        made.scope = "col";
        return made;
      }),
      ...facts.arms.map((arm) => {
        const made = element("th", arm, "mark");
        made.scope = "col";
        return made;
      }),
    );
    for (const arm of facts.arms) find("arm").append(new Option(arm, arm));
    for (const category of [...categories].sort()) find("category").append(new Option(readable(category), category));
    filter();
  }

  for (const event of ["input", "change"]) find("filters").addEventListener(event, filter);
  find("filters").addEventListener("submit", (event) => event.preventDefault());
  find("filters").addEventListener("reset", () => setTimeout(filter));
  place.addEventListener("click", (event) => {
    const clicked = event.target.closest("tr");
    if (clicked) show(Number(clicked.dataset.position));
  });
  find("previous").addEventListener("click", () => show(current - 1));
  find("next").addEventListener("click", () => show(current + 1));
  find("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => place.children[current]?.querySelector("button").focus());
  dialog.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, textarea")) return;
    if (event.key === "ArrowLeft") show(current - 1);
    if (event.key === "ArrowRight") show(current + 1);
  });

  if (typeof DecompressionStream === "undefined") {
    find("count").textContent = "This browser is too old to show the items.";
    return;
  }
  unpack().then(prepare);
})();
