// How mouse, fingers and keys move the timelines, and how the rest of the page points into them.

const DRAG_PIXELS = 4; // a press that moves less is a click
const ZOOM_STEP = 1.5;
const PAGE_FRAMES = 10;

function followPointers(timeline) {
  const { chart } = timeline;
  const pointers = new Map(); // those that are down: where they were last
  let moved = 0;
  let onOverview = false;

  const frameAt = (event) => timeline.nearestFrame(timeline.timeAt(event.clientX));
  const seconds = (px) => (px / timeline.plotWidth) * (timeline.to - timeline.from);
  const centreOnOverview = (event) => {
    const across = event.clientX - chart.getBoundingClientRect().left - MARGIN.left;
    const middle = (across / timeline.plotWidth) * timeline.length;
    const half = (timeline.to - timeline.from) / 2;
    timeline.show(middle - half, middle + half);
  };
  const pinch = (event) => {
    const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, x]) => x);
    const before = Math.max(10, Math.abs(pointers.get(event.pointerId) - other));
    const after = Math.max(10, Math.abs(event.clientX - other));
    timeline.zoom(before / after, timeline.timeAt(other));
  };

  chart.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    if (!pointers.size) {
      moved = 0;
      onOverview = event.clientY - chart.getBoundingClientRect().top >= timeline.overviewTop;
      if (onOverview) centreOnOverview(event);
    }
    pointers.set(event.pointerId, event.clientX);
    chart.setPointerCapture(event.pointerId);
  });
  chart.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (last === undefined) {
      if (event.pointerType === "mouse") timeline.select(frameAt(event), { follow: false });
      return;
    }
    moved += Math.abs(event.clientX - last);
    if (pointers.size === 2) pinch(event);
    else if (onOverview) centreOnOverview(event);
    else timeline.pan(-seconds(event.clientX - last));
    pointers.set(event.pointerId, event.clientX);
  });
  chart.addEventListener("pointerup", (event) => {
    if (moved < DRAG_PIXELS && !onOverview) timeline.select(frameAt(event));
  });
  for (const end of ["pointerup", "pointercancel"])
    chart.addEventListener(end, (event) => pointers.delete(event.pointerId));
  chart.addEventListener("dblclick", (event) => timeline.zoom(1 / 2, timeline.timeAt(event.clientX)));
}

/** The wheel scrolls the page, as everywhere, until the timeline has the focus or Ctrl is held: then it zooms. */
function followWheel(timeline) {
  timeline.chart.addEventListener(
    "wheel",
    (event) => {
      const takesWheel = event.ctrlKey || document.activeElement === timeline.chart;
      if (!takesWheel || (event.deltaY > 0 && timeline.showsAll())) return;
      event.preventDefault();
      const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
      if (sideways) timeline.pan((event.deltaX / timeline.plotWidth) * (timeline.to - timeline.from));
      else timeline.zoom(ZOOM_STEP ** Math.sign(event.deltaY), timeline.timeAt(event.clientX));
    },
    { passive: false },
  );
}

function actions(timeline) {
  const view = () => timeline.to - timeline.from;
  const cursor = () => timeline.time[timeline.frame];
  const aroundCursor = () => (timeline.from <= cursor() && cursor() <= timeline.to ? cursor() : undefined);
  return {
    in: () => timeline.zoom(1 / ZOOM_STEP, aroundCursor()),
    out: () => timeline.zoom(ZOOM_STEP, aroundCursor()),
    earlier: () => timeline.pan(-view() / 4),
    later: () => timeline.pan(view() / 4),
    all: () => timeline.show(0, timeline.length),
    previous: () => timeline.select(timeline.frame - 1),
    next: () => timeline.select(timeline.frame + 1),
    back: () => timeline.select(timeline.frame - PAGE_FRAMES),
    forth: () => timeline.select(timeline.frame + PAGE_FRAMES),
    first: () => timeline.select(0),
    last: () => timeline.select(timeline.time.length - 1),
  };
}

const KEYS = {
  "+": "in", "=": "in", "-": "out", 0: "all",
  ArrowLeft: "previous", ArrowRight: "next", ArrowDown: "previous", ArrowUp: "next",
  "Shift+ArrowLeft": "earlier", "Shift+ArrowRight": "later",
  PageDown: "back", PageUp: "forth", Home: "first", End: "last",
};

function followKeysAndButtons(figure, timeline) {
  const does = actions(timeline);
  timeline.chart.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const action = KEYS[event.shiftKey && event.key.startsWith("Arrow") ? `Shift+${event.key}` : event.key];
    if (!action) return;
    event.preventDefault();
    does[action]();
  });
  for (const button of figure.querySelectorAll("button[data-action]"))
    button.addEventListener("click", does[button.dataset.action]);
}

for (const figure of document.querySelectorAll("figure.timeline")) {
  const timeline = new Timeline(figure);
  followPointers(timeline);
  followWheel(timeline);
  followKeysAndButtons(figure, timeline);
  for (const link of document.querySelectorAll(`a[href="#${figure.id}"][data-seconds]`))
    link.addEventListener("click", () => timeline.showMoment(Number(link.dataset.seconds)));
}
