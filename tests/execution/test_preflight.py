"""What is refused before anything starts."""

import asyncio

import pytest

from orchestai_jax.execution import RunRefusedError, execute
from orchestai_jax.workflow import Reference, WorkflowError


def refused(perform, workflow, *workers, **options):
    events = []
    with pytest.raises(ValueError) as caught:
        perform(workflow, *workers, on_event=events.append, **options)
    assert events == []
    assert all(worker.calls == [] for worker in workers)
    assert "\n" not in str(caught.value)
    return caught.value


def test_an_invalid_workflow(make, perform):
    error = refused(perform, make.plan(make.step("a", "b"), make.step("b", "a")), make.worker())
    assert isinstance(error, WorkflowError)
    assert "cycle" in str(error)


def test_no_tasks(make, perform):
    assert "no tasks" in str(refused(perform, make.plan(), make.worker()))
    noted = make.plan().model_copy(update={"notes": ("nothing fits",)})
    assert "the planner says: nothing fits" in str(refused(perform, noted, make.worker()))


def test_workers_that_are_missing_or_unable_are_all_named(make, perform):
    here, away = make.worker(), make.worker(name="away")
    reader = make.worker(name="reader", task_types=("read",))
    workflow = make.plan(make.step("a", worker="away"), make.step("b", worker=None), make.step("c"))
    error = refused(perform, workflow, here, reader, catalog=make.catalog(here, away, reader))
    assert isinstance(error, RunRefusedError)
    assert "task a wants worker 'away', which is not here (workers here that can do it: w)" in str(error)
    assert "task b (step) has no worker" in str(error)
    assert "task c" not in str(error)


def test_a_worker_that_the_catalog_trusts_but_cannot_do_it(make, perform):
    claimed, actual = make.worker(), make.worker(task_types=("read",))
    error = refused(perform, make.plan(make.step("a")), actual, catalog=make.catalog(claimed))
    assert "worker 'w' cannot do step (no worker here can do it)" in str(error)


@pytest.mark.parametrize(
    "image, said",
    [
        ("phto.png", "did you mean 'photo.png'"),
        ("../secret.png", "outside|leads out"),
        ("/etc/passwd", "outside|leads out"),
        ("a\0b.png", "path"),
        ("x" * 5000 + ".png", "path"),
        ("", "empty"),
        ("folder", "folder"),
    ],
)
def test_files_that_are_not_there(make, perform, tmp_path, image, said):
    (tmp_path / "photo.png").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    error = refused(perform, make.plan(make.step("a", task_type="shrink", image=image)), make.worker())
    assert isinstance(error, RunRefusedError)
    assert "task a: argument image names no file" in str(error)
    assert any(part in str(error) for part in said.split("|"))
    assert len(str(error)) < 400


def test_a_text_that_names_a_missing_text_file(make, perform):
    error = refused(perform, make.plan(make.step("a", task_type="read", text="notes.txt")), make.worker())
    assert "argument text names no file" in str(error)


def test_a_path_parameter_that_leaves_the_root(make, perform):
    error = refused(perform, make.plan(make.step("a", target="../../x")), make.worker())
    assert "argument target leads out of the root" in str(error)


def test_what_may_well_be_meant_goes_through(make, perform, tmp_path):
    (tmp_path / "photo.png").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("hi")

    async def work(task_type, arguments, context):
        from orchestai_jax.workers import Output

        values = {"image": "photo.png"} if task_type.id == "shrink" else {"value": 1, "count": 1}
        return Output(values={p.name: values[p.name] for p in task_type.outputs if p.required})

    workflow = make.plan(
        make.step("a", task_type="shrink", image="photo.png"),
        make.step("b", task_type="shrink", image=str(tmp_path / "photo.png")),
        make.step("c", "a", task_type="shrink", image=Reference(task="a", output="image")),
        make.step("d", task_type="shrink", image="https://example.org/cat.png"),
        make.step("e", task_type="read", text="notes.txt"),
        make.step("f", task_type="read", text="See notes.txt and nothing.txt"),
        make.step("g", task_type="read", text="Version 2.0"),
        make.step("h", target="new/file.txt"),
    )
    assert perform(workflow, make.worker(work)).status == "succeeded"


def test_folders_out_of_place(make, perform, tmp_path):
    workflow, worker = make.plan(make.step("a")), make.worker()
    (tmp_path / "file").write_text("")
    assert "outside the root" in str(refused(perform, workflow, worker, output_folder=tmp_path.parent / "elsewhere"))
    assert "is a file" in str(refused(perform, workflow, worker, output_folder="file"))
    assert "not a folder" in str(refused(perform, workflow, worker, root=tmp_path / "none"))
    assert "at least 1" in str(refused(perform, workflow, worker, max_concurrency=0))


def test_a_relative_output_folder_lies_in_the_root(make, tmp_path):
    seen = []

    async def work(task_type, arguments, context):
        from orchestai_jax.workers import Output

        seen.append(context)
        return Output(values={"value": 1})

    worker = make.worker(work)
    asyncio.run(
        execute(make.plan(make.step("a")), make.catalog(worker), {"w": worker}, root=tmp_path, output_folder="new/out")
    )
    assert seen[0].output_folder == tmp_path.resolve() / "new" / "out"
    assert seen[0].output_folder.is_dir()
    assert seen[0].task_id == "a"


def test_a_worker_that_lacks_something_is_named_with_what_it_lacks(make, perform):
    worker = make.worker()
    worker.fault = lambda: "no key: set SOME_API_KEY"
    error = refused(perform, make.plan(make.step("a"), make.step("b", label="x")), worker)
    assert "task a: worker 'w' cannot work: no key: set SOME_API_KEY" in str(error)
    assert "task b: worker 'w' cannot work" in str(error)


def test_an_alternative_that_cannot_do_it(make, perform):
    reader = make.worker(name="reader", task_types=("read",))
    task = make.step("a").model_copy(update={"alternatives": ("reader", "ghost")})
    error = refused(perform, make.plan(task), make.worker(), reader)
    assert "worker 'reader' cannot do 'step'" in str(error)
    assert "'ghost'" in str(error)
