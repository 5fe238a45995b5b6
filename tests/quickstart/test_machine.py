"""The machine of a report."""

from orchestai_jax.quickstart.machine import describe_machine


def test_packages_that_are_not_here_are_left_out():
    found = describe_machine(["no-such-package", "numpy"])
    assert list(found["versions"]) == ["numpy"]
    assert found["processor"]
    assert found["cores"] >= 1
