// One camera's timeline: lanes over one time axis, the frame that is looked at, and an overview of the whole drive.

const MARGIN = { left: 40, right: 12, top: 16, bottom: 22 };
const LANE_GAP = 26;
const OVERVIEW_HEIGHT = 30;
const FEWEST_FRAMES_IN_VIEW = 5;
const DIAMOND = "m0-5l4.5 5l-4.5 5l-4.5-5z";
const TICK = "m0-4v8"; // a key frame where diamonds would run into each other
const ROOM_OF_DIAMOND = 14; // pixels

class Timeline {
  constructor(figure) {
    this.data = JSON.parse(figure.querySelector("script").textContent);
    this.time = this.data.time;
    this.systems = this.data.systems;
    this.twoTracks = this.systems[0];
    this.chart = figure.querySelector(".chart");
    this.readout = figure.querySelector(".readout");
    this.toggles = [...figure.querySelectorAll("input[type=checkbox]")];
    this.rangeText = figure.querySelector(".range");
    this.length = this.data.duration;
    this.from = 0;
    this.to = this.length;
    this.lanes = this.lanesWithData();
    this.build();
    this.resize(this.chart.clientWidth);
    this.select(0);
    this.resizeWithPage();
    for (const toggle of this.toggles) toggle.addEventListener("change", () => this.draw());
  }

  lanesWithData() {
    const { deviation, busy } = this.twoTracks;
    const drops = this.systems.some((system) => system.latency.includes(null));
    const difference = this.systems.some((system) => system.difference);
    return [
      { title: "Latency, ms", height: 150, draw: this.drawLatency },
      drops && { title: "Dropped frames", height: 11 * this.systems.length, draw: this.drawDropped },
      deviation && { title: "Deviation and its threshold, %", height: 84, draw: this.drawDeviation },
      busy && { title: "Slow track in flight", height: 12, draw: this.drawSlowTrack },
      difference && { title: "Pixels unlike the full network's, %", height: 84, draw: this.drawDifference },
    ].filter(Boolean);
  }

  // --- The view -----------------------------------------------------------------------------------------------------

  /** Show the seconds `from` to `to`, kept inside the drive and no shorter than a few frames. */
  show(from, to) {
    const shortest = Math.min(this.length, FEWEST_FRAMES_IN_VIEW * this.data.frame);
    const span = Math.min(this.length, Math.max(shortest, to - from));
    const middle = (from + to) / 2;
    this.from = Math.min(Math.max(0, middle - span / 2), this.length - span);
    this.to = this.from + span;
    if (!this.pending) this.pending = requestAnimationFrame(() => this.draw());
  }

  /** Make what is in view `factor` times as long, the given time staying where it is. */
  zoom(factor, around = (this.from + this.to) / 2) {
    const shortest = FEWEST_FRAMES_IN_VIEW * this.data.frame;
    const bounded = Math.max(factor, shortest / (this.to - this.from));
    this.show(around - (around - this.from) * bounded, around + (this.to - around) * bounded);
  }

  showsAll() {
    return this.to - this.from >= this.length;
  }

  pan(seconds) {
    this.show(this.from + seconds, this.to + seconds);
  }

  /** Look at a frame: the cursor goes there, the view follows, and the figures are written out. */
  select(frame, { follow = true } = {}) {
    this.frame = Math.min(Math.max(0, frame), this.time.length - 1);
    const at = this.time[this.frame];
    const half = (this.to - this.from) / 2;
    if (follow && (at < this.from || at > this.to)) this.show(at - half, at + half);
    this.drawCursor();
    const lines = this.describe(this.frame);
    this.readout.textContent = lines.join("\n");
    this.chart.setAttribute("aria-valuenow", this.frame);
    this.chart.setAttribute("aria-valuetext", lines.join("; "));
  }

  /** Look at a moment of the drive, a few seconds around it in view. */
  showMoment(seconds) {
    this.show(seconds - 2, seconds + 2);
    this.select(this.nearestFrame(seconds));
  }

  nearestFrame(seconds) {
    const next = Math.min(placeOf(this.time, seconds), this.time.length - 1);
    return next > 0 && seconds - this.time[next - 1] < this.time[next] - seconds ? next - 1 : next;
  }

  timeAt(clientX) {
    const across = clientX - this.chart.getBoundingClientRect().left - MARGIN.left;
    return this.from + (across / this.plotWidth) * (this.to - this.from);
  }

  /** What is known of a frame, a line for the frame and one for each system. */
  describe(frame) {
    const systems = this.systems.map((system) => `${system.name}: ${this.describeLabels(system, frame)}`);
    return [[`Frame ${frame} at ${this.time[frame].toFixed(2)} s`, ...this.describeKey(frame)].join(", "), ...systems];
  }

  describeLabels({ latency, difference }, frame) {
    if (latency[frame] === null) return "dropped";
    const facts = [`${latency[frame].toFixed(1)} ms`];
    if (this.data.period && latency[frame] > this.data.period) facts.push("late");
    if (difference && difference[frame] !== null)
      facts.push(`differs from the full network on ${difference[frame].toFixed(1)} %`);
    return facts.join(", ");
  }

  describeKey(frame) {
    const { key, reason, age, deviation, threshold, latency } = this.twoTracks;
    if (!key || latency[frame] === null) return [];
    const why = this.data.reasons[reason[frame]];
    const distance = age[frame] === null ? "no key frame yet" : `${age[frame]} frames from its key frame`;
    const facts = [key[frame] ? `key frame (${why})` : distance];
    if (deviation && deviation[frame] !== null)
      facts.push(`deviation ${deviation[frame].toFixed(1)} %, threshold ${threshold[frame].toFixed(1)} %`);
    return facts;
  }

  // --- Drawing ------------------------------------------------------------------------------------------------------

  build() {
    this.svg = svgElement(this.chart, "svg", { "aria-hidden": "true" });
    this.axes = svgElement(this.svg, "g", { class: "axes" });
    this.plot = svgElement(this.svg, "g", { class: "plot" });
    this.cursor = svgElement(this.svg, "path", { class: "cursor" });
    this.overview = svgElement(this.svg, "g", { class: "overview" });
    this.paths = new Map();
  }

  resizeWithPage() {
    new ResizeObserver(() => this.resize(this.chart.clientWidth)).observe(this.chart);
    window.addEventListener("beforeprint", () => this.resize(720));
    window.addEventListener("afterprint", () => this.resize(this.chart.clientWidth));
  }

  resize(width) {
    if (!width || width === this.width) return;
    this.width = width;
    this.plotWidth = width - MARGIN.left - MARGIN.right;
    let bottom = MARGIN.top;
    for (const lane of this.lanes) {
      lane.top = bottom;
      bottom += lane.height + LANE_GAP;
    }
    this.bottom = bottom - LANE_GAP;
    this.overviewTop = this.bottom + MARGIN.bottom + 6;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${this.overviewTop + OVERVIEW_HEIGHT + 2}`);
    this.drawOverview();
    this.draw();
  }

  draw() {
    cancelAnimationFrame(this.pending);
    this.pending = 0;
    this.axes.replaceChildren();
    for (const lane of this.lanes) {
      this.label(lane.title, MARGIN.left, lane.top - 6, "title");
      lane.draw.call(this, lane);
    }
    this.drawTimeAxis();
    this.drawCursor();
    this.drawWindow();
    this.rangeText.textContent = `${this.from.toFixed(2)} s to ${this.to.toFixed(2)} s of ${this.length.toFixed(2)} s`;
  }

  drawLatency(lane) {
    const shown = this.systems.map((system, number) => (this.isShown(number) ? system.latency : null));
    this.scale(lane, Math.max(this.data.period, ...shown.map((values) => this.highest(values))));
    if (this.data.period) this.path("period", `M${MARGIN.left} ${pixels(lane.y(this.data.period))}h${this.plotWidth}`);
    shown.forEach((values, number) => this.drawValues(lane, `latency s${number}`, values));
    const { key, latency } = this.twoTracks;
    if (!key) return;
    const [first, last, x] = this.inView();
    const isMarked = (frame) => key[frame] && shown[0] && latency[frame] !== null;
    const crowded = key.slice(first, last + 1).filter(Boolean).length * ROOM_OF_DIAMOND > this.plotWidth;
    this.path("key", marksPath(isMarked, first, last, x, (frame) => lane.y(latency[frame]), crowded ? TICK : DIAMOND));
  }

  drawDropped(lane) {
    this.systems.forEach(({ latency }, number) => {
      const top = lane.top + 11 * number;
      this.path(`dropped s${number}`, marksPath((frame) => latency[frame] === null, ...this.inView(), () => top, "v9"));
    });
  }

  drawDeviation(lane) {
    const { key, deviation, threshold } = this.twoTracks;
    const range = this.inView();
    this.scale(lane, Math.max(this.highest(deviation), this.highest(threshold)));
    this.path("stem", marksPath((frame) => key[frame], ...range, () => lane.top, `v${lane.height}`));
    this.path("threshold", linePath(threshold, ...range, lane.y));
    this.drawValues(lane, "deviation s0", deviation);
  }

  drawSlowTrack(lane) {
    const { busy } = this.twoTracks;
    this.path("busy", barsPath((frame) => busy[frame], ...this.inView(), lane.top, lane.height));
  }

  drawDifference(lane) {
    const shown = this.systems.map(({ difference }, number) => (this.isShown(number) ? difference : null));
    this.scale(lane, Math.max(...shown.map((values) => this.highest(values))));
    shown.forEach((values, number) => this.drawValues(lane, `difference s${number}`, values));
  }

  drawValues(lane, style, values) {
    const range = this.inView();
    this.path(`line ${style}`, values ? linePath(values, ...range, lane.y) : "");
    this.path(`dots ${style}`, values ? dotsPath(values, ...range, lane.y) : "");
  }

  drawTimeAxis() {
    for (const { value, text } of ticksBetween(this.from, this.to, this.plotWidth / 60)) {
      const x = pixels(this.x(value));
      svgElement(this.axes, "path", { class: "grid", d: `M${x} ${MARGIN.top}V${this.bottom}` });
      this.label(`${text} s`, x, this.bottom + 15, "middle");
    }
  }

  drawCursor() {
    const at = this.time[this.frame];
    const visible = this.from <= at && at <= this.to;
    this.cursor.setAttribute("d", visible ? `M${pixels(this.x(at))} ${MARGIN.top}V${this.bottom}` : "");
  }

  /** The two tracks' latency over the whole drive, below the time axis. */
  drawOverview() {
    const { latency } = this.twoTracks;
    const highest = latency.reduce((most, value) => Math.max(most, value ?? 0), this.data.period || 1);
    const x = (frame) => MARGIN.left + (this.time[frame] / this.length) * this.plotWidth;
    const y = (value) => this.overviewTop + OVERVIEW_HEIGHT * (1 - value / highest);
    this.overview.replaceChildren();
    const box = { x: MARGIN.left, y: this.overviewTop, width: this.plotWidth, height: OVERVIEW_HEIGHT };
    svgElement(this.overview, "rect", { class: "drive", ...box });
    svgElement(this.overview, "path", { class: "line s0", d: linePath(latency, 0, latency.length - 1, x, y) });
    this.window = svgElement(this.overview, "rect", { class: "window", ...box });
  }

  drawWindow() {
    const width = ((this.to - this.from) / this.length) * this.plotWidth;
    this.window.setAttribute("x", pixels(MARGIN.left + (this.from / this.length) * this.plotWidth));
    this.window.setAttribute("width", pixels(Math.max(2, width)));
  }

  // --- Scales -------------------------------------------------------------------------------------------------------

  x(time) {
    return MARGIN.left + ((time - this.from) / (this.to - this.from)) * this.plotWidth;
  }

  /** First and last frame to draw, one beyond each edge so that lines run out of the picture, and each frame's x. */
  inView() {
    const first = Math.max(0, placeOf(this.time, this.from) - 1);
    const last = Math.min(this.time.length - 1, placeOf(this.time, this.to));
    return [first, last, (frame) => this.x(this.time[frame])];
  }

  highest(values) {
    const [first, last] = this.inView();
    let highest = 0;
    for (let frame = first; values && frame <= last; frame += 1) highest = Math.max(highest, values[frame] ?? 0);
    return highest;
  }

  /** Give the lane a scale from 0 to a round number not below `highest`, and draw its ticks. */
  scale(lane, highest) {
    const top = roundUp(Math.max(highest, 1));
    lane.y = (value) => lane.top + lane.height * (1 - value / top);
    for (const { value, text } of ticksBetween(0, top, lane.height / 30)) {
      const y = pixels(lane.y(value));
      svgElement(this.axes, "path", { class: "grid", d: `M${MARGIN.left} ${y}h${this.plotWidth}` });
      this.label(text, MARGIN.left - 6, y + 4, "end");
    }
  }

  isShown(number) {
    return this.toggles[number].checked;
  }

  label(text, x, y, kind) {
    svgElement(this.axes, "text", { x, y, class: kind }).textContent = text;
  }

  /** Set the one path of this class. */
  path(className, d) {
    if (!this.paths.has(className)) this.paths.set(className, svgElement(this.plot, "path", { class: className }));
    this.paths.get(className).setAttribute("d", d);
  }
}
