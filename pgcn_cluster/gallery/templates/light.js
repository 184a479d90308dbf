"use strict";
// A material under a light that moves around it, pixel by pixel: Lambert's law, some light from all sides, a highlight.
// Normals are those of OpenGL: red to the right, green up, blue to the viewer.
for (const material of document.querySelectorAll(".material")) {
  const [colour, normal] = material.querySelectorAll("img");
  const canvas = material.querySelector("canvas");
  const range = material.querySelector("input[type=range]");
  const { width, height } = canvas;
  const pixels = (image) => {
    const sheet = new OffscreenCanvas(width, height).getContext("2d");
    sheet.drawImage(image, 0, 0, width, height);
    return sheet.getImageData(0, 0, width, height).data;
  };
  const show = (albedo, n, degrees) => {
    const angle = (degrees * Math.PI) / 180;
    const light = [0.8 * Math.cos(angle), 0.8 * Math.sin(angle), 0.6];
    // Halfway between the light and the viewer, who is far above.
    const length = Math.hypot(light[0], light[1], 1.6);
    const half = [light[0] / length, light[1] / length, 1.6 / length];
    const made = new ImageData(width, height);
    for (let i = 0; i < n.length; i += 4) {
      const [x, y, z] = [n[i] / 127.5 - 1, n[i + 1] / 127.5 - 1, n[i + 2] / 127.5 - 1];
      const diffuse = 0.15 + 1.1 * Math.max(0, x * light[0] + y * light[1] + z * light[2]);
      const shine = 0.08 * Math.max(0, x * half[0] + y * half[1] + z * half[2]) ** 24;
      // Squares and roots are close to the curve of sRGB.
      for (let c = i; c < i + 3; c++) made.data[c] = 255 * Math.sqrt((albedo[c] / 255) ** 2 * diffuse + shine);
      made.data[i + 3] = 255;
    }
    canvas.getContext("2d").putImageData(made, 0, 0);
  };
  Promise.all([colour.decode(), normal.decode()]).then(() => {
    const maps = [pixels(colour), pixels(normal)];
    let moving = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    const turn = (time) => {
      if (!moving) return;
      range.value = (time / 25) % 360;
      show(...maps, range.valueAsNumber);
      requestAnimationFrame(turn);
    };
    range.addEventListener("input", () => {
      moving = false;
      show(...maps, range.valueAsNumber);
    });
    show(...maps, range.valueAsNumber);
    for (const hidden of material.querySelectorAll("[hidden]")) hidden.hidden = false;
    material.classList.add("live");
    requestAnimationFrame(turn);
  });
}
