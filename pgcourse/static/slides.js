// Lays the blocks of a lecture on slides and turns the slides. A block goes where there is room for it; one that is larger than
// a slide is shrunk a little, or split, or its slide scrolls: nothing is ever cut off.
(() => {
  const SMALLEST = 0.72; // a block is shrunk to this at most: type stays at 2.4 % of the slide's height
  let slides = [], current = 0;

  window.addEventListener("load", async () => {
    await MathJax.startup.promise;
    await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
    layOut([...document.querySelectorAll("main > .block")]);
    window.addEventListener("resize", scale);
    scale(); // not before: what is measured must not be scaled
    controls();
    turnTo(Number(location.hash.slice(1)) - 1 || 0);
    document.body.dataset.ready = "";
  });

  // --- laying out

  function layOut(blocks) {
    document.body.classList.add("laid-out");
    let content = null, full = 0, section = "";

    function begin() {
      const slide = document.createElement("section");
      slide.className = "slide";
      slide.innerHTML = '<div class="content" tabindex="-1"></div><footer><span></span><span></span></footer>';
      slide.querySelector("footer span:last-child").textContent = slides.length ? section : "";
      document.querySelector("main").append(slide);
      slides.push(slide);
      content = slide.firstChild;
      full = content.clientHeight;
    }
    const height = (blocks) => blocks.at(-1).getBoundingClientRect().bottom - blocks[0].getBoundingClientRect().top;
    const used = () => (content.lastChild ? height([...content.children]) : 0);

    // Whether the blocks fit on the present slide, or if not, would on an empty one. If they fit they are there now.
    function fit(...blocks) {
      content.append(...blocks);
      narrow(blocks);
      const alone = height(blocks) <= full;
      if (used() <= full) return { here: true, alone };
      for (const block of blocks) block.remove();
      return { here: false, alone };
    }
    const empty = () => [...content.children].every((block) => block.classList.contains("heading"));

    function place(block) {
      const fits = fit(block);
      if (fits.here) return;
      if (!empty()) {
        begin();
        if (fit(block).here) return;
      }
      const room = full - used();
      content.append(block);
      const factor = room / height([block]);
      if (factor >= SMALLEST) {
        block.style.zoom = 0.99 * factor;
        return;
      }
      block.remove();
      const parts = partsOf(block);
      if (parts.length < 2) {
        content.append(block); // this slide scrolls
        return;
      }
      for (let first = 0; first < parts.length; ) {
        let last = parts.length;
        while (last > first + 1 && !fit(piece(block, parts, first, last)).here) last -= 1;
        if (last < parts.length) {
          const blank = parts.findLastIndex((part, i) => i < last && isBlank(part));
          if (blank > (first + last) / 2) last = blank + 1; // code breaks best between two functions
        }
        if (last === first + 1) place(piece(block, parts, first, last, true));
        first = last;
        if (first < parts.length) begin();
      }
    }

    for (const group of groups(blocks)) {
      if (!content || group[0].classList.contains("begins")) {
        if (group[0].classList.contains("heading")) section = group[0].innerText;
        begin();
      }
      const { here, alone } = fit(...group);
      if (here) continue;
      if (alone) begin();
      for (const block of group) place(block);
    }
    slides.forEach((slide, number) => {
      const inner = slide.firstChild;
      slide.querySelector("footer span").textContent = `${number + 1} / ${slides.length}`;
      if (inner.scrollHeight > inner.clientHeight + 1) {
        inner.classList.add("scrolls");
        inner.style.setProperty("--fit", inner.clientHeight / inner.scrollHeight);
      }
      slide.hidden = true;
    });
  }

  // Blocks that stay together where they fit on one slide.
  function groups(blocks) {
    const made = [];
    let open = false;
    for (const block of blocks) {
      if (open && !block.classList.contains("begins")) made.at(-1).push(block);
      else made.push([block]);
      open = block.classList.contains("stays");
    }
    return made;
  }

  // Formulas that are wider than a slide get smaller type.
  function narrow(blocks) {
    for (const formula of blocks.flatMap((block) => [...block.querySelectorAll('mjx-container[display="true"]')])) {
      formula.style.fontSize = ""; // render.py's size is for a page
      const share = formula.clientWidth / formula.scrollWidth;
      if (share < 1) formula.style.fontSize = `${Math.floor(100 * share)}%`;
    }
  }

  // What a block can be taken apart into: lines of code or output, rows of a table, items of a list.
  const PARTED = "pre, tbody, ul, ol";
  function partsOf(block) {
    const whole = block.querySelector(PARTED);
    if (!whole) return [];
    return whole.tagName === "PRE" ? whole.innerHTML.replace(/\n$/, "").split("\n") : [...whole.children];
  }
  const isBlank = (part) => typeof part === "string" && !part.replace(/<[^>]*>/g, "").trim();
  function piece(block, parts, first, last) {
    const made = block.cloneNode(true), inside = made.querySelector(PARTED), own = parts.slice(first, last);
    if (inside.tagName === "PRE") inside.innerHTML = own.join("\n") + "\n";
    else inside.replaceChildren(...own.map((part) => part.cloneNode(true)));
    if (inside.tagName === "OL") inside.start += first;
    return made;
  }

  // --- turning

  function turnTo(number) {
    slides[current].hidden = true;
    current = Math.max(0, Math.min(slides.length - 1, number));
    slides[current].hidden = false;
    slides[current].firstChild.focus({ preventScroll: true }); // so that its keys scroll it
    history.replaceState(null, "", `#${current + 1}`);
  }
  function forward() {
    const inner = slides[current].firstChild;
    if (inner.scrollTop + inner.clientHeight < inner.scrollHeight - 1) inner.scrollTop += 0.8 * inner.clientHeight;
    else turnTo(current + 1);
  }
  const back = () => turnTo(current - 1);

  const KEYS = {
    ArrowRight: forward, ArrowDown: forward, PageDown: forward, " ": forward, Enter: forward, n: forward,
    ArrowLeft: back, ArrowUp: back, PageUp: back, Backspace: back, p: back,
    Home: () => turnTo(0), End: () => turnTo(slides.length - 1),
    f: () => (document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen()),
  };
  window.addEventListener("keydown", (event) => {
    if (!slides.length || event.ctrlKey || event.altKey || event.metaKey || event.target.closest("button, a")) return;
    const act = event.key === " " && event.shiftKey ? back : KEYS[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  window.addEventListener("hashchange", () => turnTo(Number(location.hash.slice(1)) - 1 || 0));

  let touched = null;
  window.addEventListener("touchstart", (event) => (touched = event.changedTouches[0]), { passive: true });
  window.addEventListener("touchend", (event) => {
    const { clientX, clientY } = event.changedTouches[0];
    const [across, down] = [clientX - touched.clientX, clientY - touched.clientY];
    if (Math.abs(across) > 40 && Math.abs(across) > 2 * Math.abs(down)) (across < 0 ? forward : back)();
  });

  function controls() {
    const made = document.createElement("div");
    made.className = "controls";
    for (const [sign, name, act] of [["‹", "Back", back], ["›", "Forward", forward]]) {
      const button = document.createElement("button");
      button.textContent = sign;
      button.setAttribute("aria-label", name);
      button.addEventListener("click", act);
      made.append(button);
    }
    document.body.append(made);
  }

  const scale = () => document.documentElement.style.setProperty("--scale", Math.min(innerWidth / 1280, innerHeight / 720));
})();
