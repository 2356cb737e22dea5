"use strict";
(() => {
  const anchors = JSON.parse(document.getElementById("anchors-json").textContent);
  const boxes = [...document.querySelectorAll("input[data-word]")];
  const place = (owner, word) => JSON.stringify([owner, word]);
  const vetoed = () => new Set(boxes.filter(box => !box.checked).map(box => place(box.dataset.class, box.dataset.word)));
  const kept = () => {
    const out = vetoed();
    return anchors.filter(anchor => !out.has(place(anchor.class_name, anchor.word)));
  };
  const status = document.getElementById("vetoed");
  const said = status.innerHTML;
  boxes.forEach(box => box.addEventListener("change", () => {
    const left = kept();
    const without = [...new Set(anchors.map(a => a.class_name))].filter(name => !left.some(a => a.class_name === name));
    status.innerHTML = said;
    if (left.length < anchors.length) status.prepend(`${anchors.length - left.length} of ${anchors.length} words left out. `);
    if (without.length) status.prepend(`No word is left for ${without.join(", ")}. `);
  }));
  document.getElementById("export").addEventListener("click", () => {
    const lines = kept().map(anchor => JSON.stringify(anchor) + "\n");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(lines, {type: "application/jsonl"}));
    link.download = "anchors.jsonl";
    link.click();
    URL.revokeObjectURL(link.href);
  });
})();
