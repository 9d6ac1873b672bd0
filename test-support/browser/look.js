// Looks at pages in a browser. Reads {chromium, modules, pictures, pages: [{name, path, bytes}]} from stdin, and writes
// what it saw as JSON: what axe-core says, what was asked of the network or said on the console, whether the page is wider
// than the window, how long its PDF is. Pictures of each page go to the folder `pictures`.
"use strict";
const fs = require("fs"), path = require("path"), { pathToFileURL } = require("url");
const job = JSON.parse(fs.readFileSync(0, "utf8"));
const puppeteer = require(path.join(job.modules, "puppeteer-core"));
const axe = fs.readFileSync(path.join(job.modules, "axe-core", "axe.min.js"), "utf8");

const WINDOWS = [
    { name: "desktop-light", width: 1280, height: 900, scheme: "light", axe: true },
    { name: "desktop-dark", width: 1280, height: 900, scheme: "dark", axe: false },
    { name: "phone-light", width: 360, height: 740, scheme: "light", axe: false },
    { name: "phone-dark", width: 360, height: 740, scheme: "dark", axe: true },
];

async function lookAt(browser, { name, path: file, bytes }) {
    const page = await browser.newPage();
    const url = pathToFileURL(file).href;
    const seen = { name, requests: [], console: [], too_wide: [], axe: [], pdf_bytes: 0, painted: false, first_tab: "" };
    page.on("request", (request) => request.url() === url || seen.requests.push(request.url()));
    page.on("console", (message) => seen.console.push(`${message.type()}: ${message.text()}`));
    page.on("pageerror", (error) => seen.console.push(String(error)));
    let loaded = false;
    for (const window of WINDOWS) {
        await page.setViewport({ width: window.width, height: window.height });
        await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: window.scheme }]);
        if (!loaded) {
            await page.goto(url, { waitUntil: "load" });
            loaded = true;
            // A busy machine paints late.
            seen.painted = await page.evaluate(() => new Promise((done) => {
                new PerformanceObserver((list) => list.getEntriesByName("first-contentful-paint").length && done(true))
                    .observe({ type: "paint", buffered: true });
                setTimeout(() => done(false), 20e3);
            }));
            await page.keyboard.press("Tab");
            seen.first_tab = await page.evaluate(() => document.activeElement.className);
            await page.evaluate(() => document.activeElement.blur());
            await page.evaluate(axe);
        }
        const widths = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        if (widths[0] > widths[1]) seen.too_wide.push(`${window.name}: ${widths[0]} of ${widths[1]}`);
        // Of thousands of rows it would take minutes, and they are the same markup as fewer.
        if (window.axe && bytes < (window.scheme === "light" ? 400e3 : 100e3)) {
            const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"], elementRef: false }));
            for (const { id, impact, help, nodes } of found.violations)
                seen.axe.push(`${window.name}: ${id} (${impact}): ${help}: ${nodes[0].html.slice(0, 200)} and ${nodes.length - 1} more`);
        }
        // Of a long page the beginning: it is for people to look at.
        const tall = await page.evaluate(() => document.documentElement.scrollHeight);
        const clip = { x: 0, y: 0, width: window.width, height: Math.min(tall, bytes < 100e3 ? 12000 : 4000) };
        await page.screenshot({ path: path.join(job.pictures, `${name}-${window.name}.png`), clip, captureBeyondViewport: true });
    }
    // In the dark scheme, which must not reach the paper.
    const pdf = await page.pdf({ format: "A4", tagged: bytes < 400e3, timeout: 120e3, path: path.join(job.pictures, `${name}.pdf`) });
    seen.pdf_bytes = pdf.length;
    await page.close();
    return seen;
}

(async () => {
    fs.mkdirSync(job.pictures, { recursive: true });
    const browser = await puppeteer.launch({
        executablePath: job.chromium,
        // Tests may run as root, where there is no sandbox; the pages are our own.
        args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--force-color-profile=srgb"],
    });
    try {
        const seen = [];
        for (const page of job.pages) seen.push(await lookAt(browser, page));
        process.stdout.write(JSON.stringify(seen));
    } finally {
        await browser.close();
    }
})().catch((error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exitCode = 1;
});
