#!/usr/bin/env python3
"""Takes pictures of the dashboard in headless Chromium, with miners at work.

    tools/screenshot/screenshot.py config/dashboard.png
    tools/screenshot/screenshot.py --dark --width 360 --whole /tmp/phone.png

It starts the demo of a binary that has been built, waits until there is something to see, takes the picture and ends both.
With --url it looks at a proxy that runs. It fails where the page has an error in its console, so it is a test too. It
needs Chromium and Python alone; it speaks to the browser over a pipe.
"""
import argparse, base64, fcntl, json, os, select, shutil, subprocess, sys, tempfile, time, urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60


class Browser:
    """One page of a headless Chromium."""

    def __init__(self, width, height, dark):
        name = next((n for n in ("chromium", "chromium-browser", "google-chrome") if shutil.which(n)), None)
        if name is None:
            sys.exit("no Chromium is installed")
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        ours, theirs = [], []
        for keep in (1, 0):
            pair = os.pipe()
            # The browser reads at 3 and writes at 4: what is handed over must not stand there before.
            ours.append(fcntl.fcntl(pair[keep], fcntl.F_DUPFD_CLOEXEC, 10))
            theirs.append(fcntl.fcntl(pair[1 - keep], fcntl.F_DUPFD_CLOEXEC, 10))
            os.close(pair[0]), os.close(pair[1])
        hand_over = lambda: (os.dup2(theirs[0], 3), os.dup2(theirs[1], 4))
        command = [name, "--headless=new", "--remote-debugging-pipe", "--hide-scrollbars", "--disable-gpu",
                   "--no-first-run", f"--user-data-dir={self.profile.name}"]
        if os.geteuid() == 0:
            command.append("--no-sandbox")
        self.process = subprocess.Popen(command, preexec_fn=hand_over, pass_fds=(3, 4), stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        os.close(theirs[0]), os.close(theirs[1])
        self.write, self.read = ours
        self.last, self.waiting, self.complaints, self.session = 0, b"", [], None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for room in ("Page", "Runtime", "Log"):
            self.ask(f"{room}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.size(width, height)

    def size(self, width, height):
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def message(self, deadline):
        while b"\0" not in self.waiting:
            if not select.select([self.read], [], [], max(0, deadline - time.monotonic()))[0]:
                return None
            piece = os.read(self.read, 1 << 20)
            if not piece:
                sys.exit("Chromium has ended")
            self.waiting += piece
        line, _, self.waiting = self.waiting.partition(b"\0")
        message = json.loads(line)
        told = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.complaints.append(told["exceptionDetails"].get("exception", {}).get("description", "exception"))
            case "Log.entryAdded" if told["entry"]["level"] == "error":
                self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        return message

    def ask(self, method, **params):
        self.last += 1
        question = {"id": self.last, "method": method, "params": params}
        if self.session:
            question["sessionId"] = self.session
        os.write(self.write, json.dumps(question).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while message := self.message(deadline):
            if message.get("id") == self.last:
                if "error" in message:
                    sys.exit(f"{method}: {message['error']}")
                return message["result"]
        sys.exit(f"{method}: no answer")

    def run(self, script):
        return self.ask("Runtime.evaluate", expression=script, awaitPromise=True)["result"].get("value")

    def wait(self, seconds):
        deadline = time.monotonic() + seconds
        while self.message(deadline):
            pass

    def end(self):
        self.process.terminate()
        self.process.wait()


def start_demo(binary):
    if not binary:
        built = [ROOT / "target" / kind / "loka-stratum" for kind in ("release", "debug")]
        binary = next((path for path in built if path.exists()), None) or sys.exit("build the binary first")
    command = [binary, "demo", "--listen", "13399", "--set", "metrics.prometheus_port=19399"]
    demo = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and demo.poll() is None:
        try:
            urllib.request.urlopen("http://127.0.0.1:19399/readyz", timeout=5).close()
            return demo, "http://127.0.0.1:19399/"
        except OSError:
            time.sleep(0.1)
    sys.exit("the demo did not start")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--url", help="a proxy that runs, in place of the demo")
    parser.add_argument("--binary", help="the loka-stratum whose demo is started")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--whole", action="store_true", help="the whole page, however long")
    parser.add_argument("--seconds", type=float, default=90, help="how long the page gathers figures")
    parser.add_argument("--run", help="a script for the page before the picture")
    given = parser.parse_args()
    demo, url = (None, given.url) if given.url else start_demo(given.binary)
    browser = Browser(given.width, given.height, given.dark)
    try:
        browser.ask("Page.navigate", url=url)
        browser.wait(given.seconds)
        if given.run:
            print(browser.run(given.run))
            browser.wait(2)
        if (wide := browser.run("document.documentElement.scrollWidth")) > given.width:
            browser.complaints.append(f"the page is wider than the window: {wide}")
        if given.whole:
            browser.size(given.width, browser.run("document.documentElement.scrollHeight"))
            browser.wait(1.5)
        picture = base64.b64decode(browser.ask("Page.captureScreenshot", format="png")["data"])
        given.picture.write_bytes(picture)
        print(f"{given.picture}: {len(picture) / 1024:.0f} KiB, the page is {browser.run('document.title')!r}")
    finally:
        browser.end()
        if demo:
            demo.terminate()
            demo.wait()
    if browser.complaints:
        sys.exit("the page complains:\n" + "\n".join(browser.complaints))


main()
