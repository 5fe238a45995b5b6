"""The command as a whole: its verbs, its start-up, its help, and the verbs that only hand over."""

import json
import subprocess
import sys

import pytest

import orchestai_jax
from orchestai_jax.cli import doctor
from orchestai_jax.cli.quickstart import RequestSet

VERBS = (
    "quickstart",
    "doctor",
    "train",
    "workdir",
    "evaluate",
    "plan",
    "run",
    "runs",
    "workers",
    "data",
    "kernels",
    "config",
)


def test_help_names_every_verb_and_version_is_the_packages(command):
    shown = command("--help").stdout
    assert [verb for verb in VERBS if f"\n  {verb} " not in shown] == []
    assert command("--version").stdout == f"orchestai-jax {orchestai_jax.__version__}\n"


@pytest.mark.parametrize(
    "verb",
    [
        ["quickstart"],
        ["doctor"],
        ["evaluate"],
        ["plan"],
        ["run"],
        ["runs", "list"],
        ["runs", "show"],
        ["workers", "list"],
        ["workers", "check"],
    ],
)
def test_each_help_has_examples(command, verb):
    shown = command(*verb, "--help").stdout
    assert f"orchestai {' '.join(verb)}" in shown.split("Examples:")[1]


def test_unknown_verbs_and_options_are_wrong_use(command):
    assert "No such command" in command("bogus", code=2).stderr
    assert "No such option" in command("doctor", "--bogus", code=2).stderr
    assert "Missing" in command("plan", "x", code=2).stderr


def test_help_imports_nothing_heavy():
    script = (
        "import sys\n"
        "from orchestai_jax.cli import main\n"
        "sys.argv = ['orchestai', '--help']\n"
        "try:\n    main()\nfinally:\n"
        "    heavy = {'jax', 'flax', 'numpy', 'optax', 'orbax', 'grain', 'polars', 'PIL', 'torch', 'transformers'}\n"
        "    print('HEAVY', sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr.strip() == "HEAVY []"
    assert "quickstart" in done.stdout


def test_evaluate_hands_over_and_prints(command, tmp_path, monkeypatch):
    import orchestai_jax.data
    import orchestai_jax.evaluation

    seen = {}

    class Report:
        def as_dict(self):
            return {"node_f1": 0.5, "n": 2}

        def table(self, title):
            return f"table of {title}"

    def load_samples(path, data_format, catalog=None, *, allow_unknown=False):
        seen.update(path=path.name, format=data_format, catalog=catalog, allow_unknown=allow_unknown)
        return ["one", "two"] if path.read_text() else []

    def evaluate_planner(planner, samples, catalog=None, predictions=None):
        seen.update(planner=planner, samples=samples, over=catalog, predictions=predictions)
        return Report()

    monkeypatch.setattr(orchestai_jax.data, "load_samples", load_samples)
    monkeypatch.setattr(orchestai_jax.evaluation, "evaluate_planner", evaluate_planner)
    (tmp_path / "data.jsonl").write_text("{}")
    base = ("evaluate", "planner", "--data", "data.jsonl", "--format", "taskbench")
    assert command.json(*base, "--json", "--predictions", "new/p.jsonl") == {"node_f1": 0.5, "n": 2}
    assert seen["format"] == "taskbench"
    assert seen["samples"] == ["one", "two"]
    assert isinstance(seen["planner"], command.planner)
    assert seen["catalog"] is seen["planner"].catalog
    assert (seen["allow_unknown"], seen["over"]) == (True, None)
    assert str(seen["predictions"]) == "new/p.jsonl"
    (tmp_path / "c.yaml").write_text("name: mine\ntask_types: [{id: only_one}]\n")
    command(*base, "--catalog", "c.yaml")
    assert seen["catalog"].name == seen["over"].name == "mine"
    assert "table of planner on data.jsonl" in command(*base).stdout
    assert "cannot write planner" in command.error(*base, "--predictions", "planner")
    assert "--graph goes with --catalog" in command.error(*base, "--graph", "g.json")
    assert "not one of" in command(*base[:-1], "csv", code=2).stderr
    (tmp_path / "data.jsonl").write_text("")
    assert "holds no samples" in command.error(*base)
    assert "no data file at none" in command.error("evaluate", "planner", "--data", "none", "--format", "records")


def test_evaluate_wants_task_types_that_the_planner_knows(command, tmp_path, monkeypatch):
    import orchestai_jax.evaluation

    monkeypatch.setattr(
        orchestai_jax.evaluation,
        "evaluate_planner",
        lambda planner, samples, *_, **__: type("Report", (), {"as_dict": lambda _: {"n": len(samples)}})(),
    )

    def write(*task_types):
        nodes = [{"task": name} for name in task_types]
        row = {"id": 1, "user_request": "x", "task_nodes": nodes, "task_links": []}
        (tmp_path / "data.jsonl").write_text(json.dumps(row))

    base = ("evaluate", "planner", "--data", "data.jsonl", "--format", "taskbench", "--json")
    write("book_flight", "find_hotel")
    refused = command.error(*base, "--predictions", "p.jsonl")
    assert "2 task types are not in the catalog" in refused
    assert "give the catalog that the data was made with" in refused
    assert not (tmp_path / "p.jsonl").exists()
    write("resize_image", "find_hotel")
    done = command(*base)
    assert json.loads(done.stdout) == {"n": 1}
    assert "`find_hotel` (sample 1); they cannot be planned and count as missed" in done.stderr


def test_quickstart_hands_over(command, monkeypatch):
    import orchestai_jax.quickstart

    calls = []
    monkeypatch.setattr(
        orchestai_jax.quickstart, "run_quickstart", lambda folder, **o: calls.append((str(folder), o)), raising=False
    )
    command("quickstart")
    command("quickstart", "--workdir", "here", "--seed", "3", "--epochs", "1", "--requests", "development")
    assert calls == [
        ("runs/quickstart", {"seed": 0, "epochs": None, "requests_name": "held-out"}),
        ("here", {"seed": 3, "epochs": 1, "requests_name": "development"}),
    ]
    command("quickstart", "--epochs", "0", code=2)
    assert "'held-out', 'development'" in command("quickstart", "--requests", "other", code=2).stderr
    assert list(orchestai_jax.quickstart.REQUEST_SETS) == [each.value for each in RequestSet]


def test_doctor_says_what_is_here(command):
    checks = {check["name"]: check for check in command.json("doctor", "--json")}
    assert checks["python"]["status"] == checks["core libraries"]["status"] == checks["devices"]["status"] == "ok"
    assert f"jax {__import__('jax').__version__}" in checks["core libraries"]["found"]
    assert checks["local tools"]["status"] == "ok"
    assert checks["pretrained encoder"]["status"] in ("ok", "missing")
    assert all(check["remedy"] for check in checks.values() if check["status"] != "ok")


def test_doctor_names_what_is_missing_and_what_to_do(command, monkeypatch):
    requires = ["numpy>=2.0", 'no-such-library>=1; extra == "tools"']
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda _: requires)
    monkeypatch.setenv("ORCHESTAI_DATA", "nowhere")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    shown = command("doctor").stdout
    assert "missing: no-such-library" in shown
    assert 'pip install "orchestai-jax[tools]"' in shown
    assert "set ORCHESTAI_DATA" in shown
    assert "free some space" in shown


def test_doctor_exits_1_when_the_core_is_broken(command, monkeypatch):
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda _: ["no-such-library>=1"])
    result = command("doctor", "--json", code=1)
    [core] = [check for check in json.loads(result.stdout) if check["name"] == "core libraries"]
    assert core["status"] == "broken"
    assert core["remedy"] == 'pip install "orchestai-jax"'


def test_doctor_without_a_device_is_broken_not_a_traceback(command, monkeypatch):
    import jax

    def no_devices():
        raise RuntimeError("no backend\nat all")

    monkeypatch.setattr(jax, "devices", no_devices)
    checks = json.loads(command("doctor", "--json", code=1).stdout)
    [devices] = [check for check in checks if check["name"] == "devices"]
    assert devices["status"] == "broken"
    assert "no backend at all" in devices["found"]
