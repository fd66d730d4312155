#!/usr/bin/env python3
"""One small virtual cohort twice: through the running service, and through the pure evaluator. Both must conclude the same.

    tests/truth/cohort.py [--seed N] [--scenario FILE]

The release binary runs on a test clock; `hearthbeat-sim cohort` enrols the patients over HTTP and measures over MQTT,
`hearthbeat-sim evaluate` asks the service what it stored and concluded, the example `truth` concludes the same readings
without a service. Nothing may be lost, nothing doubled, and every patient's findings must be equal, one by one.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "outside"))
from service import ROOT, Service                                                   # noqa: E402

SIM = os.environ.get("HEARTHBEAT_SIM", os.path.join(ROOT, "target/release/hearthbeat-sim"))
TRUTH = os.environ.get("HEARTHBEAT_TRUTH", os.path.join(ROOT, "target/release/examples/truth"))
START = "2023-01-01T00:00:00+08:00"     # before the first day of any seed


ACTED = {"FU-1"}
"""Rules that hear of what people did with alerts: the team of the story answers in the service, and nobody does alone."""


def findings(path):
    if not os.path.exists(path):
        return {}
    with open(path) as f:
        lines = [json.loads(line) for line in f]
    return {device: [f for f in found if f["ruleId"] not in ACTED] for device, found in lines}


def compare(live, pure):
    """Patients whose findings differ, each difference as a line."""
    out = []
    for device in sorted(live.keys() | pure.keys()):
        name = lambda f: json.dumps(f, sort_keys=True)                               # noqa: E731
        a, b = ({name(f) for f in side.get(device, [])} for side in (live, pure))
        out += [f"  {device} only the service: {f}" for f in sorted(a - b)]
        out += [f"  {device} only the evaluator: {f}" for f in sorted(b - a)]
    return out


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--scenario", default=os.path.join(ROOT, "simulators/scenarios/cohort-small.toml"))
    args = args.parse_args()
    print(f"seed {args.seed}; again: tests/truth/cohort.py --seed {args.seed} --scenario {args.scenario}", flush=True)
    failed = 0

    def check(what, good):
        nonlocal failed
        failed += not good
        print(f"{'ok    ' if good else 'FAILED'} {what}", flush=True)

    with tempfile.TemporaryDirectory(prefix="hearthbeat-truth-") as folder:
        path = lambda name: os.path.join(folder, name)                               # noqa: E731
        service = Service(arguments=["--test-clock", f"manual={START}"])
        try:
            service.start()
            with open(path("login"), "w") as f:
                json.dump(service.admin, f)
            where = ["--api", "http://%s:%d" % service.http, "--login", path("login"), "--truth", path("truth")]
            drive = [SIM, "cohort", args.scenario, "--seed", str(args.seed), "--target", "mqtt://%s:%d" % service.mqtt, *where]
            done = subprocess.run(drive, capture_output=True, text=True, timeout=1800)
            print(done.stdout + done.stderr, end="")
            check("the cohort went through the service", done.returncode == 0)
            judge = [SIM, "evaluate", *where, "--findings", path("live")]
            done = subprocess.run(judge, capture_output=True, text=True, timeout=600)
            print(done.stdout + done.stderr, end="")
            check("nothing lost, nothing doubled, no bar missed", done.returncode == 0)
        finally:
            service.close()
        alone = [TRUTH, "cohort", args.scenario, "--seed", str(args.seed), "--findings", path("pure")]
        done = subprocess.run(alone, capture_output=True, text=True, timeout=600)
        check("the pure evaluator ran", done.returncode in (0, 1) and os.path.exists(path("pure")))
        live, pure = findings(path("live")), findings(path("pure"))
        said = sum(len(f) for f in live.values())
        differences = compare(live, pure)
        print("\n".join(differences[:20]))
        check(f"{said} findings of {len(live)} patients are the same both ways", not differences and said > 0)
    print(f"{4 - failed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
