// Package chromium holds only a test: it opens the page of bench/page in headless Chromium and checks what a reader sees. It is a module of its
// own, so that what drives the browser is no dependency of fastrpc.
package chromium
