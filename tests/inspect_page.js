// Runs in a page of the built site and lists what a reader would stumble over.
() => {
  const problems = [];
  const page = document.documentElement;
  const room = page.clientWidth;
  const main = document.querySelector("main") || document.body;
  const named = (node) => `<${node.tagName.toLowerCase()}> ${node.textContent.trim().slice(0, 40)}`;

  if (page.scrollWidth > room + 1) problems.push(`horizontal overflow: ${page.scrollWidth} in ${room} pixels`);

  // Clipped: what sticks out of the window although nothing around it scrolls.
  const scrolls = (node) => {
    for (; node && node !== document.body; node = node.parentElement)
      if (["auto", "scroll"].includes(getComputedStyle(node).overflowX)) return true;
    return false;
  };
  const blocks = "p, pre, table, img, svg, mjx-container, h1, h2, h3, li, .provenance";
  for (const node of main.querySelectorAll(blocks)) {
    const box = node.getBoundingClientRect();
    if (box.width && box.height && box.right > room + 1 && !scrolls(node))
      problems.push(`clipped: ${named(node)} ends at ${Math.round(box.right)} of ${room} pixels`);
  }

  // A name of a file is what Sphinx writes where nobody described the picture.
  for (const image of document.images) {
    const source = image.getAttribute("src");
    const text = (image.alt || "").trim();
    if (!image.complete || !image.naturalWidth) problems.push(`missing image: ${source}`);
    if (main.contains(image) && (!text || text.endsWith(source.split("/").pop())))
      problems.push(`image without alternative text: ${source.slice(0, 60)}`);
  }

  // Contrast as WCAG 2 defines it.
  const channels = (colour) => (colour.match(/[\d.]+/g) || []).map(Number);
  const linear = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const luminance = (colour) => {
    const [r, g, b] = channels(colour).map((c) => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if ((channels(colour)[3] ?? 1) > 0.5) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  for (const node of main.querySelectorAll("p, li, td, h1, h2, h3, .provenance, .badge-profile")) {
    if (!node.textContent.trim() || !node.getBoundingClientRect().width) continue;
    const pair = [luminance(getComputedStyle(node).color), luminance(behind(node))].sort((a, b) => b - a);
    if ((pair[0] + 0.05) / (pair[1] + 0.05) < 4.5) problems.push(`hard to read: ${named(node)}`);
  }

  for (const formula of document.querySelectorAll(".math"))
    if (!formula.querySelector("mjx-container")) problems.push(`formula not set: ${named(formula)}`);
  for (const bad of document.querySelectorAll("mjx-merror, [data-mjx-error]"))
    problems.push(`wrong formula: ${bad.getAttribute("data-mjx-error") || bad.textContent}`);
  return problems;
}
