#!/bin/sh
# Bring a browser for the browser tests: one that is there, Playwright's own, or the distribution's Chromium.
# With none of them those tests are skipped and say why, so this never fails.
bin="$1"
for name in chromium chromium-browser google-chrome; do
  command -v "$name" >/dev/null 2>&1 && exit 0
done
if timeout 300 "$bin/python" -m playwright install chromium >/dev/null 2>&1; then exit 0; fi
if command -v apt-get >/dev/null 2>&1; then
  if [ "$(id -u)" = 0 ]; then run=""; else run="sudo -n"; fi
  $run apt-get update -qq >/dev/null 2>&1
  if DEBIAN_FRONTEND=noninteractive $run apt-get install -y -qq chromium >/dev/null 2>&1; then exit 0; fi
fi
echo "No Chromium could be installed: the browser tests will be skipped."
exit 0
