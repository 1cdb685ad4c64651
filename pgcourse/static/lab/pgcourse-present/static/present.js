// A lecture in JupyterLab in front of a hall: presentation mode, nothing but the notebook, and what is spoken of in view.
// Written by hand in the form in which JupyterLab loads extensions, so that it needs no build.
(() => {
  const address = document.currentScript.src;
  const HEAD = 0.08; // of the window's height: as much of the current cell is seen below a large output, at least

  const plugin = {
    id: "pgcourse-present:plugin",
    autoStart: true,
    activate: (app) => {
      const style = document.createElement("link");
      Object.assign(style, { rel: "stylesheet", href: address.replace("present.js", "present.css") });
      document.head.append(style);
      app.restored.then(() => {
        clear(app);
        let followed = null;
        const follow = () => {
          const panel = app.shell.currentWidget;
          if (panel?.content?.activeCellChanged && panel !== followed) {
            followed = panel;
            keepInView(panel.content);
          }
        };
        app.shell.currentChanged.connect(follow);
        follow();
      });
    },
  };

  // Nothing but the notebook, its toolbar and large type. View > Presentation Mode (Ctrl+Shift+C finds it) leads back.
  function clear(app) {
    if (!app.shell.presentationMode) app.commands.execute("application:toggle-presentation-mode");
    app.shell.collapseLeft();
    app.shell.collapseRight();
    for (const side of ["left", "right"]) {
      const command = "application:toggle-side-tabbar";
      if (app.commands.isToggled(command, { side })) app.commands.execute(command, { side });
    }
    for (const menu of app.shell.widgets("menu")) menu.parent.hide();
    for (const top of app.shell.widgets("top")) top.parent.hide();
  }

  // Shift-Enter is all that a speaker needs. It brings the current cell into view where it is not, and otherwise runs it; then
  // its output is in view, also when it comes or grows later, and at least the head of the cell that is current now.
  function keepInView(notebook) {
    const outer = notebook.node.querySelector(".jp-WindowedPanel-outer") ?? notebook.node;
    const growing = new ResizeObserver(() => place());
    let before = -1, current = notebook.activeCellIndex, done = null, active = null;
    let left = null; // the cell that was current before an output was touched

    const box = (node) => {
      const { top, bottom, height } = node.getBoundingClientRect();
      const start = outer.getBoundingClientRect().top;
      return { top: top - start, bottom: bottom - start, height };
    };
    const question = (cell) => cell.node.querySelector(".jp-Cell-inputWrapper") ?? cell.node;
    const release = () => {
      growing.disconnect();
      done = active = null;
    };

    function narrow() {
      for (const formula of notebook.node.querySelectorAll('mjx-container[display="true"]')) {
        formula.style.fontSize = "";
        const share = formula.clientWidth / formula.scrollWidth;
        if (share < 1) formula.style.fontSize = `${Math.floor(100 * share)}%`;
      }
    }

    function place() {
      narrow();
      if (!active || active.isDisposed || done?.isDisposed) return;
      const height = outer.clientHeight;
      const next = box(question(active));
      if (!done?.node.querySelector(".jp-OutputArea-child")) {
        show(next, height);
        return;
      }
      const output = box(done.node.querySelector(".jp-Cell-outputWrapper"));
      const room = Math.max(HEAD * height, height - (next.top - output.top)); // what the output leaves for the next cell
      const end = next.top + Math.min(next.height, room);
      const start = Math.min(box(done.node).top, end - 1);
      if (end > height) outer.scrollTop += end - height;
      else if (start < 0) outer.scrollTop += Math.max(start, end - height);
    }

    function show(cell, height) {
      if (cell.height > height || cell.top < 0) outer.scrollTop += cell.top;
      else if (cell.bottom > height) outer.scrollTop += cell.bottom - height;
    }

    notebook.activeCellChanged.connect((_, cell) => {
      release();
      [before, current] = [current, notebook.activeCellIndex];
      active = cell;
      if (!cell) return;
      done = current === before + 1 && notebook.widgets[before]?.model.type === "code" ? notebook.widgets[before] : null;
      growing.observe(cell.node);
      if (done) growing.observe(done.node);
      for (const wait of [0, 50, 200, 500]) setTimeout(place, wait); // JupyterLab itself scrolls in between
    });

    for (const event of ["wheel", "pointerdown", "touchstart"]) {
      outer.addEventListener(event, release, { passive: true }); // whoever moves by hand is not pulled back
    }
    outer.addEventListener(
      "pointerdown",
      (event) => {
        left = event.target.closest(".jp-Cell-outputWrapper") ? (left ?? notebook.activeCellIndex) : null;
      },
      true,
    );
    document.documentElement.addEventListener(
      "keydown",
      (event) => {
        if (event.key !== "Enter" || !event.shiftKey || event.ctrlKey || event.altKey) return;
        if (!notebook.node.contains(document.activeElement)) return;
        if (left !== null) notebook.activeCellIndex = left; // who has moved a slider goes on, and does not run its cell again
        left = null;
        const cell = notebook.activeCell;
        if (!cell || cell.editor?.hasFocus()) return;
        const { top, bottom } = box(question(cell)), height = outer.clientHeight;
        if (bottom <= height + 2 && bottom > 0) return;
        release();
        outer.scrollTop += top > 1 || bottom < 0 ? top : Math.min(0.8 * height, bottom - height);
        event.preventDefault();
        event.stopImmediatePropagation();
      },
      true,
    );
  }

  const modules = { "./extension": { __esModule: true, default: plugin } };
  (window._JUPYTERLAB ??= {})["pgcourse-present"] = {
    init: () => {},
    get: async (name) => () => modules[name],
  };
})();
