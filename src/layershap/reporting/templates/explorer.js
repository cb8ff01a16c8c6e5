// The layer explorer: draws what reporting/explorer/ packed into the page. It asks for nothing else, and keeps nothing.
"use strict";
(() => {
  const part = (name) => document.getElementById(`explorer-${name}`);
  const section = document.getElementById("explorer");
  const data = JSON.parse(part("data").textContent);
  const colours = Array.from({ length: 256 }, (_, index) =>
    [0, 2, 4].map((place) => parseInt(data.colours.substr(6 * index + place, 2), 16)));
  const state = { image: 0, layer: 0, opacity: 0.5, error: data.pale, place: null };

  function bytes(text) {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  }

  // reporting/explorer/packing.py says what the numbers are
  function halfFloat(low, high) {
    const sign = high & 0x80 ? -1 : 1;
    const exponent = (high >> 2) & 0x1f;
    const fraction = ((high & 3) << 8) | low;
    return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
  }

  function unpack(map) {
    if (!map.unpacked) {
      const halves = bytes(map.values);
      const values = new Float64Array(map.rows * map.columns)
        .map((_, place) => halfFloat(halves[2 * place], halves[2 * place + 1]) * map.largest);
      const errors = map.errors === null ? null : Float64Array.from(bytes(map.errors), (code) =>
        code ? map.highest * 2 ** ((code - 255) / 16) : 0);
      map.unpacked = { values, errors };
    }
    return map.unpacked;
  }

  function current() {
    return data.images[state.image].maps[state.layer];
  }

  function percent(share) {
    return `${Math.round(100 * share)} %`;
  }

  function number(value, digits, signed = true) {
    const text = Number(value.toPrecision(digits)).toString().replace("-", "\u2212");
    return signed && value > 0 ? `+${text}` : text;
  }

  // as plots/sheets.py draws a map: colours by the limit, pale ones mixed with white
  function draw() {
    const map = current();
    const { values, errors } = unpack(map);
    const canvas = part("map");
    canvas.width = map.columns;
    canvas.height = map.rows;
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(map.columns, map.rows);
    const limit = (map.limit * 100) / values.length; // of a place's own value
    for (let place = 0; place < values.length; place += 1) {
      const step = Math.floor(((values[place] / limit + 1) / 2) * 256);
      const colour = colours[Math.max(0, Math.min(255, step))];
      const pale = state.error && errors && Math.abs(values[place]) < 2 * errors[place];
      const strength = pale ? data.strength : 1;
      for (let channel = 0; channel < 3; channel += 1) {
        pixels.data[4 * place + channel] = 255 + strength * (colour[channel] - 255);
      }
      pixels.data[4 * place + 3] = 255;
    }
    context.putImageData(pixels, 0, 0);
    canvas.style.opacity = state.opacity;
  }

  function tell() {
    const map = current();
    const { values, errors } = unpack(map);
    const mark = part("place");
    mark.hidden = state.place === null;
    if (mark.hidden) {
      part("value").textContent = "Point at the picture";
      part("density").textContent = "for the value of a place and its standard error.";
      return;
    }
    const row = Math.min(map.rows - 1, Math.floor(state.place.down * map.rows));
    const column = Math.min(map.columns - 1, Math.floor(state.place.across * map.columns));
    const place = row * map.columns + column;
    const both = (scale) => number(values[place] * scale, 4) + (errors ? ` ± ${number(errors[place] * scale, 2, false)}` : "");
    part("value").textContent = `${both(1)} ${data.unit}`;
    part("density").textContent =
      `row ${row + 1}, column ${column + 1} of ${map.rows} × ${map.columns}\nper 1 % of the image's area ${both(values.length / 100)}`;
    Object.assign(mark.style, {
      left: `${(100 * column) / map.columns}%`,
      top: `${(100 * row) / map.rows}%`,
      width: `${100 / map.columns}%`,
      height: `${100 / map.rows}%`,
    });
  }

  function show() {
    const image = data.images[state.image];
    const layer = data.layers[state.layer];
    const map = current();
    const name = `${layer.number} ${layer.name}`;
    if (part("picture").src !== image.picture) part("picture").src = image.picture;
    part("picture").alt = image.name;
    part("image").value = state.image;
    part("decision").textContent = image.decision;
    part("layer").value = state.layer;
    part("layer").setAttribute("aria-valuetext", name);
    part("layer-name").textContent = `${name}, ${map.rows} × ${map.columns}`;
    part("opacity").value = Math.round(100 * state.opacity);
    part("opacity").setAttribute("aria-valuetext", percent(state.opacity));
    part("opacity-name").textContent = percent(state.opacity);
    part("error").checked = state.error && map.errors !== null;
    part("error").disabled = map.errors === null;
    part("error-name").textContent = map.errors === null
      ? "one reference: no standard error"
      : "pale where the value is within twice its standard error";
    part("map").setAttribute("aria-label", `heatmap of layer ${name} over ${image.name}`);
    part("low").textContent = `\u2212${number(map.limit, 3, false)}`;
    part("high").textContent = number(map.limit, 3);
    part("prefix").hidden = map.prefix === null;
    part("prefix").textContent = map.prefix === null ? "" : `Prefix tokens, which are no place of the map: ${number(map.prefix, 4)} ${data.unit}`;
    draw();
    tell();
  }

  function change(name, value, last) {
    state[name] = Math.max(0, Math.min(last, value));
    show();
  }

  const keys = {
    ArrowLeft: () => change("layer", state.layer - 1, data.layers.length - 1),
    ArrowRight: () => change("layer", state.layer + 1, data.layers.length - 1),
    ArrowUp: () => change("image", state.image - 1, data.images.length - 1),
    ArrowDown: () => change("image", state.image + 1, data.images.length - 1),
    "+": () => change("opacity", Math.round(10 * state.opacity + 1) / 10, 1),
    "-": () => change("opacity", Math.round(10 * state.opacity - 1) / 10, 1),
    e: () => { state.error = !state.error; show(); },
  };
  keys["="] = keys["+"];
  keys.E = keys.e;

  section.addEventListener("keydown", (event) => {
    const own = event.target === part("opacity") && event.key.startsWith("Arrow");
    if (own || event.ctrlKey || event.altKey || event.metaKey || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
  part("image").addEventListener("change", (event) => change("image", Number(event.target.value), data.images.length - 1));
  part("layer").addEventListener("input", (event) => change("layer", Number(event.target.value), data.layers.length - 1));
  part("opacity").addEventListener("input", (event) => change("opacity", Number(event.target.value) / 100, 1));
  part("error").addEventListener("change", (event) => { state.error = event.target.checked; show(); });
  for (const kind of ["pointermove", "pointerdown"]) {
    part("map").addEventListener(kind, (event) => {
      const box = part("map").getBoundingClientRect();
      const inside = (share) => Math.max(0, Math.min(1, share));
      state.place = { across: inside((event.clientX - box.left) / box.width), down: inside((event.clientY - box.top) / box.height) };
      tell();
    });
  }
  part("map").addEventListener("pointerleave", (event) => {
    if (event.pointerType === "touch") return; // what a finger pointed at stays
    state.place = null;
    tell();
  });

  data.images.forEach((image, index) => part("image").add(new Option(image.name, index)));
  part("layer").max = data.layers.length - 1;
  const ends = [data.layers[0], data.layers[data.layers.length - 1]].map((layer) => `${layer.number} ${layer.name}`);
  part("first").textContent = ends[0];
  part("last").textContent = ends[1];
  part("unit").textContent = `${data.unit} per 1 % of the image's area`;
  part("scale").style.background = `linear-gradient(to right, ${colours.map((colour) => `rgb(${colour})`).join()})`;
  section.hidden = false;
  show();
})();
