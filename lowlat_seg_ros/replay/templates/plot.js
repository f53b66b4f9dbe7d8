"use strict";
// Drawing in SVG: the page's style sheet colours it, in the dark and on paper too, and print gets sharp lines.

const DOT_SPACING = 6; // pixels from frame to frame from which on each frame gets a dot

function svgElement(parent, name, attributes = {}) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent.append(element);
  return element;
}

/** The first place in ascending `times` that is not before `time`. */
function placeOf(times, time) {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** 1, 2 or 5 times a power of ten, the smallest that is not below `value`. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999999);
}

/** At most about `count` round numbers between `low` and `high`. */
function ticksBetween(low, high, count) {
  const step = roundUp((high - low) / count);
  const ticks = [];
  for (let tick = Math.ceil(low / step); tick <= high / step + 1e-9; tick += 1) ticks.push(tick * step);
  const decimals = Math.max(0, -Math.floor(Math.log10(step)));
  return ticks.map((value) => ({ value, text: value.toFixed(decimals) }));
}

const pixels = (value) => Math.round(value * 10) / 10;

/**
 * A path through the known values of frames `first` to `last`, unknown ones skipped. However many frames there are,
 * it has at most four points a pixel column, the lowest and the highest among them: no spike is lost, and panning is
 * smooth.
 */
function linePath(values, first, last, x, y) {
  const points = [];
  const columnWide = last - first > x(last) - x(first);
  let column = null;
  const finishColumn = () => {
    if (!column) return;
    const { x: across, first: start, low, high, last: end } = column;
    for (const down of new Set([start, low, high, end])) points.push(`${across} ${pixels(down)}`);
  };
  for (let frame = first; frame <= last; frame += 1) {
    if (values[frame] === null) continue;
    const across = columnWide ? Math.round(x(frame)) : pixels(x(frame));
    const down = y(values[frame]);
    if (column && column.x === across) {
      column.low = Math.min(column.low, down);
      column.high = Math.max(column.high, down);
      column.last = down;
    } else {
      finishColumn();
      column = { x: across, first: down, low: down, high: down, last: down };
    }
  }
  finishColumn();
  return points.length ? `M${points.join("L")}` : "";
}

/** A dot (a line of no length with round ends) for every known value, once frames are far enough apart to tell them. */
function dotsPath(values, first, last, x, y) {
  if (x(last) - x(first) < (last - first) * DOT_SPACING) return "";
  let path = "";
  for (let frame = first; frame <= last; frame += 1)
    if (values[frame] !== null) path += `M${pixels(x(frame))} ${pixels(y(values[frame]))}h0`;
  return path;
}

/** `mark` drawn once in every pixel column that holds a frame for which `isMarked`, at the height `y` of that frame. */
function marksPath(isMarked, first, last, x, y, mark) {
  let path = "";
  let drawn = null;
  for (let frame = first; frame <= last; frame += 1) {
    if (!isMarked(frame)) continue;
    const across = Math.round(x(frame));
    if (across === drawn) continue;
    path += `M${across} ${pixels(y(frame))}${mark}`;
    drawn = across;
  }
  return path;
}

/** Boxes over the runs of consecutive frames for which `isOn`, each at least a pixel wide. */
function barsPath(isOn, first, last, x, top, height) {
  let path = "";
  for (let frame = first; frame <= last; frame += 1) {
    if (!isOn(frame)) continue;
    const start = x(frame);
    while (frame < last && isOn(frame)) frame += 1;
    path += `M${pixels(start)} ${top}H${pixels(Math.max(start + 1, x(frame)))}v${height}H${pixels(start)}z`;
  }
  return path;
}
